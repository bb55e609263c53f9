"""What is known of a field before there is an event."""

from typing import Any

import pytest

from bridge.mapping.expressions.engine import JinjaExpressions
from bridge.mapping.field_facts import field_facts
from bridge.mapping.field_form import FieldForm
from connectors.base import MappedField

TEXT: dict[str, Any] = {"text": True}


@pytest.mark.parametrize(
    ("form", "known"),
    [
        ("Email", TEXT),
        ("SessionID", {}),
        ({"from": ["SessionID", "Email"]}, {}),
        ({"from": "SessionID", "transform": "trim"}, TEXT),
        ({"from": "Content", "transform": "epoch_ms"}, {}),
        ({"from": "Content", "transform": "some_plugin"}, {}),
        ({"from": "Email", "required": True}, {**TEXT, "always": True}),
        ({"value": "web"}, {**TEXT, "always": True, "longest": 3, "values": ("web",), "closed": True}),
        ({"value": 7}, {"always": True, "longest": 1, "values": (7,), "closed": True}),
        ({"value": "  "}, {**TEXT, "closed": True}),
        ({"value": False}, {"always": True, "longest": 5, "values": (False,), "closed": True}),
        ({"from": "Email", "default": "none"}, {**TEXT, "always": True, "values": ("none",)}),
        ({"from": "Email", "default": 0}, {"always": True, "values": (0,)}),
        ({"from": "Content", "transform": [{"truncate": 50}]}, {**TEXT, "longest": 50}),
        ({"from": "Content", "transform": [{"truncate": [50]}, "trim"]}, {**TEXT, "longest": 50}),
        ({"from": "Content", "transform": [{"truncate": {"n": "50"}}, "html_escape"]}, TEXT),
        ({"from": "Content", "transform": [{"truncate": 50}, {"truncate": 90}]}, {**TEXT, "longest": 50}),
        (
            {"from": "Content", "transform": [{"truncate": 3}], "default": "none"},
            {**TEXT, "always": True, "longest": 4, "values": ("none",)},
        ),
        ("{{ Content | truncate(500) }}", {**TEXT, "longest": 500}),
        ("{{ Content | truncate(n=500) }}", {**TEXT, "longest": 500}),
        ("{{ FirstName ~ Content | truncate(500) }}", TEXT),
        ("{{ Content | truncate(500) }}.", TEXT),
        ("{% if Email %}{{ Content | truncate(500) }}{% endif %}", TEXT),
        ("{{ Content | truncate(500) | upper }}", TEXT),
        ({"from": ["{{ Content | truncate(9) }}", "Email"]}, TEXT),
        ({"from": ["{{ Content | truncate(9) }}", "{{ URI | truncate(7) }}"]}, {**TEXT, "longest": 9}),
        (
            {"from": "Type", "lookup": {"Lead": "new", "Appointment": "booked"}},
            {**TEXT, "longest": 6, "values": ("new", "booked"), "closed": True},
        ),
        (
            {"from": "Type", "transform": [{"lookup": {"Lead": 1}}], "default": "x"},
            {"always": True, "longest": 1, "values": (1, "x"), "closed": True},
        ),
        (
            {"from": "Type", "transform": [{"lookup": [{"Lead": "a"}]}]},
            {**TEXT, "longest": 1, "values": ("a",), "closed": True},
        ),
        ({"from": "Type", "transform": [{"lookup": {"Lead": "a"}}, "upper"]}, TEXT),
    ],
)
def test_what_a_mapping_says(form: Any, known: dict[str, Any]) -> None:
    field = field_facts("name", FieldForm.model_validate(form), JinjaExpressions())

    assert field == MappedField(name="name", **known)
