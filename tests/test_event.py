import orjson
import pytest

from bridge.event import decode, fields_of, restore, serial_number
from tests.building import lead


@pytest.mark.parametrize("document", [None, [], "Lead", 5, {"Email": {}}, {"Content": ["x"]}])
def test_other_shapes_have_no_fields(document: object) -> None:
    assert fields_of(document) is None


def test_missing_and_null_fields_are_empty() -> None:
    known = fields_of({"Type": " Lead ", "Email": None})
    assert known is not None
    assert (known["Type"], known["Email"], known["URI"]) == ("Lead", "", "")


@pytest.mark.parametrize("document", [None, {}, {"SerialNumber": 5}, {"SerialNumber": " "}, []])
def test_there_may_be_no_serial_number(document: object) -> None:
    assert serial_number(document) is None


def test_reads_what_cannot_be_encoded_as_the_replacement_character() -> None:
    assert decode(b'{"a":"x\\ud83d"}') == {"a": "x\ufffd"}
    assert decode(b'\xef\xbb\xbf{"a":"\xff"}') == {"a": "\ufffd"}


def test_restores_an_event_from_its_payload() -> None:
    document = lead(FirstName="明")
    restored = restore("0" * 32, "acme", orjson.dumps(document), 5.0)
    assert restored.fields["FirstName"] == "明"
    with pytest.raises(ValueError, match="shape"):
        restore("0" * 32, "acme", b"{}", 5.0)


def test_a_repr_holds_no_value_of_the_event() -> None:
    restored = restore("0" * 32, "acme", orjson.dumps(lead(Email="secret@b.co")), 5.0)
    assert "secret" not in repr(restored)
