"""`python -m wfpd`."""

import sys

from wfpd.cli import main

if __name__ == "__main__":
    sys.exit(main())
