"""The lines that a node logs: structured, to stderr or into a file."""

import logging
import sys
from pathlib import Path
from typing import Any

import structlog


class Stderr:
    """Whatever stderr is when a line is written: a test, or a service that detaches, may have put another in its place."""

    def write(self, text: str) -> int:
        """Write, if there is one."""
        return sys.stderr.write(text) if sys.stderr is not None else len(text)

    def flush(self) -> None:
        """Have it out."""
        if sys.stderr is not None:
            sys.stderr.flush()


def configure_logging(log_file: Path | None) -> None:
    """Structured lines: JSON into the file if one is given, else readable ones to stderr."""
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
    stream: Any = log_file.open("a", buffering=1) if log_file is not None else Stderr()
    renderer: Any = structlog.processors.JSONRenderer() if log_file is not None else structlog.dev.ConsoleRenderer(colors=False)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
    )
    # What libraries say (a request that failed inside the API, say) goes the same way.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=[*shared]))
    handler.setLevel(logging.WARNING)
    logging.getLogger().handlers = [handler]
