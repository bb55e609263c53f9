"""The contract of a connector as tests: subclass `ConnectorContract`, name the connector and a fake, and run pytest.

Needs pytest and pytest-asyncio, which the bridge itself does not: import this module in tests only.
"""

from connectors.testing.answer_clauses import AnswerClauses
from connectors.testing.declaration_clauses import DeclarationClauses
from connectors.testing.secrecy_clauses import SecrecyClauses
from connectors.testing.trial import FakeT
from connectors.testing.write_clauses import WriteClauses


class ConnectorContract(AnswerClauses[FakeT], WriteClauses[FakeT], SecrecyClauses[FakeT], DeclarationClauses[FakeT]):
    """Puts a connector to the test: what it makes of answers, that no lead is lost or doubled, what it keeps to itself.

    Each test makes a fake and a connector of its own. What goes wrong is put into the fake (`Fake.faults`): every
    status, wrong and half and endless bodies, lost connections, time-outs before and after the write, at each of the
    requests that a delivery makes. A lead must be delivered in the end, and the fake must hold what it would hold had
    nothing gone wrong.

    A test that does not fit the API is overridden with a skip that says why; so the reason stands in the author's
    code. Tests of batches are skipped where `batches()` is false, tests of tokens where `expire` is not given, tests of
    refusals where `refused` is not given.

    Example:
        ```python
        class TestPipedrive(ConnectorContract[PipedriveFake]):
            connector = Pipedrive

            def fake(self) -> PipedriveFake:
                return PipedriveFake(token="a-token-of-the-fake")

            def settings(self, fake: PipedriveFake) -> dict[str, Any]:
                return {"api_token": "a-token-of-the-fake", "base_url": fake.url, "allow_private": True}

            def fields(self, number: int) -> dict[str, Any]:
                return {"name": "A person", "email": self.event(number)["Email"]}

            def refused(self) -> dict[str, Any]:
                return {"email": "nobody@example.com"}  # a person needs a name

            def held(self, fake: PipedriveFake) -> list[str]:
                return [person["email"] for person in fake.persons]
        ```
    """
