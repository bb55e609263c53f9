"""The records of a sandbox CRM: writes, refusals and answers. Does not use the network."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson


@dataclass(slots=True)
class Stored:
    """A record in the sandbox."""

    id: str
    key: str | None
    """Value that identifies it; None for a record without a key."""
    fields: dict[str, Any]
    writes: int = 0
    """Number of writes: 1, unless an upsert has updated it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the sandbox."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A refused request, with the reply that states the reason."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(status, {"ok": False, "error": message})


class Contacts:
    """Records that are written by an upsert.

    Args:
        key: Field that identifies a record, such as `email`; compared without case. None: each record is a new one.
        required: Fields that must be present and not empty.
        max_batch: Maximum number of records in one call.
        shuffled: True if the results of a batch have another order than its records.
    """

    def __init__(
        self, *, key: str | None, required: Sequence[str] = (), max_batch: int = 100, shuffled: bool = False
    ) -> None:
        self.stored: dict[str, Stored] = {}
        self._key = key
        self._required = tuple(required)
        self._max_batch = max_batch
        self._random = random.Random(0) if shuffled else None  # noqa: S311 - nothing secret hangs on it
        self._by_key: dict[str, Stored] = {}

    def read(self, content_type: str, body: bytes) -> list[dict[str, Any]] | dict[str, Any]:
        """Return the records in a body: a JSON object, a JSON array of objects, or a form. Raises `RefusedError`."""
        if content_type == "application/x-www-form-urlencoded":
            return _form(body)
        if content_type != "application/json":
            raise RefusedError(415, f"cannot read {content_type or 'a body without Content-Type'}")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RefusedError(400, f"invalid JSON: {error.msg}") from None
        if isinstance(document, list) and all(isinstance(each, dict) for each in document):
            return document
        if isinstance(document, dict):
            return document
        raise RefusedError(400, "must be an object, or an array of objects")

    def write(self, document: list[dict[str, Any]] | dict[str, Any]) -> Reply:
        """Write one record, or a batch. Raises `RefusedError` if nothing is written."""
        if isinstance(document, list):
            return self._write_batch(document)
        problem = self._problem(document)
        if problem:
            raise RefusedError(422, problem)
        result = self._upsert(document)
        return Reply(201 if result["created"] else 200, result)

    def update(self, key: str, fields: dict[str, Any], *, create: bool) -> Reply:
        """Write the record whose key is in the address. Raises `RefusedError`."""
        if self._key is None or (not create and key.lower() not in self._by_key):
            raise RefusedError(404, "no such record")
        return self.write({self._key: key, **fields})

    def find(self, key: str) -> Reply:
        """Return a record. Raises `RefusedError`."""
        stored = self._by_key.get(key.lower())
        if stored is None:
            raise RefusedError(404, "no such record")
        return Reply(200, {"id": stored.id, **stored.fields})

    def _write_batch(self, documents: list[dict[str, Any]]) -> Reply:
        keys = [key for key in map(self._key_of, documents) if key is not None]
        if not 1 <= len(documents) <= self._max_batch:
            raise RefusedError(400, f"1 to {self._max_batch} records are allowed, got {len(documents)}")
        if len(set(keys)) < len(keys):
            raise RefusedError(400, "the same key stands in the batch twice")
        results = [self._write_one_of_batch(document) for document in documents]
        if self._random:
            self._random.shuffle(results)
        return Reply(200, {"ok": all(result["ok"] for result in results), "results": results})

    def _write_one_of_batch(self, fields: dict[str, Any]) -> dict[str, Any]:
        problem = self._problem(fields)
        return {"ok": False, "key": self._key_of(fields), "error": problem} if problem else self._upsert(fields)

    def _problem(self, fields: Mapping[str, Any]) -> str | None:
        missing = [name for name in self._required if fields.get(name) in (None, "")]
        return f"required: {', '.join(missing)}" if missing else None

    def _key_of(self, fields: Mapping[str, Any]) -> str | None:
        value = fields.get(self._key) if self._key else None
        return str(value).lower() if value not in (None, "") else None

    def _upsert(self, fields: dict[str, Any]) -> dict[str, Any]:
        key = self._key_of(fields)
        stored = self._by_key.get(key) if key is not None else None
        created = stored is None
        if stored is None:
            stored = Stored(id=str(len(self.stored) + 1), key=key, fields={})
            self.stored[stored.id] = stored
            if key is not None:
                self._by_key[key] = stored
        stored.fields.update(fields)
        stored.writes += 1
        return {"ok": True, "id": stored.id, "key": key, "created": created}


def _form(body: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True))
    except ValueError:
        raise RefusedError(400, "invalid form") from None
