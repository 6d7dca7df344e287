"""Where measurements of this machine are kept between starts: one small file per thing measured and what it depends on.

~/.cache/fastgen/step-time-3f9a...json          (XDG_CACHE_HOME or FASTGEN_CACHE name another folder)
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch

import fastgen
from fastgen_kernels.cache_folder import cache_folder


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
