"""The arguments and options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.configuration import DEFAULT, VARIABLE
from bridge.store.base import PAGE

LIMIT = 10_000
"""The most rows of a page."""

_CONFIGURATION = f"The configuration: a YAML file, or a folder of them. Default: ${VARIABLE}, then {DEFAULT}."

PathArgument = Annotated[Path | None, typer.Argument(metavar="PATH", show_default=False, help=_CONFIGURATION)]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="PATH", show_default=False, help=_CONFIGURATION)
]
"""The configuration of a command whose arguments are ids or names."""

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT, help="Show N rows at most.")]
PAGE_ROWS = PAGE
ChatbotOption = Annotated[str | None, typer.Option("--chatbot", metavar="NAME", help="Only those of this chatbot.")]
DestinationOption = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only those for this destination.")
]
BeforeOption = Annotated[
    int | None, typer.Option("--before", metavar="ID", min=1, help="Only those older than this one: the next page.")
]
