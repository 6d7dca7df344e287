"""Starts a program that dies with whoever started it: `python tether.py PARENT_PID PROGRAM ARGUMENT...`

The kernel kills the program the moment its parent is gone, even by SIGKILL, so no replica ever outlives its
supervisor and keeps a device. The program replaces this process, so it keeps the pid. Standard library only,
and run by path with -I -S, because it stands before every start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told to watch it
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
