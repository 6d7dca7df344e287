"""`python -m fastgen_server` is the `fastgen` command, for where the script is not on the path."""

from __future__ import annotations

import sys

from fastgen_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
