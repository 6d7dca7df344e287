"""Log lines: JSON for machines, text for people, the libraries' chatter left out."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

FIELDS = ("namespace", "deployment", "uid", "generation", "reason")
"""What a line about a deployment says beside its words, as `extra`."""


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name in FIELDS if (value := getattr(record, name, None)) is not None},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(form: Literal["json", "text"], level: str) -> None:
    """Log to stderr. Of kopf and the HTTP library only what is worth somebody's attention."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if form == "json" else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    handler.addFilter(_is_worth_reading)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("fastgen").setLevel(level.upper())
    for name in ("kopf", "aiohttp", "kubernetes", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """kopf runs in a thread of ours and leaves signals to us, which it finds remarkable."""
    return "OS signals are ignored" not in record.getMessage()
