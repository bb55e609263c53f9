"""The last good text of each file of the configuration, for a start at which the file has an error.

A text holds no value of a variable or a secret file. It is encrypted all the same, since a person may write a secret
into it.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, delete, select, update

from bridge.store.encryption import keys_of
from bridge.store.schema import config_texts
from bridge.store.transaction import insert_missing

_COLUMN = "config_texts.text"


def read_config_texts(connection: Connection) -> dict[str, bytes]:
    """Return the texts, by the absolute path of their file."""
    keys = keys_of(connection)
    rows = connection.execute(select(config_texts.c.file, config_texts.c.text))
    return {file: keys.open(bytes(text), _COLUMN, file) for file, text in rows}


def write_config_texts(connection: Connection, texts: Mapping[str, bytes], kept: Collection[str]) -> None:
    """Write texts that differ from the stored ones; remove those of all other files, except the `kept` ones."""
    keys, stored = keys_of(connection), read_config_texts(connection)
    for file, text in texts.items():
        if stored.get(file) == text:
            continue
        sealed = keys.seal(text, _COLUMN, file)
        insert_missing(connection, config_texts, [{"file": file, "text": sealed}])
        connection.execute(update(config_texts).where(config_texts.c.file == file).values(text=sealed))
    for file in stored.keys() - texts.keys() - {*kept}:
        connection.execute(delete(config_texts).where(config_texts.c.file == file))
