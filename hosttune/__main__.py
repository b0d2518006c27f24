"""`python -m hosttune`."""

import sys

from hosttune.cli import main

sys.exit(main())
