"""`leadbridge audit`: the entries of the audit log."""

from typing import Annotated, Any

import typer

from bridge.admin.presentation import audit_entry_schema
from bridge.cli import inputs, output
from bridge.cli.inputs import PAGE_ROWS, BeforeOption, ConfigOption, JsonOption, LimitOption, PathArgument
from bridge.operations.audit import Action, Subject
from bridge.operations.store_access import open_store
from bridge.store import audit_log
from bridge.store.audit_log import AuditRow

_COLUMNS = (
    "id",
    "at",
    "action",
    "subject",
    "subject_id",
    "count",
    "user",
    "role",
    "means",
    "session",
    "address",
    "facts",
)
_REFUSED = {Action.REFUSED_TOKEN, Action.REFUSED_ACTION}

app = output.application("leadbridge audit list", "leadbridge audit list --action erase", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """See the actions of people on the dashboard, through the API, and with commands.

    Entries hold names, ids and numbers, never a lead's data; the entry of a search says only by which kind of data it
    was. Entries are kept as long as the longest-kept event (`store.retention`). Commands that only read are not in it.
    """


@app.command(
    "list", epilog=output.examples("leadbridge audit list --action replay_all", "leadbridge audit list --json")
)
def list_(
    path: PathArgument = None,
    *,
    config: ConfigOption = None,
    action: Annotated[Action | None, typer.Option("--action", help="Only entries of this action.")] = None,
    before: BeforeOption = None,
    limit: LimitOption = PAGE_ROWS,
    json: JsonOption = False,
) -> None:
    """List the entries, newest first."""
    with open_store(inputs.read_config(inputs.chosen_path(path, config))).reading() as connection:
        rows = audit_log.list_entries(connection, action, before, limit)
    output.show_page(
        [_facts(each) if json else _texts(each) for each in rows],
        _COLUMNS,
        limit,
        as_json=json,
        spare=("session", "address", "role", "count"),
    )


def _facts(row: AuditRow) -> dict[str, Any]:
    """Return an entry for JSON, with the keys that every list has."""
    entry = audit_entry_schema(row).model_dump()
    state = "refused" if row.action in _REFUSED else "done"
    chatbot = row.subject_id if row.subject == Subject.CHATBOT else row.facts.get("chatbot")
    return {"id": entry.pop("id"), "state": state, "chatbot": chatbot, **entry}


def _texts(row: AuditRow) -> dict[str, Any]:
    return {**dict(audit_entry_schema(row)), "facts": ", ".join(f"{name} {value}" for name, value in row.facts.items())}
