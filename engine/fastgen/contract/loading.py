"""From text to a manifest, or to errors that say where, what was given, and what is allowed."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fastgen.contract import labels
from fastgen.contract.base import BROKEN_RULES
from fastgen.contract.manifest import FastGenDeployment
from fastgen.contract.quantities import WRONG_VALUE
from fastgen.contract.yaml_source import MAX_BYTES, Document, read_documents
from fastgen.errors import UsageError


class Problem(NamedTuple):
    """One thing wrong with a manifest."""

    path: str
    """Such as spec.engine.tokenBudget."""
    message: str
    """What was given and what is allowed."""
    line: int | None = None


class ManifestError(UsageError):
    """A manifest that cannot be used; `problems` lists everything wrong with it."""

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"{where} is not a valid {labels.KIND}:"]
        for problem in self.problems:
            place = f" (line {problem.line})" if problem.line else ""
            lines.append(f"  {problem.path}{place}: {problem.message}")
        super().__init__("\n".join(lines))


def load_manifest(source: str | Path) -> FastGenDeployment:
    """Read a manifest from a file (a `Path`) or from YAML text (a `str`).

    Other kinds of objects in the same file are passed over. Raises ManifestError with every problem at once,
    or UsageError where the file cannot be read or is not YAML.
    """
    if isinstance(source, Path):
        return _from_documents(read_documents(_read(source), str(source)), str(source))
    return _from_documents(read_documents(source, "the manifest"), "the manifest")


def parse_manifest(value: Mapping[str, Any], where: str = "the manifest") -> FastGenDeployment:
    """Check a manifest that is already a mapping, as an API server hands it out."""
    return _parse(value, where, None)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(data) > MAX_BYTES and error.start > MAX_BYTES - 4:
            return data[: error.start].decode("utf-8") + "    "
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _from_documents(documents: list[Document], where: str) -> FastGenDeployment:
    if not documents:
        raise UsageError(f"{where} is empty; a manifest begins with 'apiVersion: {labels.API_VERSION}'")
    ours = [d for d in documents if isinstance(d.value, dict) and d.value.get("kind") == labels.KIND]
    if len(ours) > 1:
        names = ", ".join(str((d.value.get("metadata") or {}).get("name", "?")) for d in ours)
        raise UsageError(f"{where} holds {len(ours)} {labels.KIND}s ({names}); write one file for each")
    if not ours and len(documents) > 1:
        raise UsageError(f"{where} holds {len(documents)} objects and no {labels.KIND} among them")
    document = ours[0] if ours else documents[0]
    if not isinstance(document.value, dict):
        raise UsageError(f"{where} holds {_shown(document.value)}, not the fields of a {labels.KIND}")
    return _parse(document.value, where, document)


def _parse(value: Mapping[str, Any], where: str, document: Document | None) -> FastGenDeployment:
    try:
        return FastGenDeployment.model_validate(dict(value))
    except ValidationError as error:
        problems = [problem for detail in error.errors() for problem in _problems(detail, document)]
        raise ManifestError(where, sorted(problems, key=lambda p: (p.line or 0, p.path))) from None


def _problems(detail: ErrorDetails, document: Document | None) -> Iterator[Problem]:
    path = tuple(detail["loc"])
    if detail["type"] == BROKEN_RULES:
        for field, message, given in detail["ctx"]["broken"]:
            at = (*path, field) if field else path
            shown = f"given {_shown(given)}; " if isinstance(given, str | int) else ""
            yield _problem(at, f"{shown}allowed: {message}", document)
        return
    yield _problem(path, _message(detail, path), document)


def _problem(path: Sequence[str | int], message: str, document: Document | None) -> Problem:
    return Problem(_path_text(path), message, document.line_of(path) if document else None)


def _message(detail: ErrorDetails, path: Sequence[str | int]) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return f"missing; write {_example_of(path)}"
        case "extra_forbidden":
            return _unknown_field(path)
        case "literal_error":
            return _given(detail, _literal_choices(path) or str(context.get("expected")))
        case kind if kind == WRONG_VALUE:
            return _given(detail, str(context["allowed"]))
        case "string_pattern_mismatch" if path[-1:] == ("name",):
            return _given(detail, "lower-case letters, digits and '-', beginning with a letter, at most 40")
        case kind if kind in _ALLOWED:
            return _given(detail, _ALLOWED[kind].format(**context))
    return _given(detail, detail["msg"])


_ALLOWED = {
    "int_type": "an integer, without quotes",
    "bool_type": "true or false, without quotes",
    "string_type": "text; in quotes if it looks like something else",
    "dict_type": "fields of the form NAME: VALUE",
    "list_type": "a list",
    "model_type": "fields of the form NAME: VALUE",
    "model_attributes_type": "fields of the form NAME: VALUE",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def _given(detail: ErrorDetails, allowed: str) -> str:
    return f"given {_shown(detail['input'])}; allowed: {allowed}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path_text(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text or "the manifest"


def _example_of(path: Sequence[str | int]) -> str:
    known = {
        ("apiVersion",): f"apiVersion: {labels.API_VERSION}",
        ("kind",): f"kind: {labels.KIND}",
        ("metadata",): "metadata: {name: NAME}",
        ("spec",): "spec: with at least spec.model.source",
        ("spec", "model", "source"): "source: hf://ORGANISATION/MODEL, or file:///FOLDER",
    }
    return known.get(tuple(str(step) for step in path), f"{path[-1]}: VALUE")


def _unknown_field(path: Sequence[str | int]) -> str:
    owner = _model_at(path[:-1])
    names = sorted(field.alias or name for name, field in owner.model_fields.items()) if owner else []
    near = _nearest(str(path[-1]), names)
    return f"unknown field; did you mean '{near}'?" if near else f"unknown field; known here: {', '.join(names)}"


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name most like `name`, whatever the case and separators: token_budget finds tokenBudget."""
    folded = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _literal_choices(path: Sequence[str | int]) -> str | None:
    owner = _model_at(path[:-1])
    if owner is None:
        return None
    for name, field in owner.model_fields.items():
        if (field.alias or name) == path[-1] and typing.get_origin(field.annotation) is typing.Literal:
            return ", ".join(str(choice) for choice in typing.get_args(field.annotation))
    return None


def _model_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """The type of the object at `path`, found by walking the fields' annotations."""
    owner: type[BaseModel] | None = FastGenDeployment
    for step in path:
        if owner is None:
            return None
        if isinstance(step, int):
            continue
        fields = [field for name, field in owner.model_fields.items() if (field.alias or name) == step]
        owner = _model_in(fields[0].annotation) if fields else None
    return owner


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
