"""`leadbridge test`: the tests of a configuration."""

import sys
from collections.abc import Sequence
from typing import Any

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.operations.event_dry_run import changed_texts, value_text
from bridge.operations.expectations import NOTHING, Difference, Mismatch, Result, run_tests

app = output.application()


@app.command(
    "test",
    epilog=output.examples("leadbridge test", "leadbridge test acme.yaml --json"),
)
def run(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run the tests of a configuration, under `chatbots.NAME.tests`. Nothing is sent.

    Each test has an event and the expected records of its destinations. The event goes through the same routing and
    mapping as a real one. Differences are shown field by field.

    The exit status is 1 if a test fails, 0 otherwise, also without any test.
    """
    settings = inputs.read_whole(inputs.chosen_path(path, config))
    with output.waiting("running the tests"):
        results = run_tests(settings)
    if json:
        output.write_json({"tests": [_row(each) for each in results]})
    elif not results:
        output.say("There are no tests yet: write what you expect under chatbots.NAME.tests (docs/configuration.md).")
    else:
        _show(results)
    if any(each.mismatches for each in results):
        raise typer.Exit(1)


def _row(result: Result) -> dict[str, Any]:
    return {
        "chatbot": result.chatbot,
        "number": result.number,
        "name": result.test.name,
        "file": result.test.place.file,
        "line": result.test.place.line,
        "state": "failed" if result.mismatches else "passed",
        "event": result.dry_run.event.state.value,
        "mismatches": [_mismatch(each) for each in result.mismatches],
    }


def _mismatch(mismatch: Mismatch) -> dict[str, Any]:
    return {
        "destination": mismatch.destination,
        "problem": mismatch.problem or None,
        "differences": [_difference(each) for each in mismatch.differences],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    """Return a difference; `expected` and `got` are there only if they have a value."""
    sides = {"expected": difference.expected, "got": difference.got}
    values = {side: value for side, value in sides.items() if value is not NOTHING}
    return {"field": difference.field, "what": difference.what, **values}


def _show(results: Sequence[Result]) -> None:
    for each in results:
        _show_result(each)
    failed = sum(1 for each in results if each.mismatches)
    output.say()
    count = "1 test" if len(results) == 1 else f"{len(results)} tests"
    output.say(f"{count}, {failed} failed" if failed else f"{count}, none failed")


def _show_result(result: Result) -> None:
    place = f"{result.test.place.file}:{result.test.place.line}"
    mark, colour = (_mark("✗", "FAILED"), "red") if result.mismatches else (_mark("✓", "ok"), "green")
    output.say(f"{mark} {result.title} ({place})", colour)
    for mismatch in result.mismatches:
        if mismatch.problem:
            output.say(f"    {mismatch.destination}: {mismatch.problem}")
        else:
            output.say(f"    {mismatch.destination}")
            output.show_columns([_cells(each) for each in mismatch.differences], " " * 6)


def _mark(sign: str, word: str) -> str:
    """Return a sign, or a word if the terminal's encoding does not have the sign."""
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return word
    return sign


def _cells(difference: Difference) -> tuple[str, str, str, str]:
    expected, got = difference.expected, difference.got
    if got is NOTHING:
        return difference.what, difference.field, f"expected {value_text(expected)}{difference.hint}", ""
    if expected is NOTHING:
        return difference.what, difference.field, "", f"got {value_text(got)}"
    one, other = changed_texts(expected, got)
    return difference.what, difference.field, f"expected {one}", f"got {other}"
