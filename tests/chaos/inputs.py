"""Inputs for the webhook endpoint that nobody would send: a seed decides them."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bridge.ingress.signature import HEADER, sign
from tests.building import KEY, lead

MAX_BODY = 64 * 1024
"""What the endpoint under test takes."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is sent on a connection."""

    wire: bytes
    authentic: bool = False
    """Whether it carries a signature that holds; then it must be taken, whatever it is."""
    whole: bool = True
    """Whether it is one request in good HTTP, which must be answered."""
    hangs_up: bool = False
    """Whether the client closes the connection after it."""


def inputs(chance: random.Random, count: int) -> Iterator[Input]:
    """Give so many inputs."""
    kinds: tuple[Callable[[random.Random], Input], ...] = (_signed, _forged, _chunked, _addressed, _no_http, _cut)
    weights = (50, 20, 8, 7, 10, 5)
    for _ in range(count):
        (kind,) = chance.choices(kinds, weights)
        yield kind(chance)


def request(body: bytes, signature: bytes | None, *, path: bytes = b"/webhook", more: bytes = b"") -> bytes:
    """Write a POST in good HTTP. `more` are lines of the header."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % path
    if signature is not None:
        head += b"%b: %b\r\n" % (HEADER.encode(), signature)
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, more, len(body), body)


def _signed(chance: random.Random) -> Input:
    body = _body(chance)
    return Input(request(body, _signature(body)), authentic=True)


def _forged(chance: random.Random) -> Input:
    """A good or a strange body under a header that was never made with the key."""
    body = _body(chance)
    good = _signature(body)
    header = chance.choice(
        (
            None,
            b"",
            b"t=,v1=",
            b"t=1,v1=" + bytes(chance.choices(b"0123456789abcdefXYZ", k=64)),
            _signature(body + b" "),
            sign(KEY, "1", body).encode(),
            sign(b"another key of good length", str(int(time.time())), body).encode(),
            good.replace(b"v1=", b"v2="),
            good.replace(b"t=", b"t=0"),
            good[: chance.randrange(len(good))],
            b"," * chance.randrange(4_000),
            b"v1=%b," % (b"a" * 64) * chance.randrange(100),
            bytes(chance.choices(range(0x20, 0x100), k=chance.randrange(300))),
        )
    )
    # Bytes beyond ASCII are no good HTTP to each parser, and may be refused as such.
    return Input(request(body, header), whole=header is None or header.isascii())


def _chunked(chance: random.Random) -> Input:
    """An authentic body in chunks, some of which are wrong."""
    body = _body(chance)
    pieces, at = [], 0
    while at < len(body):
        size = chance.randrange(1, 4_000)
        piece = body[at : at + size]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    good = chance.random() < 0.6
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\n%b: %b\r\n" % (HEADER.encode(), _signature(body))
    encoded = b"".join([*pieces, b"0\r\n\r\n"])
    if not good:
        encoded = _mutated(chance, encoded)
    wire = head + b"Transfer-Encoding: chunked\r\n\r\n" + encoded
    return Input(wire, authentic=good, whole=good, hangs_up=not good)


def _addressed(chance: random.Random) -> Input:
    """Another path, another method, or headers that say strange things of the body."""
    body = _body(chance)
    which = chance.randrange(4)
    if which == 0:
        path = bytes(chance.choices(b"/webhook.%2f?#acme~;=&", k=chance.randrange(1, 40)))
        return Input(request(body, None, path=b"/x" + path))
    if which == 1:
        method = chance.choice((b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"BREW"))
        return Input(b"%b /webhook HTTP/1.1\r\nHost: x\r\n\r\n" % method)
    if which == 2:
        encoding = chance.choice((b"gzip", b"br", b"deflate", b"identity, gzip", b"\xe9"))
        more = b"Content-Encoding: %b\r\n" % encoding
        return Input(request(body, _signature(body), more=more), whole=encoding.isascii())
    much = bytes(MAX_BODY + 1)
    return Input(request(much, _signature(much)), whole=False)


def _no_http(chance: random.Random) -> Input:
    """A request with a few bytes of its head changed, or no request at all; nothing of it may be taken."""
    body = _body(chance)
    if chance.random() < 0.2:
        return Input(chance.randbytes(chance.randrange(1, 600)) + b"\r\n\r\n", whole=False, hangs_up=True)
    head, end, _ = request(body, _signature(body + b" ")).partition(b"\r\n\r\n")
    return Input(_mutated(chance, head) + end + body, whole=False, hangs_up=chance.random() < 0.5)


def _cut(chance: random.Random) -> Input:
    """A request that ends before its end."""
    body = _body(chance)
    wire = request(body, _signature(body))
    return Input(wire[: chance.randrange(1, len(wire))], whole=False, hangs_up=True)


def _signature(body: bytes) -> bytes:
    return sign(KEY, str(int(time.time())), body).encode()


def _body(chance: random.Random) -> bytes:
    """A lead with strange values, several of them, any JSON, or something that is nearly one of these."""
    which = chance.randrange(10)
    if which < 5:
        document: Any = _lead(chance)
    elif which < 7:
        document = [_lead(chance) if chance.random() < 0.8 else _value(chance) for _ in range(chance.randrange(5))]
    else:
        document = _value(chance)
    if which == 9:
        depth = chance.randrange(1, 3_000)
        return chance.choice((b"[", b'{"a":', b"[[],")) * depth
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    body = body[:MAX_BODY]
    return _mutated(chance, body) if chance.random() < 0.4 else body


def _lead(chance: random.Random) -> dict[str, Any]:
    made = lead(SessionID=chance.randrange(500), Email=f"lead{chance.randrange(500)}@example.com")
    for name in chance.sample(sorted(made), chance.randrange(4)):
        if chance.random() < 0.2:
            del made[name]
        elif name != "SerialNumber" or chance.random() < 0.3:
            made[name] = _value(chance)
    return made


def _value(chance: random.Random, depth: int = 3) -> Any:
    which = chance.randrange(12 if depth else 10)
    if which == 10:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if which == 11:
        return {str(_value(chance, 0)): _value(chance, depth - 1) for _ in range(chance.randrange(4))}
    return (
        None,
        chance.random() < 0.5,
        chance.randrange(-(10**30), 10**30),
        chance.choice((float("nan"), float("inf"), -0.0, 1e308, 5e-324, 0.1)),
        "",
        "Lead",
        "\ud800\udfff\x00\x1b\u2028\ufeff"[chance.randrange(7) :],
        "x" * int(chance.expovariate(1 / 400)),
        "".join(chr(chance.randrange(0x20, 0x3000)) for _ in range(chance.randrange(30))),
        chance.choice(("2026-11-24T10:00:00Z", "0", "1e5", "{{ 7*7 }}", "'; DROP TABLE events; --", "\\u0000")),
    )[which]


def _mutated(chance: random.Random, data: bytes) -> bytes:
    """Change a few places of it."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed) + 1)
        which = chance.randrange(4)
        if which == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif which == 1:
            changed[at:at] = chance.randbytes(chance.randrange(1, 6))
        elif which == 2:
            del changed[at : at + chance.randrange(1, 9)]
        else:
            other = chance.randrange(len(changed) + 1)
            changed[at:at] = changed[other : other + chance.randrange(1, 40)]
    return bytes(changed)
