"""A container's command line and environment, as a kubelet resolves them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastgen_devcluster.node.api import KubeObject
from fastgen_devcluster.node.fields import Addresses, field_value, resource_value
from fastgen_devcluster.node.references import Objects, read, read_key

VARIABLE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


class Known(NamedTuple):
    """What variables may refer to."""

    pod: KubeObject
    addresses: Addresses
    allocatable: Mapping[str, str | int]
    """What the node has to give."""
    objects: Objects


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, stays where there is none; `$$` is a dollar sign."""
    return VARIABLE.sub(lambda found: "$" if found[1] else variables.get(found[2], found[0]), text)


async def variables(container: Mapping[str, Any], known: Known) -> dict[str, str]:
    """The container's own variables in order. Raises MissingReferenceError, FieldError, ApiError."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        data = await read(known.objects, *_which(source, "Ref")) or {}
        found |= {source.get("prefix", "") + key: value.decode("utf-8", "replace") for key, value in data.items()}
    for entry in container.get("env", ()):
        if "valueFrom" in entry:
            value = await _value_from(entry["valueFrom"], container, known)
            if value is None:  # optional and missing: the variable is not set
                continue
            found[entry["name"]] = value
        else:
            found[entry["name"]] = expand(entry.get("value", ""), found)
    return found


async def _value_from(source: Mapping[str, Any], container: Mapping[str, Any], known: Known) -> str | None:
    if "fieldRef" in source:
        return field_value(known.pod, source["fieldRef"]["fieldPath"], known.addresses)
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"], known.allocatable)
    value = await read_key(known.objects, *_which(source, "KeyRef"))
    return None if value is None else value.decode("utf-8", "replace")


def _which(source: Mapping[str, Any], suffix: str) -> tuple[str, Mapping[str, Any]]:
    """The kind and the reference of a source that has one for a ConfigMap or one for a Secret."""
    if f"configMap{suffix}" in source:
        return "configmaps", source[f"configMap{suffix}"]
    return "secrets", source[f"secret{suffix}"]


def command_line(
    container: Mapping[str, Any],
    entry_point: Sequence[str],
    variables: Mapping[str, str],
    in_pod: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """`command` replaces the image's entry point, `args` come after either.

    Args:
        in_pod: what the pod's words become here. The entry point's are this machine's, and stay.
    """
    command = [in_pod(expand(word, variables)) for word in container.get("command", ())]
    arguments = [in_pod(expand(word, variables)) for word in container.get("args", ())]
    return (*(command or entry_point), *arguments)
