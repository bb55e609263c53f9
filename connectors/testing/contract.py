"""The contract of a connector as tests: subclass `ConnectorContract`, name the connector and a fake, and run pytest.

Needs pytest and pytest-asyncio, which the bridge itself does not: import this module in tests only.
"""

from connectors.testing.answer_clauses import AnswerClauses
from connectors.testing.batch_clauses import BatchClauses
from connectors.testing.declaration_clauses import DeclarationClauses
from connectors.testing.secrecy_clauses import SecrecyClauses
from connectors.testing.trial import FakeT
from connectors.testing.write_clauses import WriteClauses


class ConnectorContract(
    AnswerClauses[FakeT],
    WriteClauses[FakeT],
    BatchClauses[FakeT],
    SecrecyClauses[FakeT],
    DeclarationClauses[FakeT],
):
    """Tests of a connector: its outcomes for answers, no lost or doubled leads, and no disclosure of secrets.

    Each test creates its own fake and connector. Faults are injected into the fake (`Fake.faults`): every status,
    wrong, half and endless bodies, lost connections, time-outs before and after the write, at each request of a
    delivery. In the end a lead must be delivered, and the fake must hold the same records as without the fault.

    Override a test that does not fit the API with a skip that states the reason, so that the reason stands in your
    code. Tests of batches are skipped if `batches()` is false, tests of tokens without `expire`, tests of refusals
    without `refused`.

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
