"""`make demo`.

python -m demo.cluster            all of it, ended cleanly
python -m demo.cluster --short    the same with less load, as a test has time for
KEEP=1 python -m demo.cluster     left running, with a word on how to look inside
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
from rich.console import Console
from rich.markup import escape

from demo.cluster import stage
from demo.cluster.narrating import Narrator
from demo.cluster.plan import DOUBLING, SHORT
from demo.cluster.story import OUTPUT, tell
from fastgen.errors import FastGenError

ROOT = Path(__file__).parents[3]
INTERRUPTED = 130


def main() -> int:
    """Run the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="less load, for less time")
    parser.add_argument("--name", default=stage.CLUSTER, help="what to call the cluster (default: %(default)s)")
    args = parser.parse_args()
    os.chdir(ROOT)
    OUTPUT.mkdir(exist_ok=True)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        keep = os.environ.get("KEEP", "") not in ("", "0")
        tell(Narrator(console), SHORT if args.short else DOUBLING, name=args.name, keep=keep)
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything that was started has ended")
        return INTERRUPTED
    except (FastGenError, OSError, openai.OpenAIError, subprocess.SubprocessError) as error:
        console.print(f"\n[red]The demonstration failed:[/] {escape(str(error))}", soft_wrap=True)
        console.print(f"Everything that was started has ended. Every log: {stage.LOGS}", soft_wrap=True)
        return 1
    console.print(f"\n[green]The demonstration succeeded[/] in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
