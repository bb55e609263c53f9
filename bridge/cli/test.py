"""`leadbridge test`: the tests of a configuration."""

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final
from xml.etree import ElementTree as ET

import typer

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, JsonOption, PathArgument
from bridge.errors import OperatorError
from bridge.operations.event_dry_run import changed_texts, value_text
from bridge.operations.expectations import (
    NOTHING,
    Difference,
    Mismatch,
    Result,
    RouteCoverage,
    cover,
    run_tests,
    totals,
    whole_percent,
)

_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def junit(results: Sequence[Result]) -> bytes:
    """Return the results as JUnit XML: a suite for each chatbot, a case for each test."""
    top = ET.Element("testsuites", _counts("leadbridge", results))
    for chatbot, group in groupby(results, key=lambda each: each.chatbot):
        cases = list(group)
        suite = ET.SubElement(top, "testsuite", _counts(chatbot, cases))
        suite.extend(map(_case, cases))
    ET.indent(top)
    written: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def mismatch_lines(mismatch: Mismatch) -> Iterable[str]:
    """Return a line for each difference."""
    if mismatch.problem:
        yield f"{mismatch.destination}: {mismatch.problem}"
    for each in mismatch.differences:
        yield f"{mismatch.destination}.{each.field}: {difference_line(each)}"


def difference_line(difference: Difference) -> str:
    """Return a line about the difference in a field."""
    if difference.got is NOTHING:
        return f"expected {value_text(difference.expected)}, but it is left out{difference.hint}"
    if difference.expected is NOTHING:
        return f"not expected, but got {value_text(difference.got)}"
    return f"expected {value_text(difference.expected)}, got {value_text(difference.got)}"


def _counts(name: str, results: Sequence[Result]) -> dict[str, str]:
    failed = sum(1 for each in results if each.mismatches)
    return {"name": _clean(name), "tests": str(len(results)), "failures": str(failed), "errors": "0"}


def _case(result: Result) -> ET.Element:
    place = result.test.place
    named = {"classname": result.chatbot, "name": f"{result.number} {result.test.name}".strip()}
    where = {"file": place.file, "line": str(place.line)}
    case = ET.Element("testcase", {key: _clean(value) for key, value in (named | where).items()})
    lines = [_clean(line) for mismatch in result.mismatches for line in mismatch_lines(mismatch)]
    if lines:
        failure = ET.SubElement(case, "failure", {"message": lines[0], "type": "mismatch"})
        failure.text = "\n".join(lines)
    return case


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


app = output.application()

_COLUMNS = ("chatbot", "route", "tests", "fields", "expected by no test")


@app.command(
    "test",
    epilog=output.examples("leadbridge test", "leadbridge test acme.yaml --junit results.xml"),
)
def run(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    junit_file: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the results to FILE too, as JUnit XML for build servers."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the tests of a configuration, under `chatbots.NAME.tests`. Nothing is sent.

    Each test has an event and the expected records of its destinations. The event goes through the same routing and
    mapping as a real one. Differences are shown field by field, then the routes that no test reaches and the fields
    that no test expects.

    The exit status is 1 if a test fails, 0 otherwise, also without any test.
    """
    settings = inputs.read_whole(inputs.chosen_path(path, config))
    with output.waiting("running the tests"):
        results = run_tests(settings)
        covered = cover(settings, results)
    if junit_file:
        _write(junit_file, junit(results))
    if json:
        output.write_json(
            {"tests": [_row(each) for each in results], "coverage": [_coverage(each) for each in covered]}
        )
    elif not results:
        output.say("There are no tests yet: write what you expect under chatbots.NAME.tests (docs/configuration.md).")
    else:
        _show(results, covered)
    if any(each.mismatches for each in results):
        raise typer.Exit(1)


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}; name a file that can be written for --junit") from error


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


def _coverage(covered: RouteCoverage) -> dict[str, Any]:
    return {
        "chatbot": covered.chatbot,
        "route": covered.route,
        "tests": covered.tests,
        "fields": covered.fields,
        "fields_expected": covered.expected,
        "expected_by_no_test": list(covered.unexpected),
    }


def _show(results: Sequence[Result], covered: Sequence[RouteCoverage]) -> None:
    for each in results:
        _show_result(each)
    failed = sum(1 for each in results if each.mismatches)
    output.say()
    count = "1 test" if len(results) == 1 else f"{len(results)} tests"
    output.say(f"{count}, {failed} failed" if failed else f"{count}, none failed")
    _show_coverage(covered)


def _show_result(result: Result) -> None:
    place = f"{result.test.place.file}:{result.test.place.line}"
    mark, colour = (_mark("✗", "FAILED"), "red") if result.mismatches else (_mark("✓", "ok"), "green")
    output.say(f"{mark} {result.title} ({place})", colour)
    for mismatch in result.mismatches:
        if mismatch.problem:
            output.say("\n".join(f"    {line}" for line in mismatch_lines(mismatch)))
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


def _show_coverage(covered: Sequence[RouteCoverage]) -> None:
    rows = [
        {
            "chatbot": each.chatbot,
            "route": each.route,
            "tests": each.tests or "none",
            "fields": f"{each.expected} of {each.fields} ({whole_percent(each.expected, each.fields)}%)",
            "expected by no test": list(each.unexpected),
        }
        for each in covered
    ]
    output.say()
    output.show_rows(rows, _COLUMNS, as_json=False)
    sums = totals(covered)
    output.say()
    reached, expected = _share("routes", sums.reached, sums.routes), _share("fields", sums.expected, sums.fields)
    output.say(f"{reached} reached, {expected} expected")


def _share(what: str, part: int, whole: int) -> str:
    return f"{part} of {whole} {what} ({whole_percent(part, whole)}%)"
