"""Reading YAML from strangers: bounded in size, depth and expansion, no duplicate keys, every line known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from fastgen.errors import UsageError

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
"""Counted after aliases are expanded: ten lines of YAML can otherwise stand for gigabytes."""
MAX_DEPTH = 50


class Document(NamedTuple):
    """One YAML document with the place of each of its nodes."""

    value: Any
    node: yaml.Node

    def line_of(self, path: Sequence[str | int]) -> int:
        """The line (from 1) on which `path` stands, or the deepest part of it that exists."""
        node = self.node
        line: int = node.start_mark.line + 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line


def read_documents(text: str, where: str) -> list[Document]:
    """The documents of a YAML text that are not empty.

    Raises UsageError, with line and column, for text that is not YAML, too large, or ambiguous.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UsageError(f"{where} is larger than {MAX_BYTES // 1024} KiB; a manifest is a page or two")
    try:
        return [document for document in _documents(text, where) if document.value is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{where} is not YAML{place}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not YAML: {error}") from None
    except UsageError:
        raise
    except RecursionError:
        raise UsageError(f"{where} is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # an impossible date, for one
        raise UsageError(f"{where} holds a value that YAML cannot read: {error}; write it in quotes") from None


def _documents(text: str, where: str) -> Iterator[Document]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _check(node, where)
                yield Document(loader.construct_document(node), node)
    finally:
        loader.dispose()


def _check(root: yaml.Node, where: str) -> None:
    """Refuse what is too deep, too large once expanded, or says the same key twice."""
    waiting = [(root, 1)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MAX_NODES:
            raise UsageError(f"{where} holds more than {MAX_NODES} values once its aliases are expanded")
        if depth > MAX_DEPTH:
            raise UsageError(f"{where} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
        waiting.extend((child, depth + 1) for child in _children(node))


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{where}, line {line}: a key must be a word")
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise UsageError(
                f"{where}, line {line}: '{key.value}' is here a second time (first on line {seen[key.value]})"
            )
        seen[key.value] = line


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None
