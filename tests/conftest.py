"""`testhost` comes from the checkout, `hosttune` and `agent` are tested as installed: hence the end of the path."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.append(str(Path(__file__).resolve().parent.parent))

# How long an example takes says more about the machine's other load than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
