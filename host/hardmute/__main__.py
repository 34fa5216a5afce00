"""`python -m hardmute`."""

import sys

from hardmute.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
