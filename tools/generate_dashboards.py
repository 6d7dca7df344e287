"""Make the chart's Grafana dashboards from tools/dashboards.

python tools/generate_dashboards.py            writes charts/fastgen-operator/files/dashboards/*.json
python tools/generate_dashboards.py --check    writes nothing; exits 1 where one is not current
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dashboards import model, operators
from dashboards.grafana import to_json

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "charts" / "fastgen-operator" / "files" / "dashboards"
DASHBOARDS = (model.DASHBOARD, operators.DASHBOARD)


def render() -> dict[Path, str]:
    """Each file, and what it should hold."""
    return {FOLDER / f"{made.uid}.json": json.dumps(to_json(made), indent=1) + "\n" for made in DASHBOARDS}


def main() -> int:
    """Write or check; 1 where the check fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not current")
    check, should = parser.parse_args().check, render()
    wrong = [path for path, text in should.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    unknown = [path for path in FOLDER.glob("*.json") if path not in should]
    for path in wrong + unknown:
        if check:
            print(f"{path.relative_to(ROOT)} is not what tools/dashboards says; run `make generate`", file=sys.stderr)
        elif path in unknown:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(should[path], encoding="utf-8")
    return 1 if check and (wrong or unknown) else 0


if __name__ == "__main__":
    raise SystemExit(main())
