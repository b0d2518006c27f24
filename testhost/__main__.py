import sys

from testhost.cli import main

sys.exit(main())
