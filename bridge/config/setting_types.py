"""Types of settings that several parts of the configuration share: texts, names, lists and their notation. Pure."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints


def as_list(value: object) -> object:
    """Return a list with the text if the value is a single text."""
    return [value] if isinstance(value, str) else value


def as_serials(value: object) -> object:
    """Return a list with the serial number if the value is a single one. Raises ValueError for a map."""
    if isinstance(value, dict):
        raise ValueError("must be a serial number, or a list of serial numbers")  # noqa: TRY004 - pydantic reports ValueErrors
    return [value] if isinstance(value, str | int | float) or value is None else value


def _stripped(text: str) -> str:
    """Return a text without white space at its ends. Raises ValueError if nothing is left."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _as_written(value: object) -> object:
    """Return a whole number as text, which is exactly how it was written."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_destination(value: object) -> object:
    """Return the name of a destination as text. Raises ValueError for a list."""
    if isinstance(value, list):
        raise ValueError("must be the name of one destination: write a route of its own for each")  # noqa: TRY004 - pydantic reports ValueErrors
    return _as_written(value)


def parsed_setting(default: str, parse: Callable[[str], Any], description: str, example: str) -> Any:
    """Return a field with a parsed default that the JSON Schema shows as written."""
    return Field(
        default=parse(default), description=description, examples=[example], json_schema_extra={"default": default}
    )


TextSetting = Annotated[str, BeforeValidator(_as_written, json_schema_input_type=str | int)]
SecretText = Annotated[SecretStr, BeforeValidator(_as_written, json_schema_input_type=str | int)]
SerialNumber = Annotated[TextSetting, StringConstraints(min_length=1), AfterValidator(_stripped)]
DestinationName = Annotated[str, BeforeValidator(_one_destination, json_schema_input_type=str | int)]
EventType = Literal["Lead", "Appointment"]


class StrictModel(BaseModel):
    """Base of all parts of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


UseSetting = Annotated[list[TextSetting], BeforeValidator(as_list, json_schema_input_type=list[str] | str)]


def use_setting(kind: str, example: str) -> Any:
    """Return the field `use`. The loader replaces it by the keys of the presets before a model sees them."""
    return Field(
        default=[],
        description=f"Name of a preset of `presets.{kind}`, or a list of names of which later ones win. Keys beside it "
        "replace those of the preset.",
        examples=[example],
    )
