"""`leadbridge init`: a configuration to begin with."""

import json
import os
import secrets
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import yaml

from bridge.cli import inputs, output, scaffold
from bridge.cli.check import warning_line
from bridge.cli.connectors import connectors, does
from bridge.cli.scaffold import Answers, ChosenPresets, Starter
from bridge.config import ConfigError, load
from bridge.config.editor_schema import json_schema
from bridge.config.merge import NAME_PATTERN
from bridge.errors import OperatorError, did_you_mean

IMAGE_GROUP = 10001
"""Group of the image's user, as the Dockerfile names it."""
SANDBOX_TOKEN = "pat-na1-00000000-0000-0000-0000-000000000000"  # noqa: S105 - of an account that does not exist

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge init",
        "leadbridge init acme --connector hubspot --serial-number 59001dd7",
        "leadbridge init --add acme-shop --preset workspace --preset hubspot",
    )
)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the configuration.", show_default="here")
    ] = Path(),
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
    add: Annotated[
        str | None, typer.Option("--add", metavar="NAME", help="Add a file for another chatbot to DIR.")
    ] = None,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset", metavar="NAME", help="With --add: use the presets of this name, of each kind; repeatable."
        ),
    ] = None,
    trial: Annotated[
        bool, typer.Option("--trial", help="Write a configuration that works at once, with a sandbox CRM.")
    ] = False,
) -> None:
    """Write a configuration to begin with: config.yaml, commented, .env.example and config.schema.json.

    In a terminal the command asks for values without an option; elsewhere it takes placeholders, and names them. The
    configuration passes `leadbridge check` as it is, with a warning for each secret that is still to be set. Nothing is
    overwritten: if one of the files is there, nothing is written, and the exit status is 1.

    With --add, the file NAME.yaml is added to a folder that has a configuration: a chatbot with a route to one of the
    destinations. With a preset of destinations it gets a destination of its own, named as the chatbot.

    With --trial the admin token and the signing key are generated, and nothing is asked. A folder that already has a
    configuration stays as it is, with exit status 0.
    """
    if trial:
        _write_trial(folder)
    elif add is not None:
        _add(folder, _ask(_NAME._replace(option="--add"), add), serial_number, destination, presets or [])
    elif presets:
        raise typer.BadParameter("--preset goes with --add")
    else:
        _begin(folder, chatbot, serial_number, destination, connector, url)


class _Question(NamedTuple):
    """A question of the command."""

    text: str
    option: str
    """Option with which a person answers beforehand."""
    read: Callable[[str], str]
    """Returns the value; raises BadParameter for a text that cannot be the answer."""
    default: str | None = None
    placeholder: str | None = None
    """Answer without a terminal where there is no default: a text that a person replaces in the file."""


def _ask(question: _Question, value: str | None) -> str:
    """Return the option's value, or ask until the answer is good.

    Without a terminal take the default or the placeholder, or refuse.
    """
    if value is not None:
        try:
            return question.read(value)
        except typer.BadParameter as error:
            raise typer.BadParameter(error.message, param_hint=question.option) from error
    if inputs.is_interactive():
        return str(typer.prompt(question.text, default=question.default, value_proc=question.read))
    if question.default is not None:
        return question.default
    if question.placeholder is None:
        raise typer.BadParameter(f"{question.option} is missing, and there is nobody to ask")
    output.complain(f"{question.option} is missing: replace `{question.placeholder}` in the file")
    return question.placeholder


def _name(text: str) -> str:
    if not NAME_PATTERN.fullmatch(text):
        raise typer.BadParameter(f"`{text}`: a name has letters, digits, `-`, `_` and `.` only, 64 at most")
    return text


def _serial_number(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("it is empty; the vendor shows it under Workspace > Webhook, and in each event")
    return text


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise typer.BadParameter(f"`{text}` is not the address of an API; write https://…")
    return text


def _one_of(names: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"`{text}` is none of {', '.join(names)}{did_you_mean(text, names)}")
        return text

    return read


_NAME = _Question("Your name for the chatbot", "--chatbot", _name, "website")
_SERIAL_NUMBER = _Question("Its SerialNumber, as the vendor shows it", "--serial-number", _serial_number)
_DESTINATION = _Question("Your name for the destination", "--destination", _name, "crm")
_ADDRESS = _Question(
    "Address of its API (https://…)", "--url", _url, placeholder="https://replace-this.example.com/api/leads"
)


def _serial_number_of(chatbot: str) -> _Question:
    return _SERIAL_NUMBER._replace(placeholder=f"replace-this-{chatbot}")


def _begin(
    folder: Path,
    chatbot: str | None,
    serial_number: str | None,
    destination: str | None,
    connector: str | None,
    url: str | None,
) -> None:
    """Ask for the missing answers, and write the first configuration of a folder."""
    kinds = {name: kind for name, kind in connectors().items() if kind.starter()}
    if inputs.is_interactive() and connector is None:
        output.say("Where do the leads go?")
        output.show_columns([[name, does(kind)] for name, kind in kinds.items()], "  ")
    named = _ask(_Question("Connector", "--connector", _one_of(kinds), "http"), connector)
    starter = Starter.read(kinds[named].starter() or "")
    name = _ask(_NAME, chatbot)
    answers = Answers(
        chatbot=name,
        serial_number=_ask(_serial_number_of(name), serial_number),
        destination=_ask(_DESTINATION, destination),
        connector=named,
        url=_ask(_ADDRESS, url) if starter.needs_url else None,
    )
    _write(
        folder,
        {
            "config.yaml": scaffold.configuration(answers, starter),
            ".env.example": scaffold.variables(answers, starter),
            "config.schema.json": json.dumps(json_schema(connectors()), ensure_ascii=False, indent=2) + "\n",
        },
    )
    _check(folder / "config.yaml")
    _say_what_is_next(folder)


def _add(folder: Path, name: str, serial_number: str | None, destination: str | None, presets: Sequence[str]) -> None:
    """Add the file of another chatbot to a folder with a configuration."""
    if not any(folder.glob("*.yaml")):
        raise OperatorError(f"{folder}: has no configuration yet; begin with `leadbridge init {folder}`")
    config = load(folder, os.environ)
    if name in config.chatbots:
        raise OperatorError(f"there is a chatbot {name} already; choose another name")
    chosen = _chosen(folder, presets)
    serial = _ask(_serial_number_of(name), serial_number)
    to, kind = "", None
    if chosen.needs_destination and chosen.destination:
        to = _ask(_DESTINATION, destination or name)
        if to in config.destinations:
            raise OperatorError(f"there is a destination {to} already; name another one with --destination")
        kind = connectors().get(str(chosen.destination[1].get("connector")))
    elif chosen.needs_destination:
        names = list(config.destinations)
        if not names:
            raise OperatorError("there is no destination yet: add one, or name a preset of destinations with --preset")
        question = _Question(f"Destination ({', '.join(names)})", "--destination", _one_of(names), names[0])
        if len(names) > 1:
            question = question._replace(default=None)
        to = _ask(question, destination)
        kind = type(config.destinations[to].connector)
    text = kind.starter() if kind else None
    answers = Answers(name, serial, to, "", None)
    starter = Starter.read(text) if text else None
    _write(folder, {f"{name}.yaml": scaffold.added_chatbot(answers, chosen, starter)})
    _check(folder)


def _chosen(folder: Path, names: Sequence[str]) -> ChosenPresets:
    """Return the presets of these names in a folder whose files are known to be good; later ones win."""
    known: dict[str, dict[str, Any]] = {kind: {} for kind in ("destinations", "routes", "chatbots")}
    for file in sorted(folder.glob("*.yaml")):
        for kind, each in ((yaml.safe_load(file.read_text("utf-8")) or {}).get("presets") or {}).items():
            known[kind] |= each
    for name in names:
        if not any(name in each for each in known.values()):
            there = ", ".join(dict.fromkeys(each for kind in known.values() for each in kind)) or "none"
            raise OperatorError(f"--preset {name}: there is no preset of this name; the configuration has: {there}")
    found = [
        next(((name, known[kind][name]) for name in reversed(names) if name in known[kind]), None) for kind in known
    ]
    return ChosenPresets(*found)


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
