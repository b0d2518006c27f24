"""`testhost` comes from the checkout, `hosttune` and `agent` are tested as installed: hence the end of the path."""

import sys
from pathlib import Path

from hypothesis import settings

# `python -m pytest` puts it first, where hosttune/ and agent/ are sources without their compiled modules.
_ROOT = str(Path(__file__).resolve().parent.parent)
sys.path[:] = [path for path in sys.path if path not in ("", _ROOT)] + [_ROOT]

# How long an example takes says more about the machine's other load than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
