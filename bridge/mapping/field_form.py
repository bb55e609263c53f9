"""The configuration of one field of a record. Pure."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bridge.errors import did_you_mean

_KEYS: Final = frozenset({"from", "transform", "lookup", "default", "required", "keep_empty", "value", "write"})


class FieldForm(BaseModel):
    """Configuration of one field of a record: a source or a constant, and the steps that change it.

    Short forms are converted to this one. A text with `{{` or `{%` is a template, any other text is the name of a field
    of the event; both are sources.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    sources: list[str] = Field(
        default=[],
        alias="from",
        description="Fields of the event, or templates. The first that is not empty is used.",
    )
    transform: list[Any] = Field(
        default=[], description="Transforms, applied in this order: `trim`, `{truncate: 500}`."
    )
    lookup: dict[str, Any] | None = Field(
        default=None,
        description="Table from a text to the value that is sent for it. A text that is not in the "
        "table becomes empty.",
    )
    default: Any = Field(default=None, description="Value that is sent if the result is empty.")
    required: bool = Field(
        default=False, description="If true, an event for which the result is empty becomes a dead letter."
    )
    keep_empty: bool = Field(
        default=False, description="If true, an empty result is sent as an empty text instead of being left out."
    )
    value: Any = Field(default=None, description="Constant, in place of `from` and the steps.")
    write: Literal["always", "create", "if_empty"] = Field(
        default="always",
        description="When the field is written: `always`, `create` (only if the CRM creates the record), or `if_empty` "
        "(only where the CRM holds no value). The last two need a connector that can read the record first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, form: object) -> object:
        """Return the long form of a short form, and of a single source or transform."""
        if isinstance(form, str):
            return {"from": [form]}
        if isinstance(form, bool | int | float):
            constant = str(form).lower()
            raise ValueError(f"must be a field of the event or a map: a constant is written {{value: {constant}}}")  # noqa: TRY004 - see below
        if not isinstance(form, dict):
            raise ValueError("must be a field of the event, a template in quotes, or a map: {value: …}, {from: …}")  # noqa: TRY004 - pydantic reports ValueErrors
        if form and not any(key in _KEYS or did_you_mean(str(key), _KEYS) for key in form):
            raise ValueError(
                "has none of the keys of a field, such as `from` and `value`; a field cannot be a map of other fields: "
                "for nested JSON use the `http` connector with a `body` template"
            )
        single = {key: [form[key]] for key in ("from", "transform") if isinstance(form.get(key), str | dict)}
        return {**form, **single}

    @model_validator(mode="after")
    def _check_sources(self) -> "FieldForm":
        """Raise ValueError for a form with no value, or with two."""
        keys = self.model_fields_set
        if "value" in keys and keys & {"sources", "transform", "lookup", "default"}:
            raise ValueError("`value` is a constant: it can only be combined with `required`, `keep_empty` and `write`")
        if "value" not in keys and not self.sources:
            raise ValueError("needs `from` (fields of the event) or `value` (a constant)")
        return self
