"""Document the chart's values from the comments in its values.yaml, in its README.md and its values.schema.json.

python tools/generate_chart_docs.py            writes both
python tools/generate_chart_docs.py --check    writes nothing; exits 1 where one is not current

Types and limits are kept by hand in the schema; its descriptions, which editors show, come from the comments.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "fastgen-operator"
BEGIN, END = "<!-- values: generated from values.yaml by tools/generate_chart_docs.py -->", "<!-- /values -->"

Json = dict[str, Any]
Path_ = tuple[str, ...]


def comments(text: str) -> dict[Path_, str]:
    """The comment above each key of a YAML file in block style, by the key's path."""
    found: dict[Path_, str] = {}
    above: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        if comment := re.fullmatch(r" *# ?(.*)", line):
            above.append(comment[1])
            continue
        if key := re.match(r"( *)([A-Za-z][A-Za-z0-9_]*):", line):
            del path[len(key[1]) // 2 :]
            path.append(key[2])
            if above:
                found[tuple(path)] = " ".join(above)
        above = []
    return found


def leaves(schema: Mapping[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Every value that the schema does not take apart any further."""
    for name, inner in schema.get("properties", {}).items():
        if inner.get("additionalProperties") is False and "properties" in inner:
            yield from leaves(inner, (*path, name))
        elif name != "global":
            yield (*path, name)


def described(schema: Mapping[str, Any], texts: Mapping[Path_, str], path: Path_ = ()) -> Json:
    """The schema with the comments as descriptions."""
    found = {key: value for key, value in schema.items() if key not in ("description", "properties")}
    if path in texts:
        found = {"description": texts[path], **found}
    if "properties" in schema:
        found["properties"] = {
            name: described(inner, texts, (*path, name)) for name, inner in schema["properties"].items()
        }
    return found


def table(values: Mapping[str, Any], schema: Mapping[str, Any], texts: Mapping[Path_, str]) -> Iterator[str]:
    """The rows of the README's table; a group of values has a row of its own before its first value."""
    yield "| value | default | meaning |"
    yield "|---|---|---|"
    told: set[Path_] = set()
    for path in leaves(schema):
        for length in range(1, len(path)):
            if (group := path[:length]) not in told:
                told.add(group)
                yield f"| **{'.'.join(group)}** | | {_comment(texts, group)} |"
        default = json.dumps(value_at(values, path))
        yield f"| `{'.'.join(path)}` | `{default}` | {_comment(texts, path)} |"


def _comment(texts: Mapping[Path_, str], path: Path_) -> str:
    if path not in texts:
        raise SystemExit(f"generate_chart_docs: {'.'.join(path)} has no comment in values.yaml")
    return texts[path].replace("|", "\\|")


def value_at(values: Mapping[str, Any], path: Path_) -> Any:
    found: Any = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            raise SystemExit(f"generate_chart_docs: values.schema.json has {'.'.join(path)}, values.yaml has not")
        found = found[name]
    return found


def render() -> dict[Path, str]:
    """What the two files should hold."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    texts, values = comments(text), yaml.safe_load(text)
    schema_file, readme_file = CHART / "values.schema.json", CHART / "README.md"
    schema = json.loads(schema_file.read_text(encoding="utf-8"))
    head, _, rest = readme_file.read_text(encoding="utf-8").partition(BEGIN)
    rows = "\n".join(table(values, schema, texts))
    return {
        schema_file: json.dumps(described(schema, texts), indent=2, ensure_ascii=False) + "\n",
        readme_file: f"{head}{BEGIN}\n\n{rows}\n\n{END}{rest.partition(END)[2]}",
    }


def main() -> int:
    """Write or check; 1 where the check fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not current")
    check = parser.parse_args().check
    wrong = {path: text for path, text in render().items() if path.read_text(encoding="utf-8") != text}
    for path, text in wrong.items():
        if check:
            print(f"{path.relative_to(ROOT)} is not what values.yaml says; run `make generate`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
