"""Keep the documentation alive: what it points to and what it tells people to type must exist.

Looks at every Markdown file: relative links and their anchors, `make TARGET`, `fastgen COMMAND` and `devcluster
COMMAND` with their options, and the files of this repository that kubectl and helm are given.
Links to other sites are not followed: this runs without a network.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSED_ON = ("kubectl", "helm")
"""Commands of devcluster whose options are another program's."""
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_START = r"(?:^|[$;&|(]|\b[A-Z_]+=\S+)[ \t]*(?:\S*/bin/)?"
"""Where a command may begin on a line: at its start, after a prompt, another command, or a variable."""
_MAKE = re.compile(_START + r"\bmake((?:[ \t]+(?:[A-Z_]+=\S+|[a-z][a-z-]*))+)")
_OURS = re.compile(_START + r"\b(fastgen|devcluster)[ \t]+([a-z][a-z-]*)([^#\n]*)")
_FILES = re.compile(r"\b(?:kubectl|helm)\b[^#\n]*?[ \t]((?:examples|charts|crds)/[\w./-]+)")


def documents(root: Path) -> list[Path]:
    """The Markdown files of the project, those in hidden folders left out."""
    return sorted(p for p in root.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(root).parts))


def problems(document: Path, root: Path) -> Iterator[str]:
    """Everything in one document that points to nothing."""
    text = document.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in _LINK.findall(prose):
        yield from _link_problems(document, target)
    for line in _code_lines(text):
        yield from _command_problems(line, root)


def _code_lines(text: str) -> Iterator[str]:
    """Every line of every code block, and every piece of code within a sentence. Python is not for a shell."""
    for match in _CODE.finditer(text):
        code = match.group(0)
        if not code.startswith(("```python", "```mermaid", "```yaml")):
            yield from (line.strip() for line in code.strip("`").splitlines())


def _command_problems(line: str, root: Path) -> Iterator[str]:
    for words in _MAKE.findall(line):
        for word in words.split():
            if "=" not in word and word not in make_targets(root):
                yield f"`make {word}`: there is no such target; `make` lists those there are"
    for program, command, rest in _OURS.findall(line):
        if command not in commands(program, root):
            yield f"`{program} {command}`: there is no such command; there are {', '.join(commands(program, root))}"
            continue
        if command in PASSED_ON:
            continue
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
            if option not in command_help(program, command):
                yield f"`{program} {command} {option}`: `{program} {command} --help` knows no such option"
    for path in _FILES.findall(line):
        if not (root / path).exists():
            yield f"{path}: there is no such file"


def _link_problems(document: Path, target: str) -> Iterator[str]:
    if re.match(r"[a-z]+:", target):
        return
    path_part, _, anchor = target.partition("#")
    path = (document.parent / path_part).resolve() if path_part else document
    if not path.exists():
        yield f"link to {target}: there is no such file"
    elif anchor and path.suffix == ".md" and anchor not in anchors(path):
        yield f"link to {target}: {path.name} has no heading for #{anchor}"


@cache
def anchors(document: Path) -> frozenset[str]:
    """The anchors GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    names = []
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.append(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return frozenset(names)


@cache
def make_targets(root: Path) -> frozenset[str]:
    """The targets of the Makefile."""
    text = (root / "Makefile").read_text(encoding="utf-8")
    return frozenset(
        name for line in re.findall(r"^([a-z][a-z -]*):(?!=)", text, re.MULTILINE) for name in line.split()
    )


@cache
def commands(program: str, root: Path) -> tuple[str, ...]:
    """The sub-commands of `fastgen`, registered in pyproject.toml, or of `devcluster`."""
    if program == "devcluster":
        from fastgen_devcluster.cli import COMMANDS

        return tuple(sorted(command.name for command in COMMANDS))
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(sorted(project["entry-points"]["fastgen.commands"]))


@cache
def command_help(program: str, command: str) -> str:
    """What `PROGRAM COMMAND --help` prints, or raises SystemExit when it cannot."""
    path = Path(sys.executable).parent / program
    done = subprocess.run([path, command, "--help"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"check_docs: `{program} {command} --help` failed:\n{done.stderr}")
    return done.stdout


def main() -> int:
    """Exit status 1 where something is dead; every problem is printed with its file."""
    found = [(path, problem) for path in documents(ROOT) for problem in problems(path, ROOT)]
    for path, problem in found:
        print(f"{path.relative_to(ROOT)}: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
