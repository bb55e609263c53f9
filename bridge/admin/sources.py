"""What an answer on the admin listener is made from, and how: the store and the templates become bytes.

Used in the desk's threads and in the reader's process alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from bridge.admin.authentication import Caller
from bridge.admin.dashboard.rendering import Rendering
from bridge.admin.desk import Ask
from bridge.admin.views import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sources:
    """What there is to make an answer from. Used by one thread."""

    ask: Ask
    rendering: Rendering


Work = Callable[[Sources], T]
"""Makes something of the sources and changes nothing, so it may be done again."""


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """A question alone."""

    question: Callable[[Connection], Any]

    def __call__(self, sources: Sources) -> Any:  # noqa: ANN401 - whatever the question gives
        """Give its answer."""
        return sources.ask(self.question)


@dataclass(frozen=True, slots=True, repr=False)
class Apart:
    """A function that needs nothing of the sources, but takes its time."""

    function: Callable[..., Any]
    given: tuple[Any, ...]

    def __call__(self, _: Sources) -> Any:  # noqa: ANN401 - whatever the function gives
        """Give what it does."""
        return self.function(*self.given)


@dataclass(frozen=True, slots=True, repr=False)
class Written:
    """What such a function gives, as the API answers it."""

    function: Callable[..., BaseModel]
    given: tuple[Any, ...]

    def __call__(self, _: Sources) -> bytes:
        """Make it."""
        return self.function(*self.given).model_dump_json().encode()


@dataclass(frozen=True, slots=True, repr=False)
class Json:
    """A view as the API answers it."""

    view: View[BaseModel]

    def __call__(self, sources: Sources) -> bytes:
        """Make it."""
        return sources.ask(self.view).model_dump_json().encode()


@dataclass(frozen=True, slots=True, repr=False)
class Page:
    """A page, not made yet."""

    template: str
    caller: Caller
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the template uses; of a `View` what it shows."""

    def __call__(self, sources: Sources) -> bytes:
        """Make it."""
        values = {name: sources.ask(each) if isinstance(each, View) else each for name, each in self.values.items()}
        return sources.rendering.text(self.template, self.caller, **values).encode()
