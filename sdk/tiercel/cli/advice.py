"""What the API advises, in the words of the command line: it names its own paths, and a person at a terminal has commands."""

import re

_COMMANDS = (
    (r"POST /api/v1/definitions\b", "`tiercel definition register FILE`"),
    (r"GET /api/v1/definitions\b", "`tiercel definition list`"),
    (r"GET /api/v1/commands/(\S+)", r"`tiercel run command \1`"),
    (r"GET /api/v1/workflows/(\S+)", r"`tiercel run get \1`"),
    (r"GET /api/v1/workflows\b", "`tiercel run list`"),
    (r"POST /api/v1/workflows\b", "`tiercel run start`"),
    (r"GET /api/v1/schedules\b", "`tiercel schedule list`"),
    (r"PUT /api/v1/contacts/(\S+)", r"`tiercel contact set \1 URL`"),
    (r"GET /api/v1/notifications\b", "`tiercel notification list`"),
    (r"GET /api/v1/document-history/([^\s?]+)\?values=true", r"`tiercel document history \1 --values`"),
    (r"GET /api/v1/agents\b", "`tiercel agent list`"),
    (r"GET /api/v1/sites\b", "`tiercel site list`"),
    (r"\bPUT creates it\b", "`tiercel document put` creates it"),
    (r"\bor PUT does\b", "or `tiercel document put` does"),
)
_PATHS = tuple((re.compile(path), command) for path, command in _COMMANDS)


def in_commands(text: str) -> str:
    """The text with the command in place of each request that it advises."""
    for path, command in _PATHS:
        text = path.sub(command, text)
    return text
