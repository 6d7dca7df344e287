"""Where a model's files are: a folder on this machine, or a hub id whose snapshot is fetched into the hub's cache.

huggingface_hub does the fetching, so its switches hold: HF_TOKEN, HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT.
Imports no torch: the tokenizer's process uses it too.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from fastgen.errors import ModelError

log = logging.getLogger(__name__)

WANTED_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
UNWANTED_FILES = ("original/*", "consolidated*", "onnx/*", "openvino/*")
"""Second copies of the weights in other formats."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")


def resolve_model_folder(model: str, revision: str | None = None) -> Path:
    """The folder that holds the files of `model`, fetched first if it is a hub id.

    Raises ModelError saying what to do where there is no such folder, or where the hub refuses, lacks the
    model or revision, or cannot be reached while the cache does not hold it.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"model={model} is a file; give the folder that holds config.json and the safetensors files")
    if _looks_like_path(model):
        raise ModelError(f"model={model}: there is no such folder (looked at {path.absolute()})")
    return _fetch(model, revision)


def _looks_like_path(model: str) -> bool:
    return (
        model.startswith(("/", ".", "~"))
        or model.endswith("/")
        or os.sep in model.replace("/", "", 1)
        or _HUB_ID.fullmatch(model) is None
    )


def _fetch(model: str, revision: str | None) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    at = f" at revision {revision}" if revision else ""
    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=list(WANTED_FILES), ignore_patterns=list(UNWANTED_FILES)
        )
    except errors.GatedRepoError as error:
        raise ModelError(
            f"the hub refuses {model}: it is gated; accept its terms on {constants.ENDPOINT}/{model} and set HF_TOKEN "
            "to a token of the account that did"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"the hub has {model}, but no revision {revision}; check revision=") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"model={model} is neither a folder here (looked at {Path(model).absolute()}) nor a model the hub shows "
            "us; check the spelling, and set HF_TOKEN if it is private"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(_unreachable(model, at, constants.is_offline_mode(), error)) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise ModelError(f"fetching {model}{at} from {constants.ENDPOINT} failed: {_first_line(error)}") from error
    log.info("model %s%s is at %s", model, at, folder)
    return Path(folder)


def _unreachable(model: str, at: str, offline: bool, error: Exception) -> str:
    neither = f"model={model} is no folder here, and the hub's cache does not hold all of it{at}"
    if offline:
        return f"{neither}; HF_HUB_OFFLINE forbids fetching it: unset it, or fill the cache where there is a network"
    from huggingface_hub import constants

    cause = _first_line(error.__cause__ or error)
    return (
        f"{neither}; the hub at {constants.ENDPOINT} cannot be reached ({cause}): check the network, or give a folder"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
