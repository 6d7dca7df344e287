"""A process in the place of a replica or a balancer: real pid, real port, real signals, up in milliseconds.

    python stand_in.py --address-file FILE [--mode MODE] [anything else, as a real one would be given]

MODE: ready (listen, write the address file, end on SIGTERM), broken (end with status 1 at once), refused
(status 2 at once), stubborn (ready, and deaf to SIGTERM), child (ready, with a child process of its own).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

METRICS = 'fastgen_num_requests_running{model_name="m"} 3.0\n'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(METRICS.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address-file", type=Path, required=True)
    parser.add_argument("--mode", default="ready")
    args, _ = parser.parse_known_args()
    if args.mode in ("broken", "refused"):
        print(f"this one is {args.mode}", file=sys.stderr)
        sys.exit(1 if args.mode == "broken" else 2)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if args.mode == "stubborn" else lambda *_: sys.exit(0))
    if args.mode == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        args.address_file.with_suffix(".child").write_text(str(child.pid))
    server = HTTPServer(("127.0.0.1", 0), Handler)
    address = f"127.0.0.1:{server.server_port}"
    temporary = args.address_file.with_suffix(".new")
    temporary.write_text(json.dumps({"http": address, "grpc": address, "pid": os.getpid()}))
    temporary.replace(args.address_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
