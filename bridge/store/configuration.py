"""The files of the configuration in use, kept so that commands can compare another one with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from bridge.store.encryption import keys_of
from bridge.store.schema import configuration

_NAME = configuration.c.name


@dataclass(frozen=True, slots=True, repr=False)
class ConfigurationInUse:
    """The files that `serve` has made its configuration of."""

    contents: Mapping[str, bytes]
    """By their absolute paths."""
    since: float
    """When the last of them was taken into use."""


def keep(connection: Connection, contents: Mapping[str, bytes], now: float) -> None:
    """Keep the files by name instead of those that were kept before; one that is the same keeps its time."""
    if connection.dialect.name == "postgresql":
        # One process after the other: else each would leave its files beside those of the other that starts with it,
        # and together they would be no configuration. (SQLite has one writer at a time anyway.)
        connection.execute(text("LOCK TABLE configuration IN SHARE ROW EXCLUSIVE MODE"))
    keys = keys_of(connection)
    rows = connection.execute(select(_NAME, configuration.c.content))
    before = {name: keys.open(bytes(content), "configuration.content", name) for name, content in rows}
    changed = sorted(name for name, content in contents.items() if before.get(name) != content)
    outdated = [{"outdated": name} for name in sorted(before) if name not in contents or name in changed]
    if outdated:
        connection.execute(delete(configuration).where(bindparam("outdated") == _NAME), outdated)
    if changed:
        new = [
            {"name": name, "content": keys.seal(contents[name], "configuration.content", name), "taken_at": now}
            for name in changed
        ]
        connection.execute(insert(configuration), new)


def configuration_in_use(connection: Connection) -> ConfigurationInUse | None:
    """Read the configuration that `serve` uses, or has used last; None if it has never run on this store."""
    rows = connection.execute(select(configuration).order_by(_NAME)).all()
    if not rows:
        return None
    keys = keys_of(connection)
    contents = {row.name: keys.open(bytes(row.content), "configuration.content", row.name) for row in rows}
    return ConfigurationInUse(contents, max(row.taken_at for row in rows))
