"""`leadbridge init`: a configuration to begin with."""

import json
import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import output, scaffold
from bridge.cli.check import warning_line
from bridge.cli.connectors import connector as find_connector
from bridge.cli.connectors import connectors
from bridge.cli.scaffold import Answers
from bridge.config import ConfigError, load
from bridge.config.editor_schema import json_schema
from bridge.errors import OperatorError

IMAGE_GROUP = 10001
"""Group of the image's user, as the Dockerfile names it."""
SANDBOX_TOKEN = "pat-na1-00000000-0000-0000-0000-000000000000"  # noqa: S105 - of an account that does not exist

app = output.application()


@app.command(epilog=output.examples("leadbridge init", "leadbridge init acme --connector hubspot"))
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.", show_default="here")] = Path(),
    *,
    chatbot: Annotated[str | None, typer.Option(metavar="NAME", help="Your name for the chatbot.")] = None,
    serial_number: Annotated[
        str | None, typer.Option(metavar="ID", help="The chatbot's `SerialNumber`, as the vendor shows it.")
    ] = None,
    destination: Annotated[str | None, typer.Option(metavar="NAME", help="Your name for where leads go.")] = None,
    connector: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its connector; see `leadbridge connectors list`.")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Its address, for connectors that need one.")] = None,
    trial: Annotated[
        bool, typer.Option("--trial", help="Write one that works at once, into a sandbox CRM: for a container.")
    ] = False,
) -> None:
    """Write a configuration to begin with: config.yaml, commented, .env.example and config.schema.json.

    In a terminal the command asks for values without an option. The configuration passes `leadbridge check` as it is,
    with a warning for each secret that is still to be set. Nothing is overwritten: if one of the files is there,
    nothing is written, and the exit status is 1.

    With --trial the admin token and the signing key are generated, and nothing is asked. A folder that already has a
    configuration stays as it is, with exit status 0.
    """
    if trial:
        _write_trial(folder)
        return
    named = connector or _ask("Connector", "--connector", "http")
    kind = find_connector(named)
    answers = Answers(
        chatbot=chatbot or _ask("Name of the chatbot", "--chatbot", "website"),
        serial_number=serial_number or _ask("Its SerialNumber", "--serial-number", None),
        destination=destination or _ask("Name of the destination", "--destination", "crm"),
        connector=named,
        url=url or (_ask("URL of the destination", "--url", None) if scaffold.needs_url(kind) else None),
    )
    faults = answers.faults()
    if faults:
        raise typer.BadParameter("; ".join(faults))
    _write(
        folder,
        {
            "config.yaml": scaffold.configuration(answers, kind),
            ".env.example": scaffold.variables(answers, kind),
            "config.schema.json": json.dumps(json_schema(connectors()), ensure_ascii=False, indent=2) + "\n",
        },
    )
    _check(folder / "config.yaml")
    _say_what_is_next(folder)


def _ask(question: str, option: str, default: str | None) -> str:
    """Ask for a value without an option; without a terminal take the default, or refuse."""
    if sys.stdin.isatty():
        return str(typer.prompt(question, default=default))
    if default is None:
        raise typer.BadParameter(f"{option} is missing, and there is nobody to ask")
    return default


def _write(folder: Path, files: Mapping[str, str]) -> None:
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there:
        raise OperatorError(f"{', '.join(there)}: there already, and nothing is overwritten; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
            output.say(f"wrote {folder / name}")
    except OSError as error:
        raise OperatorError(f"{folder}: cannot be written: {error.strerror}; name another folder") from error


def _write_trial(folder: Path) -> None:
    """Write the trial configuration, readable by the image's group.

    A container engine may run this as root on a folder of the user's: the files then belong to the folder's owner. The
    configuration is written last, so that an interrupted run is repeated.
    """
    if any(folder.glob("*.yaml")):
        output.say(f"{folder}: has a configuration already; nothing is written")
        return
    vault = folder / "secrets"
    try:
        vault.mkdir(parents=True, exist_ok=True)
        _hand_over(vault, folder, 0o750)
        for name, text in _trial_secrets().items():
            _replace(vault / name, text + "\n", folder)
        text = Path(__file__).with_name("trial.yaml").read_text("utf-8")
        _replace(folder / "config.yaml", text, folder)
    except OSError as error:
        raise OperatorError(f"{folder}: cannot be written: {error.strerror}; name another folder") from error
    output.say(f"wrote {folder / 'config.yaml'}; the dashboard's token is in {vault / 'admin_token'}")


def _trial_secrets() -> Mapping[str, str]:
    return {
        "admin_token": secrets.token_urlsafe(24),
        "signing_key": secrets.token_urlsafe(24),
        "crm_token": SANDBOX_TOKEN,
    }


def _replace(path: Path, text: str, folder: Path) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    _hand_over(draft, folder, 0o640)
    draft.replace(path)


def _hand_over(path: Path, folder: Path, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, folder.stat().st_uid, IMAGE_GROUP)


def _check(path: Path) -> None:
    """Show the warnings about secrets and other settings that are still missing."""
    try:
        warnings = load(path, os.environ).warnings
    except ConfigError as error:
        output.complain(f"{error}\nThe files are written; correct these lines, then run `leadbridge check`.")
        raise typer.Exit(1) from error
    for warning in warnings:
        output.say(warning_line(warning))


def _say_what_is_next(folder: Path) -> None:
    enter = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    output.say()
    output.say("Next:")
    output.say(f"  {enter}cp .env.example .env    # then fill it in")
    output.say("  set -a; . ./.env; set +a; leadbridge check")
    output.say("  leadbridge serve")
