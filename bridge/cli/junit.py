"""The report of `leadbridge test` as JUnit XML, which build servers read. Pure."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET

from bridge.cli.expectations import NOTHING, Difference, Mismatch, Result
from bridge.cli.values import shown

_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def junit(results: Sequence[Result]) -> bytes:
    """Write the results: a suite for each chatbot, a case for each test."""
    top = ET.Element("testsuites", _counts("leadbridge", results))
    for chatbot, group in groupby(results, key=lambda each: each.chatbot):
        cases = list(group)
        suite = ET.SubElement(top, "testsuite", _counts(chatbot, cases))
        suite.extend(map(_case, cases))
    ET.indent(top)
    written: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def mismatch_lines(mismatch: Mismatch) -> Iterable[str]:
    """Say in lines what is not as expected."""
    if mismatch.problem:
        yield f"{mismatch.destination}: {mismatch.problem}"
    for each in mismatch.differences:
        yield f"{mismatch.destination}.{each.field}: {difference_line(each)}"


def difference_line(difference: Difference) -> str:
    """Say in a line how a field differs."""
    if difference.got is NOTHING:
        return f"expected {shown(difference.expected)}, but it is left out{difference.hint}"
    if difference.expected is NOTHING:
        return f"not expected, but got {shown(difference.got)}"
    return f"expected {shown(difference.expected)}, got {shown(difference.got)}"


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
