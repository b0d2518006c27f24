"""The journal's writer: `python -m agent.journal.writer RING FILE PARENT`, started by the engine."""

import sys
from pathlib import Path

from agent.journal import file as journal


def main() -> int:
    ring, file, parent = sys.argv[1:]
    return journal.write(Path(ring), Path(file), int(parent))


if __name__ == "__main__":
    sys.exit(main())
