"""What happens to a stream, one line on stderr each: for people, or as JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from engines.command import printable
from runtime.redaction import redact

FORMS = ("text", "json")
_log = logging.getLogger("deeplab")


def tell(event: str, level: int = logging.INFO, **facts: Any) -> None:
    """Log an event: a few fixed words, and what changes from one time to the next as facts."""
    _log.log(level, event, extra={"facts": facts})


@contextmanager
def journal(form: str, stream: TextIO | None = None) -> Iterator[None]:
    """Inside the `with`, what is told, and what the server's libraries warn of, goes to `stream`
    (stderr) as text or JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    loggers = [_log, logging.getLogger("aiohttp"), logging.getLogger("asyncio")]
    _log.setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class TextLines(logging.Formatter):
    """`12:00:01 viewer joined  stream=camera viewers=2`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback of an exception."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        facts = "".join(f"  {key}={value}" for key, value in _facts(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        # A stranger's request is quoted here: it must not begin a line of its own.
        line = printable(f"{record.getMessage()}{facts}").replace("\n", "?")
        return redact(f"{stamp} {level}{line}{trace}")


class JsonLines(logging.Formatter):
    """`{"time": "2026-01-31T12:00:01.250Z", "level": "info", "event": "viewer joined", ...}`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in the message."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps({key: _clean(value) for key, value in line.items()})


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return dict(getattr(record, "facts", {}))


def _clean(value: Any) -> Any:
    """Numbers as they are, everything else as redacted text."""
    return value if isinstance(value, bool | int | float | None) else redact(str(value))
