"""The author's description of a connector, from which the kit tests it.

Needs pytest, which the bridge itself does not: nothing that runs in production may import this module.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Generic

import orjson
import pytest
from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, SecretStr

from connectors.base import Connector, Context, Delivered, ExpressionError, Expressions, Record, RouteSettings, Vault
from connectors.testing.answer_rows import with_status
from connectors.testing.faults import Fault
from connectors.testing.trial import FakeT, Run, claim

EVENT_NAMES = frozenset(
    {
        "SerialNumber",
        "Type",
        "FirstName",
        "LastName",
        "Email",
        "PhoneNumber",
        "CreateTime",
        "Content",
        "SessionID",
        "URI",
        "event",
        "chatbot",
    }
)
"""Names that a template may use: the vendor's fields, `event` and `chatbot`."""
_LEAST = 4  # characters of a secret; shorter values occur in any text


class PlainExpressions:
    """Compiler that implements `connectors.base.Expressions`. Its methods may run in parallel."""

    def __init__(self) -> None:
        self._strict = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        self._lenient = ImmutableSandboxedEnvironment(undefined=Undefined)

    def template(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], str]:
        """Compile a text with `{{ }}`. Both this method and the returned function raise `ExpressionError`."""
        try:
            self._check(source, names)
            compiled = self._strict.from_string(source)
        except TemplateError as error:
            raise ExpressionError(str(error)) from None
        return _as_expression_error(compiled.render)

    def expression(self, source: str, names: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], Any]:
        """Compile a bare expression. Raises as `template` does."""
        try:
            self._check(f"{{{{ {source} }}}}", names)
            compiled = self._lenient.compile_expression(source)
        except TemplateError as error:
            raise ExpressionError(str(error)) from None
        return _as_expression_error(compiled)

    def _check(self, source: str, names: frozenset[str] | None) -> None:
        if names is None:
            return
        unknown = find_undeclared_variables(self._strict.parse(source)) - names
        if unknown:
            raise ExpressionError(f"unknown name: {', '.join(sorted(unknown))}")


def _as_expression_error(function: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Turn errors caused by the values into `ExpressionError`, without a value in it."""

    def call(values: Mapping[str, Any]) -> Any:
        try:
            return function(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise ExpressionError(f"fails with {type(error).__name__}") from None

    return call


class MemoryVault:
    """A vault that forgets everything when the process ends."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def read(self, name: str) -> str | None:
        """Return the value last written under the name."""
        return self.values.get(name)

    async def write(self, name: str, value: str) -> None:
        """Store a value."""
        self.values[name] = value


class Subject(Generic[FakeT]):
    """The author's description of a connector; see `ConnectorContract`."""

    connector: ClassVar[type[Connector]]
    """The connector."""
    on: ClassVar[str | None] = None
    """Text in path and query of the requests that may fail, if the fake also issues tokens."""
    bare_success: ClassVar[frozenset[int]] = frozenset()
    """Statuses that account for a record without a body, if the API has such (204 to a PUT)."""

    def fake(self) -> FakeT:
        """Return a fake of the API. It starts when it is entered."""
        raise NotImplementedError("give the fake that the connector is tested against")

    def settings(self, fake: FakeT) -> Mapping[str, Any]:
        """Return the settings of a destination, as in YAML, that lead to the fake and that it accepts."""
        raise NotImplementedError("give the settings that lead to the fake")

    def fields(self, number: int) -> Mapping[str, Any]:
        """Return the mapped fields of a lead. Different numbers are different people, and the fake accepts them.

        Use the e-mail or phone of `event(number)`, because the tests search logs for it.
        """
        raise NotImplementedError("give the fields of a lead")

    def held(self, fake: FakeT) -> Sequence[object]:
        """Return the fake's content: a value for each thing that must not be written twice, without ids and times."""
        raise NotImplementedError("give what the fake holds")

    def refused(self) -> Mapping[str, Any]:
        """Return fields that the API refuses for good, such as a lead without a required field."""
        pytest.skip("the class names no refused record")

    def failing(self, answer: Any, status: int) -> Any:
        """Return the answer to a batch with a refused record as if that record had failed with a status (429, 503).

        By default each 4xx under a name such as `status` or `code` in a row is replaced. Override it if the API has its
        own words for a busy or failing server, such as `"code": "SERVER_BUSY"`.
        """
        return with_status(answer, status)

    def conditional(self) -> str:
        """Return a text field of `fields` that `held` shows, for a connector with `conditional_writes`."""
        pytest.skip("the class names no field for conditional writes")

    def keys(self) -> tuple[str, str]:
        """Return the fields of `fields` that identify a person: the stronger, then the weaker (`email`, `phone`)."""
        pytest.skip("the class names no second key")

    def expire(self, fake: FakeT) -> None:
        """Invalidate the access tokens that the fake has issued."""
        pytest.skip("the class names no way for an access token to expire")

    def tokens(self, fake: FakeT) -> int:
        """Return the number of access tokens that the fake was asked for."""
        pytest.skip("the class names no count of access tokens")

    def route(self) -> Mapping[str, Any]:
        """Return the connector's own settings of the route, as in YAML."""
        return {}

    def event(self, number: int) -> Mapping[str, Any]:
        """Return the event of a lead, by the sender's names.

        Its text ends as one does that was cut inside an emoji: the bridge replaces the half with U+FFFD.
        """
        return {
            "SerialNumber": "59001dd73709417321c58b11693183a2",
            "Type": "Lead",
            "FirstName": f"Dévi{number}",
            "LastName": f"García-{number}-Núñez",
            "Email": f"lead{number}@example.com",
            "PhoneNumber": f"+34600000{number:03}",
            "CreateTime": "2026-11-24T10:00:00Z",
            "Content": f'asks for "a quote" & <b>more</b>, number {number} \U0001f642 \ufffd',
            "SessionID": 1000 + number,
            "URI": "www.example.com",
        }

    def expressions(self) -> Expressions:
        """Return the compiler of templates; by default one without the bridge's own filters."""
        return PlainExpressions()

    def record(self, number: int = 0, fields: Mapping[str, Any] | None = None, **changes: Any) -> Record:
        """Return the record of a lead: the same one for the same number."""
        event = self.event(number)
        about = {"id": f"{number:032x}", "received_at": "2026-11-24T10:00:01.000Z"}
        made = Record(
            id=f"{number:032x}",
            fields=self.fields(number) if fields is None else fields,
            event={**event, "event": about, "chatbot": "acme"},
            payload=orjson.dumps(event),
            route=self.route_settings(),
        )
        return replace(made, **changes)

    def route_settings(self) -> RouteSettings:
        """Return the route's settings."""
        return self.connector.route_settings.model_validate(dict(self.route()))

    def personal(self, number: int = 0) -> list[str]:
        """Return the lead's values that must not be in a log."""
        event = self.event(number)
        return [str(event[name]) for name in ("Email", "PhoneNumber", "LastName", "Content") if event.get(name)]

    def context(self, **changes: Any) -> Context:
        """Return the connector's context."""
        made = Context(
            destination="crm",
            expressions=self.expressions(),
            event_names=EVENT_NAMES,
            timeout=10.0,
            concurrency=10,
            now=time.time,
        )
        return replace(made, **changes)

    def make(self, fake: FakeT, vault: Vault | None = None, **changes: Any) -> Connector:
        """Return a connector to a fake, with its vault. `changes` apply to its context."""
        settings = self.connector.destination_settings.model_validate(dict(self.settings(fake)))
        made = self.connector(settings, self.context(**changes))
        made.open(vault or MemoryVault())
        return made

    @asynccontextmanager
    async def at_work(
        self, fake: FakeT, *, seconds: float = 10.0, pace: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    ) -> AsyncIterator[Run[FakeT]]:
        """Return a connector to a running fake, each call cut off after `seconds`; close it in the end."""
        connector = self.make(fake, timeout=seconds, pace=pace)
        try:
            yield Run(fake, connector, seconds)
        finally:
            await connector.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Run[FakeT]]:
        """Return a connector to a fake of its own."""
        async with self.fake() as fake, self.at_work(fake) as run:
            yield run

    def hit(self, fake: FakeT) -> int:
        """Return the number of requests that can fail."""
        return sum((self.on or "") in arrival.path for arrival in fake.ledger)

    def sorted_held(self, fake: FakeT) -> list[str]:
        """Return the fake's content in a fixed order."""
        return sorted(map(repr, self.held(fake)))

    async def clean(self, *numbers: int) -> tuple[list[str], int]:
        """Deliver without faults, and return the resulting content and the number of requests that can fail."""
        requests = 0
        async with self.running() as run:
            for number in numbers:
                before = self.hit(run.fake)
                outcome = await run.one(self.record(number))
                claim(isinstance(outcome, Delivered), f"a good lead must be delivered, it gave {outcome!r}")
                requests = self.hit(run.fake) - before
        held = self.sorted_held(run.fake)
        claim(len(held) >= len(numbers), f"the fake holds {len(held)} things after {len(numbers)} leads: see `held`")
        return held, requests

    def spoil(self, run: Run[FakeT], at: int, fault: Fault) -> None:
        """Let one request fail, after `at` successful ones."""
        run.fake.faults.next(Fault(), times=at, on=self.on)
        run.fake.faults.next(fault, on=self.on)

    def check_arrival(self, run: Run[FakeT], wanted: Sequence[str], outcome: object, after: str) -> None:
        """Fail unless a lead was delivered and the fake's content is as wanted."""
        __tracebackhide__ = True
        claim(isinstance(outcome, Delivered), f"after {after}, the lead must be Delivered in the end: {outcome!r}")
        held = self.sorted_held(run.fake)
        claim(held == wanted, f"after {after}, the fake must hold\n  {wanted}\nand holds\n  {held}")

    def secrets(self, run: Run[FakeT]) -> set[str]:
        """Return the settings' secrets, and the tokens that the fake received."""
        settings = run.connector.destination_settings.model_validate(dict(self.settings(run.fake)))
        shown = [str(arrival.headers.get("Authorization", "")).partition(" ")[2] for arrival in run.fake.ledger]
        return {each for each in (*secrets_in(settings), *shown) if len(each) >= _LEAST}


def secrets_in(model: BaseModel) -> Iterator[str]:
    """Return the secrets in settings, including those in maps, lists and nested settings."""
    yield from _secrets(dict(model))


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secrets_in(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)
