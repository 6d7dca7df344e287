"""Measurements of this machine, kept between starts: one small file per thing measured and what it depends on.

~/.cache/fastgen/step-time-3f9a...json          (XDG_CACHE_HOME or FASTGEN_CACHE name another folder)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import fastgen
from fastgen_kernels.cache_folder import cache_folder

log = logging.getLogger(__name__)


def measurement_file(kind: str, device: torch.device, *facts: object) -> Path:
    """The file for a measurement of `kind`, a different one for each device, set of versions and `facts`."""
    key = [fastgen.__version__, torch.__version__, _device_name(device), torch.get_num_threads(), *map(str, facts)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_folder() / f"{kind}-{digest}.json"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "CPU part", "flags", "Features")):
                return f"{torch.backends.cpu.get_cpu_capability()} {os.cpu_count()} {line}"
    except OSError:
        pass
    return f"{torch.backends.cpu.get_cpu_capability()} {os.cpu_count()}"


def machine_is_busy() -> bool:
    """Whether more wants to run than there are processors: timings are then those of the neighbours."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def remembered(file: Path, measure: Callable[[], Any], *, keep: Callable[[], bool] = lambda: True) -> Any:
    """What `file` holds, or else what `measure` returns (JSON values), kept there for the next start.

    `keep` is asked after measuring; where it says no, the next start measures again.

    Processes that start together measure once: the others wait, for two that measure at the same time disturb
    each other, and might choose differently. A folder that cannot be written costs a warning and nothing else.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(file))
        except OSError as error:
            log.warning("measurements cannot be kept in %s (%s); the next start measures again", file.parent, error)
            return measure()
        try:
            return json.loads(file.read_text())
        except FileNotFoundError:
            pass
        except ValueError as error:
            log.warning("measuring again: %s is not readable (%s)", file, error)
        value = measure()
        if not keep():
            log.info("this machine is busy, so the measurement is not kept; the next start measures again")
            return value
        try:
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(value))
            partial.replace(file)
        except OSError as error:  # a full disk, most likely
            log.warning("the measurement could not be kept in %s (%s); the next start measures again", file, error)
        return value


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
