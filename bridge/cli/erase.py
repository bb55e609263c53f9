"""`leadbridge erase`: removal of a person's data for good."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.operations import erasure
from bridge.operations.audit import BY_COMMAND
from bridge.operations.erasure import Matches
from bridge.store.erasure import Remains
from bridge.store.person_match import EmailAddress, Person, PhoneNumber

SHOWN = 20
"""Maximum number of ids in one line."""

_ADVICE = {
    Remains.LOG: "another program reads the store all the time (a backup, a shell), so the person may still be in its "
    "write-ahead log. Run this again when that has ended",
    Remains.PAGES: "the person may still be in unused parts of the store's file, which is too large to be rewritten "
    "beside a running `leadbridge serve`. Stop that for a moment, and run this again",
}

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge erase --email ada@example.com", "leadbridge erase --phone '(415) 555-0100' --region US --yes"
    )
)
def erase(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    email: Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="The address of the person.")] = None,
    phone: Annotated[str | None, typer.Option("--phone", metavar="NUMBER", help="The person's phone number.")] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="COUNTRY", help="The country of a number without a country code, such as US."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove all data of a person for good: events, their deliveries and attempts, refused requests.

    An e-mail address is found in every field of an event, in any case and escaped in any way, but not as a part of a
    longer address. A phone number is found by its digits, with any characters between them, and with or without its
    country code: write it with a +, or name its --region. A number of fewer than 10 digits is found only in the field
    PhoneNumber. Events that may name another person are listed and left alone.

    A destination may have named the person in the history of another lead, or in the reason of a paused lane. If such a
    text has the address, the number, or a name or message of an erased event, [erased] replaces the whole text. In an
    embedded store the free pages and the write-ahead log are cleaned too.

    An erased event does not come back. As long as somebody could send its captured request again, the request is
    answered with success and not kept. Events in the spool of another machine are dropped too, for 7 days. The spool
    of this machine is searched. If several processes share PostgreSQL, run this on each machine.

    It works beside a running `leadbridge serve`. Pending deliveries of the person are removed, but a call that is under
    way is not stopped. Data in the CRM, at AI Agent and in your backups is not touched: erase it there first.

    The exit status is 1 if nothing was found, or if something may be left.
    """
    person = _person(email, phone, region)
    settings = inputs.read_config(inputs.chosen_path(path, config))
    with output.waiting("searching the store"):
        matches = erasure.find_person(settings, person)
    if not json:
        _show_unsure(matches)
    if matches.anything:
        inputs.confirm(f"{_description(matches)}. Erase all of this for good?", yes=yes)
    with output.waiting("erasing"):
        remains = erasure.erase(settings, BY_COMMAND, matches, time.time())
    if json:
        output.write_json(_facts(matches, remains))
    else:
        output.say(f"erased: {_description(matches)}" if matches.anything else "nothing in the store names this person")
    for each in remains:
        output.complain(_ADVICE[each])
    if remains or not matches.anything:
        raise typer.Exit(1)


def _person(email: str | None, phone: str | None, region: str | None) -> Person:
    try:
        if email is not None and phone is None and region is None:
            return EmailAddress(email)
        if phone is not None and email is None:
            return PhoneNumber(phone, region.upper() if region else None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--phone" if email is None else "--email") from None
    raise typer.BadParameter("name --email, or --phone with or without --region")


def _show_unsure(matches: Matches) -> None:
    for ids, *words in (
        (matches.unsure_events, "event", "events"),
        (matches.unsure_requests, "request in quarantine", "requests in quarantine"),
    ):
        if ids:
            names = ", ".join(ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")
            output.complain(
                f"left alone, because they may name another person: {_count(len(ids), *words)} ({names}). "
                "If they name this person, run this again with the address or number as it stands there"
            )


def _description(matches: Matches) -> str:
    parts = [
        _count(len(matches.events), "event", "events"),
        _count(matches.deliveries, "delivery", "deliveries"),
        _count(len(matches.requests), "request in quarantine", "requests in quarantine"),
        _count(matches.texts, "text of a destination", "texts of destinations"),
    ]
    waiting = ", ".join(f"{count} to {name}" for name, count in sorted(matches.pending.items()))
    pending = f"; pending and never delivered: {waiting}" if waiting else ""
    return ", ".join(each for each in parts if each) + pending


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}" if number else ""


def _facts(matches: Matches, remains: Sequence[Remains]) -> dict[str, object]:
    return {
        "erased": matches.anything,
        "events": matches.events,
        "deliveries": matches.deliveries,
        "pending": dict(matches.pending),
        "quarantined": matches.requests,
        "texts": matches.texts,
        "unsure": {
            "events": matches.unsure_events,
            "quarantined": [int(request) for request in matches.unsure_requests],
        },
        "remains": [each.value for each in remains],
    }
