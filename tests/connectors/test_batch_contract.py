"""The contract on batches: each clause finds a fault that is planted into a connector of `connectors new --batch`."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.cli import app
from connectors.testing.contract import ConnectorContract
from tests.connectors.test_contract import run

SILENT = 'return self._api.unclear(reply.status, "it does not name this record")'
REFUSED = "refused = self._api.refused(row)  # masks the API's message; 429 and 5xx are a Retry"
NO_ID = 'return self._api.unclear(row.status, "it names no id for this record")'
BY_KEY = "return [self._outcome(reply, rows.get(_key(record))) for record in records]"


def rejected(detail: str) -> str:
    return f'refused = Rejected(connectors.base.Reason.REFUSED, {detail} or "no", Blame.RECORD, row.status)'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a new connector, from which Python imports."""
    made = CliRunner().invoke(app, ["connectors", "new", "--batch", "planted_crm", str(tmp_path)])
    assert made.exit_code == 0, made.output
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("planted_crm", "test_planted_crm"):
        sys.modules.pop(name, None)


def contract_of(folder: Path) -> ConnectorContract[Any]:
    importlib.invalidate_caches()
    found = importlib.import_module("test_planted_crm").TestPlantedCrm()
    assert isinstance(found, ConnectorContract)
    return found


@pytest.mark.parametrize(
    ("name", "sound", "planted"),
    [
        ("test_a_record_that_fails_for_now_is_tried_again", REFUSED, rejected('self._api.masked(row.get("message"))')),
        ("test_a_record_without_a_row_is_tried_again", SILENT, "return Delivered(status=reply.status)"),
        (
            "test_a_record_without_a_row_is_tried_again",
            SILENT,
            'return Rejected(connectors.base.Reason.REFUSED, "not named", Blame.RECORD)',
        ),
        ("test_a_row_without_an_id_is_not_believed", NO_ID, "return Delivered(status=row.status)"),
        ("test_a_row_shows_no_secret", REFUSED, rejected('row.get("message")')),
        ("test_a_row_shows_nobody_else", REFUSED, rejected("self._api.masked(str(reply.document))")),
        (
            "test_a_record_of_a_batch_has_its_own_id",
            BY_KEY,
            "return [self._outcome(reply, row) for row in rows.values()]",
        ),
    ],
)
async def test_a_fault_in_a_batch_is_found(
    folder: Path, name: str, sound: str, planted: str, request: pytest.FixtureRequest
) -> None:
    file = folder / "planted_crm.py"
    text = file.read_text()
    assert text.count(sound) == 1
    file.write_text(text.replace(sound, planted).replace("import json\n", "import json\nimport connectors.base\n", 1))
    with pytest.raises(pytest.fail.Exception):
        await run(contract_of(folder), name, request)


@pytest.mark.parametrize(
    "name",
    [
        "test_a_record_that_fails_for_now_is_tried_again",
        "test_a_record_without_a_row_is_tried_again",
        "test_a_row_without_an_id_is_not_believed",
        "test_a_row_shows_no_secret",
        "test_a_row_shows_nobody_else",
        "test_a_record_of_a_batch_has_its_own_id",
    ],
)
async def test_a_sound_connector_passes(folder: Path, name: str, request: pytest.FixtureRequest) -> None:
    await run(contract_of(folder), name, request)
