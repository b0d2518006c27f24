"""How many examples a generated test tries: `make test-long` multiplies the numbers that stand in the tests."""

import os

#: EXAMPLES_TIMES, 1 unless it is set.
TIMES = int(os.environ.get("EXAMPLES_TIMES", "1"))
