"""A file that nobody can read in one sitting is two files: `python tools/check_sizes.py` names those over the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_LINES = 400
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def source_files(root: Path) -> list[Path]:
    """Python files that git knows or would know (ignored ones left out)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        files = [root / name for name in done.stdout.splitlines()]
    else:  # an unpacked archive has no git
        files = [path for path in root.rglob("*.py") if not any(part.startswith(".") for part in path.parts)]
    return [path for path in files if path.exists() and not path.name.endswith(GENERATED)]


def main() -> int:
    """Exit status 1 where a file is too long."""
    too_long = 0
    for path in source_files(ROOT):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LIMIT_LINES:
            too_long += 1
            print(f"{path.relative_to(ROOT)}: {lines} lines, the limit is {LIMIT_LINES}; split it", file=sys.stderr)
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
