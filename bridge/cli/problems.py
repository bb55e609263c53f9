"""`leadbridge problems`: everything that needs a person, by cause."""

import time
from typing import Annotated, Any

import typer

from bridge.admin.configuration import findings
from bridge.admin.presentation import optional_timestamp
from bridge.cli import inputs, output
from bridge.cli.inputs import ChatbotOption, ConfigOption, JsonOption, PathArgument
from bridge.operations.acknowledgement import sort_problems
from bridge.operations.problems import Problem, find_problems
from bridge.operations.store_access import open_store
from bridge.store.filter import EVERYTHING
from bridge.store.user_state import Acknowledgement

app = output.application()


@app.command(epilog=output.examples("leadbridge problems", "leadbridge problems --chatbot acme --json"))
def problems(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    chatbot: ChatbotOption = None,
    everything: Annotated[bool, typer.Option("--all", help="List acknowledged problems too.")] = False,
    json: JsonOption = False,
) -> None:
    """List what needs a person, the worst kind first, each with its cause and what fixes it.

    It finds errors and warnings in the configuration; destinations that are paused, without a process or removed;
    silent chatbots; dead letters; quarantine; unrecognised events; and deliveries with a warning of the last 24 hours.
    The exit status is 1 if there is any that nobody has acknowledged, 0 otherwise.
    """
    settings = inputs.read_config(inputs.chosen_path(path, config))
    scope, now = EVERYTHING.narrowed(chatbot), time.time()
    noticed = findings(settings) if scope.is_whole else ()
    with open_store(settings).reading() as connection:
        found = sort_problems(
            connection, find_problems(connection, settings, now, noticed, scope), EVERYTHING, scope, now
        )
    known = found.acknowledged if everything else ()
    shown: list[tuple[Problem, Acknowledgement | None]] = [*((each, None) for each in found.open), *known]
    if json:
        output.write_json([_row(problem, given) for problem, given in shown])
    elif not shown:
        output.say("nothing needs a person")
    else:
        for problem, given in shown:
            _say(problem, given)
    if found.open:
        raise typer.Exit(1)


def _row(problem: Problem, given: Acknowledgement | None) -> dict[str, Any]:
    return {
        "id": problem.key,
        "state": "acknowledged" if given else "open",
        "kind": problem.kind.value,
        "title": problem.title,
        "why": problem.why,
        "fix": problem.fix,
        "count": problem.count,
        "chatbot": list(problem.chatbots),
        "chatbots": dict(problem.chatbots),
        "destination": problem.destination,
        "reason": problem.reason,
        "first_at": optional_timestamp(problem.first_at),
        "last_at": optional_timestamp(problem.last_at),
        "acknowledged_by": given.user if given else None,
    }


def _say(problem: Problem, given: Acknowledgement | None) -> None:
    """Show a problem: its title, then its facts below it."""
    output.say_hanging(f"{problem.kind.value:<13} ", problem.title, "yellow" if given else "red")
    chatbots = ", ".join(f"{name} {count}" if count else name for name, count in problem.chatbots.items())
    latest = optional_timestamp(problem.latest_at)
    for name, text in (
        ("count", f"{problem.count:,}"),
        ("chatbots", chatbots),
        ("latest", latest or ""),
        ("why", problem.why),
        ("fix", problem.fix),
        ("acknowledged", f"by {given.user}" if given else ""),
    ):
        if text:
            output.say_hanging(f"  {name:<12} ", text)
