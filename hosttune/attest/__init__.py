"""Read a launched process back from the kernel and compare it with its launch record.

wait      until the program runs, then read and compare
read      what the kernel says about the process
compare   record and process → findings: pure
show      the result for people and programs
reader    the process behind `hosttune launch --attest`
"""

from hosttune.attest.read import Gone as Gone
from hosttune.attest.show import Attestation as Attestation
from hosttune.attest.wait import NotLaunched as NotLaunched
from hosttune.attest.wait import attest as attest
