import pytest

from connectors.base import ExpressionError, SettingError
from connectors.event_text import Sources
from tests.connectors.building import EVENT, context


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (None, ""),
        ("FirstName", "David"),
        ("SessionID", "7"),
        (" {{ FirstName }} of {{ URI }} ", "David of www.example.com"),
    ],
)
def test_a_field_or_a_template(source: str | None, text: str) -> None:
    assert Sources(context()).text(source, EVENT) == text


@pytest.mark.parametrize(
    ("source", "told"),
    [("Contnt", "did you mean `Content`?"), ("Hello", "needs {{ }}"), ("{{ Oops }}", "Oops"), ("{{ Content", "")],
)
def test_one_that_cannot_be_compiled_is_refused_with_its_setting(source: str, told: str) -> None:
    with pytest.raises(SettingError) as refused:
        Sources(context()).check("remark", source)
    assert refused.value.path == ("remark",)
    assert told in refused.value.message
    assert isinstance(refused.value.__cause__, ExpressionError)
