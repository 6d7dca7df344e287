"""`fastgen serve`: one replica, OpenAI-compatible HTTP and gRPC in front of one engine."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Loads a model and serves it, OpenAI-compatible over HTTP and over gRPC (proto/fastgen/v1), on this machine.

The model is a folder in Hugging Face format or a hub id. Every "auto" is resolved at start and told in the
log: dtype, attention, the size of the KV cache, and the token budget each step is filled to.

Every response carries a receipt (usage.sla): did this request keep its latency promise, and if not, why not.
SIGTERM: not ready at once, running requests finish within --grace-seconds, exit 0; a second one ends them now.
"""

EPILOG = """\
examples:
  fastgen serve examples/models/guide
  fastgen serve meta-llama/Llama-2-7b-chat-hf --dtype bfloat16 --max-model-tokens 4096 --host 0.0.0.0
  curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{"messages": [{"role": "user", "content": "What is Dynamic SplitFuse?"}]}'
  curl localhost:8000/metrics | grep fastgen_effective

To run several replicas behind a balancer: fastgen up --help
"""


class Serve:
    """The command; see DESCRIPTION."""

    name = "serve"
    help = "one replica: serve a model over HTTP and gRPC"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from fastgen.config import EngineConfig
        from fastgen.options import add_options
        from fastgen_server.settings import ServerConfig

        parser.description = DESCRIPTION
        parser.epilog = EPILOG
        parser.add_argument("model", metavar="MODEL", help="A folder in Hugging Face format, or a hub id.")
        add_options(parser, ServerConfig, title="the server")
        add_options(parser, EngineConfig, title="the engine", leave_out=("model",))

    def run(self, args: argparse.Namespace) -> int:
        import asyncio
        import logging

        from fastgen.config import EngineConfig
        from fastgen.options import from_namespace
        from fastgen_server.serving import serve
        from fastgen_server.settings import ServerConfig

        engine_config, config = from_namespace(EngineConfig, args), from_namespace(ServerConfig, args)
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("fastgen").setLevel(logging.INFO)
        return asyncio.run(serve(engine_config, config))


command = Serve()
