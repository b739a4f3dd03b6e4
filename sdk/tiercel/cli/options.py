"""What all commands share: options, and the meaning of exit codes."""

from enum import StrEnum
from typing import Annotated

import typer

REFUSED = 1
UNREACHABLE = 3
INTERRUPTED = 130
EXIT_CODES = (
    "Exit codes: 0 done; 1 the run failed, or the request was refused; 2 wrong usage; 3 the server cannot be reached; "
    "130 interrupted."
)


class Format(StrEnum):
    """How answers are printed. `json` is the API's answer and nothing else."""

    TABLE = "table"
    JSON = "json"


Server = Annotated[str, typer.Option("--server", envvar="TIERCEL_SERVER", help="URL of the cloud's API.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="For people, or for programs.")]


def noun(about: str) -> typer.Typer:
    """The commands of one noun."""
    return typer.Typer(
        help=about,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
