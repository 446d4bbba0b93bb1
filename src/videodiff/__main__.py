"""``python -m videodiff``, for launchers that take a module (torchrun -m videodiff)."""

import sys

from videodiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
