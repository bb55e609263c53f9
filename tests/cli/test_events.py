"""`leadbridge events`."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli import output
from tests.building import NOW, lead
from tests.cli.conftest import OTHER_SERIAL, states

if TYPE_CHECKING:
    from tests.cli.conftest import Place


def test_the_list_is_newest_first_and_holds_no_personal_data(filled: "Place") -> None:
    filled.receive(lead(Email="test@example.com"), {"SerialNumber": "abc"}, now=NOW + 1)

    rows = filled.rows("events", "list")

    assert [row["state"] for row in rows] == ["unrecognised", "test", *["accepted"] * 5]
    assert rows[0] == {
        "id": rows[0]["id"],
        "state": "unrecognised",
        "chatbot": None,
        "type": None,
        "form": "raw",
        "received_at": "2026-11-25T09:46:41.000Z",
        "deliveries": {},
    }
    assert rows[2]["chatbot"] == "acme"
    assert rows[2]["deliveries"] == {"pending": 1}
    assert rows[4]["deliveries"] == {"dead": 1}
    assert "example.com" not in filled("events", "list").output


def test_filters_and_pages(filled: "Place") -> None:
    filled.know_other()
    filled.receive(lead(SerialNumber=OTHER_SERIAL), b"not json")
    everything = [row["id"] for row in filled.rows("events", "list")]

    assert [row["id"] for row in filled.rows("events", "list", "--limit", 3)] == everything[:3]
    assert [row["id"] for row in filled.rows("events", "list", "--before", everything[2])] == everything[3:]
    assert len(filled.rows("events", "list", "--state", "accepted")) == 6
    assert len(filled.rows("events", "list", "--state", "unrecognised")) == 1
    assert [row["chatbot"] for row in filled.rows("events", "list", "--chatbot", "other")] == ["other"]
    assert filled.rows("events", "list", "--chatbot", "nobody") == []


def test_a_page_holds_a_hundred(leadbridge: "Place") -> None:
    leadbridge.receive([lead() for _ in range(103)])

    assert len(leadbridge.rows("events", "list")) == 100
    text = leadbridge("events", "list")
    last = text.stdout.splitlines()[-1].split()[0]
    assert text.stderr == f"For older ones: --before {last}\n"
    assert len(leadbridge.rows("events", "list", "--before", last)) == 3


def test_an_empty_list_is_empty(leadbridge: "Place") -> None:
    assert leadbridge.rows("events", "list") == []
    empty = leadbridge("events", "list")
    assert (empty.stdout, empty.stderr) == ("", "There is nothing to list.\n")


def test_show_has_the_payload_and_the_deliveries(filled: "Place") -> None:
    (event,) = filled.receive(lead(FirstName="李雷", Content="mail me"))

    as_json = json.loads(filled("events", "show", event, "--json").stdout)
    text = filled("events", "show", event)

    assert as_json["payload"]["FirstName"] == "李雷"
    assert as_json["form"] == "raw"
    assert states(as_json["deliveries"]) == {6: "pending", 7: "pending"}
    assert '  "FirstName": "李雷",' in text.stdout.splitlines()
    assert [line.split()[:3] for line in text.stdout.splitlines()[-2:]] == [
        ["6", "pending", "crm"],
        ["7", "pending", "mail"],
    ]


def test_a_beginning_of_the_id_is_enough_if_it_is_unique(leadbridge: "Place") -> None:
    first, second = leadbridge.receive(lead(CreateTime="2026-01-01T00:00:00Z"), lead())

    assert first[:10] != second[:10]
    assert leadbridge("events", "show", first[:10].upper()).exit_code == 0
    ambiguous = leadbridge("events", "show", "006900"[:4] + first[4:6])
    assert ambiguous.exit_code in {0, 1}
    several = leadbridge("events", "show", "00695", "006955b", "nonsense", "f" * 32)
    assert several.exit_code == 1
    assert "hexadecimal digits" in several.stderr.splitlines()[0]
    assert several.stderr.splitlines()[-1] == f"{'f' * 32}: no event has this id; see `leadbridge events list`"


def test_several_ids_are_one_document(leadbridge: "Place") -> None:
    first, second = leadbridge.receive(lead(), lead())

    shown = leadbridge("events", "show", first, "f" * 32, second, "--json")

    assert shown.exit_code == 1
    assert [each["id"] for each in json.loads(shown.stdout)] == [first, second]


def test_a_shortened_id_is_accepted_by_every_command(leadbridge: "Place", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_width", lambda: 40)
    events = leadbridge.receive(*(lead() for _ in range(20)))

    short = [line.split()[0] for line in leadbridge("events", "list").stdout.splitlines()[1:]]

    assert all(len(each) < 32 and long.startswith(each) for each, long in zip(short, reversed(events), strict=True))
    assert leadbridge("events", "show", short[3]).exit_code == 0
    assert leadbridge("deliveries", "discard", short[3]).exit_code == 0
    assert len(leadbridge("events", "list", "--before", short[3]).stdout.splitlines()) == 17


def test_a_span_of_time(leadbridge: "Place") -> None:
    for day in range(3):
        leadbridge.receive(lead(), now=NOW + 86_400 * day)  # from 25 November on

    def received(*span: str) -> list[str]:
        return [row["received_at"][:10] for row in leadbridge.rows("events", "list", *span)]

    assert received("--since", "2026-11-26") == ["2026-11-27", "2026-11-26"]
    assert received("--since", "2026-11-26T09:00", "--until", "2026-11-26T11:00+01:00") == ["2026-11-26"]
    assert received("--until", "36500d") == []
    assert leadbridge("events", "list", "--since", "yesterday").exit_code == 2


def test_a_beginning_of_several_ids_is_refused(leadbridge: "Place") -> None:
    first, second = leadbridge.receive(lead(), lead())

    assert first[:10] == second[:10]
    result = leadbridge("events", "show", first[:10], second)

    assert result.exit_code == 1
    assert "write more digits" in result.stderr
    assert second in result.stdout


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"not json \x1b[31m", "not json \\u001b[31m"),
        (b'{"n": 1e400}', '{"n": 1e400}'),
        (b"\xff\xfe", "��"),
        (b'{"a": "\\ud83d"}', '"a": "�"'),
    ],
)
def test_any_payload_can_be_shown(leadbridge: "Place", body: bytes, shown: str) -> None:
    (event,) = leadbridge.receive(body)

    text = leadbridge("events", "show", event)
    as_json: Any = json.loads(leadbridge("events", "show", event, "--json").stdout)

    assert shown in text.stdout
    assert "payload" in as_json


def test_unrecognised_events_are_discarded(leadbridge: "Place") -> None:
    known, *junk = leadbridge.receive(lead(), {"SerialNumber": "abc"}, b"not json", b"nor this")

    done = leadbridge("events", "discard", junk[0], known, "--json")

    assert done.exit_code == 1
    first, second = json.loads(done.stdout)
    assert (first["id"], first["state"], first["error"]) == (junk[0], "discarded", None)
    assert "is accepted; only unrecognised events are discarded" in second["error"]
    assert "`leadbridge events discard` deletes it" in leadbridge("deliveries", "discard", junk[1]).stderr
    assert leadbridge("events", "discard", "--all").exit_code == 2, "it asks"
    assert leadbridge("events", "discard", "--all", "--yes").stdout == "deleted 2 unrecognised events\n"
    assert [row["id"] for row in leadbridge.rows("events", "list")] == [known]
    entries = [(row["action"], row["subject_id"], row["count"]) for row in leadbridge.rows("audit", "list")]
    assert entries == [("discard_all", None, 2), ("discard", junk[0], None)]
