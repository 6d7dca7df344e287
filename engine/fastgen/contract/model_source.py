"""Where the weights come from: `spec.model`."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fastgen.contract.base import ManifestObject, Rule, ValueRule, validations
from fastgen.contract.quantities import ByteQuantity, wrong

Scheme = Literal["hf", "pvc", "s3", "oci", "file"]

DNS_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_SOURCE_SHAPES: dict[str, tuple[str, str]] = {
    "hf": (r"[\w.-]+(/[\w.-]+)?", "hf://ORGANISATION/MODEL"),
    "pvc": (DNS_NAME + r"(/.*)?", "pvc://CLAIM/FOLDER"),
    "s3": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", "s3://BUCKET/PREFIX"),
    "oci": (r"[\w.-]+(:\d+)?/[\w./-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", "oci://REGISTRY/NAME:TAG"),
    "file": (r".*[^/.].*", "file:///FOLDER/ON/THE/NODE"),
}
_NO_PARENTS = ("pvc", "s3")
"""Where a path may not lead out of what was named."""
_ANY_FORM = "one of the forms " + ", ".join(form for _, form in _SOURCE_SHAPES.values())
MAX_SOURCE_LENGTH = 1024


class Source(NamedTuple):
    """A source, taken apart."""

    scheme: Scheme
    rest: str
    """What follows `scheme://`: a hub id, CLAIM/FOLDER, BUCKET/PREFIX, an image reference or a path."""

    @property
    def is_relative_file(self) -> bool:
        """`file://./models/guide`: meaningful beside the manifest, on one machine; a cluster has no such place."""
        return self.scheme == "file" and not self.rest.startswith("/")


def parse_source(text: str) -> Source:
    """Take `scheme://rest` apart. Raises ValueError that says which forms there are."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SOURCE_SHAPES:
        raise ValueError(_ANY_FORM)
    shape, form = _SOURCE_SHAPES[scheme]
    if not re.fullmatch(shape, rest, re.ASCII):
        raise ValueError(f"the form {form}")
    if scheme in _NO_PARENTS and ".." in rest.split("/"):
        raise ValueError(f"the form {form}, without '..'")
    return Source(scheme, rest if scheme != "file" else posixpath.normpath(rest))  # type: ignore[arg-type]


def _check_source(text: str) -> str:
    try:
        parse_source(text)
    except ValueError as error:
        raise wrong(str(error)) from None
    return text


def source_rules() -> tuple[ValueRule, ...]:
    """What `parse_source` demands, from the same table, in CEL."""
    schemes = "|".join(_SOURCE_SHAPES)
    return (
        ValueRule(_ANY_FORM, f"self.matches(r'^({schemes})://')"),
        *(
            ValueRule(f"the form {form}", f"!self.startsWith('{scheme}://') || self.matches(r'^{scheme}://{shape}$')")
            for scheme, (shape, form) in _SOURCE_SHAPES.items()
        ),
        *(
            ValueRule(
                f"the form {_SOURCE_SHAPES[scheme][1]}, without '..'",
                rf"!self.startsWith('{scheme}://') || !self.matches(r'/\.\.(/|$)')",
            )
            for scheme in _NO_PARENTS
        ),
    )


class SecretKeyRef(ManifestObject):
    """One key of a Secret in the same namespace."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the Secret."""

    key: str = Field(default="token", min_length=1, max_length=253)
    """Key within the Secret."""


class ModelCache(ManifestObject):
    """A volume that keeps the downloaded weights, so that the next replica starts from disk."""

    size: ByteQuantity
    """How much to ask for, such as 50Gi: more than the weights take."""

    storage_class_name: str | None = Field(default=None, min_length=1, max_length=253)
    """Storage class of the volume. Without it, the cluster's default."""

    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    """ReadWriteMany lets replicas on different nodes share the volume; ReadWriteOnce is for storage that cannot, and
    keeps every replica on the node that has it."""


class ModelSpec(ManifestObject):
    """The model to serve."""

    source: Annotated[
        str,
        AfterValidator(_check_source),
        Field(max_length=MAX_SOURCE_LENGTH, json_schema_extra=validations(*source_rules())),
    ]
    """Where the weights are: hf://ORGANISATION/MODEL (Hugging Face hub), pvc://CLAIM/FOLDER, s3://BUCKET/PREFIX,
    oci://REGISTRY/NAME:TAG, or file:///FOLDER on the node. On one machine, `fastgen up` also takes a path
    relative to the manifest: file://./models/guide."""

    revision: str | None = Field(default=None, min_length=1, max_length=255)
    """Branch, tag or commit on the hub. Only with hf://."""

    token_secret_ref: SecretKeyRef | None = None
    """Secret that holds the hub's access token, for models that ask for one. Only with hf://."""

    cache: ModelCache | None = None
    """Keep downloaded weights on a volume. Only with hf://, s3:// and oci://; the others are on disk already."""

    @property
    def parsed_source(self) -> Source:
        return parse_source(self.source)

    RULES = (
        Rule(
            "revision",
            "a revision only with a source of hf://",
            "!has(self.revision) || self.source.startsWith('hf://')",
            lambda self: self.revision is None or self.source.startswith("hf://"),
        ),
        Rule(
            "tokenSecretRef",
            "a hub token only with a source of hf://",
            "!has(self.tokenSecretRef) || self.source.startsWith('hf://')",
            lambda self: self.token_secret_ref is None or self.source.startswith("hf://"),
        ),
        Rule(
            "cache",
            "a cache only with hf://, s3:// or oci://; weights on pvc:// and file:// are on disk already",
            "!has(self.cache) || !(self.source.startsWith('pvc://') || self.source.startsWith('file://'))",
            lambda self: self.cache is None or not self.source.startswith(("pvc://", "file://")),
        ),
    )
