"""`python -m dichroic` is the command `dichroic`."""

import sys

from dichroic.cli import main

if __name__ == "__main__":
    sys.exit(main())
