"""Read a launched process back from the kernel and compare it with its launch record."""

from hosttune.attest.compare import Attestation as Attestation
from hosttune.attest.compare import Gone as Gone
from hosttune.attest.compare import NotLaunched as NotLaunched
from hosttune.attest.compare import attest as attest
from hosttune.attest.compare import stop as stop
