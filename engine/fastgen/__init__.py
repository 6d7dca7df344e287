"""FastGen: serve large language models with Dynamic SplitFuse, in one process or on a cluster.

    import fastgen
    with fastgen.pipeline("path/to/model") as pipe:
        print(pipe("What is Dynamic SplitFuse?", max_new_tokens=64)[0].text)

Attributes load lazily: importing this package never imports torch, so that the operator and the
balancer, whose images have none, can share `fastgen.contract` with the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgen.calls import Response
    from fastgen.clients import Client, client
    from fastgen.config import EngineConfig, EngineInfo
    from fastgen.core.sampling_params import SamplingParams
    from fastgen.deploy import serve
    from fastgen.errors import FastGenError
    from fastgen.pipelines import Pipeline, pipeline
    from fastgen.process.async_engine import AsyncEngine

__version__ = "0.1.0"

_HOMES = {
    "AsyncEngine": "fastgen.process.async_engine",
    "Client": "fastgen.clients",
    "EngineConfig": "fastgen.config",
    "EngineInfo": "fastgen.config",
    "FastGenError": "fastgen.errors",
    "Pipeline": "fastgen.pipelines",
    "Response": "fastgen.calls",
    "SamplingParams": "fastgen.core.sampling_params",
    "client": "fastgen.clients",
    "pipeline": "fastgen.pipelines",
    "serve": "fastgen.deploy",
}

__all__ = [
    "AsyncEngine",
    "Client",
    "EngineConfig",
    "EngineInfo",
    "FastGenError",
    "Pipeline",
    "Response",
    "SamplingParams",
    "__version__",
    "client",
    "pipeline",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastgen' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
