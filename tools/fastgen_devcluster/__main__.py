"""`python -m fastgen_devcluster`, the same as `devcluster`."""

import sys

from fastgen_devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
