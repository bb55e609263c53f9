import hashlib
import hmac
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.errors import SenderError
from bridge.ingress.signature import (
    HEADER,
    Signature,
    SignatureError,
    SignatureFault,
    check_age,
    matching_keys,
    parse_header,
    sign,
)
from tests.building import flipped

KEY = b"whsec-of-the-workspace"
TIME = "1492774577"
MILLISECONDS = "1492774577123"
PAYLOAD = '{"FirstName":"大卫","PhoneNumber":"+86 138"}'.encode()
A = "a1" * 32
B = "B2" * 32
DIGEST_A, DIGEST_B = bytes.fromhex(A), bytes.fromhex(B)

WELL_FORMED = [
    ([f"t={TIME},v1={A}"], TIME, (DIGEST_A,)),
    ([f"t={MILLISECONDS},v1={A}"], MILLISECONDS, (DIGEST_A,)),
    ([f"v1={A},t={TIME}"], TIME, (DIGEST_A,)),
    ([f" t = {TIME} ,\tv1 = {A} "], TIME, (DIGEST_A,)),
    ([f"t={TIME},v1={A.upper()}"], TIME, (DIGEST_A,)),
    ([f"t={TIME},v1={A},v1={B}"], TIME, (DIGEST_A, DIGEST_B)),
    ([f"t={TIME},v0=x,v1={A},v2={B},scheme,=,,t1=5,T=6"], TIME, (DIGEST_A,)),
    ([f"t={TIME},v1={A},t={TIME}"], TIME, (DIGEST_A,)),
    ([f"t={TIME},v1=,v1=zz,v1={A[1:]},v1={A}0,v1={B}"], TIME, (DIGEST_B,)),
    ([f"t={TIME}", f"v1={A}", f"v1={B}"], TIME, (DIGEST_A, DIGEST_B)),
    ([f"t={TIME},v1={A}", "", f"t={TIME}"], TIME, (DIGEST_A,)),
    (["t=0000000000,v1=" + A], "0000000000", (DIGEST_A,)),
]

BROKEN = [
    ([], SignatureFault.MISSING),
    ([""], SignatureFault.MISSING),
    ([" ", "\t"], SignatureFault.MISSING),
    ([A], SignatureFault.MALFORMED),
    ([","], SignatureFault.MALFORMED),
    ([f"v1={A}"], SignatureFault.MALFORMED),
    ([f"T={TIME},V1={A}"], SignatureFault.MALFORMED),
    ([f"t={TIME}"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1="], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A[1:]}"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A}0"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A[:62]} {A[62:]}"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A[:63]}g"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A[:62]}\uff11\uff11"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A}\n"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A},t={int(TIME) + 1}"], SignatureFault.MALFORMED),
    ([f"t={TIME},v1={A},t="], SignatureFault.MALFORMED),
    ([f"t={TIME}", f"t={MILLISECONDS},v1={A}"], SignatureFault.MALFORMED),
    ([f"t={TIME};v1={A}"], SignatureFault.MALFORMED),
    *(
        ([f"t={time},v1={A}"], SignatureFault.MALFORMED)
        for time in (
            *("", "0", "149277457", "14927745770", "149277457712", "14927745771234", "1492774577.5", "1_49277457"),
            *("+492774577", "-492774577", " 1492774577x", "1492774 577", "0x12345678", "1e10000000", f"{TIME}\n"),
            *(
                "\uff11\uff14\uff19\uff12\uff17\uff17\uff14\uff15\uff17\uff17",
                "\u0661492774577",
                "1492774577=",
                "\ud800",
            ),
        )
    ),
]

# Pieces of the form itself, so that drawn headers come near to being well-formed.
PIECES = st.sampled_from(
    ["t", "v1", "=", ",", " ", "\t", TIME, MILLISECONDS, A, B, A[1:], "\uff11", "_", "\ud800", "\x00"]
)
NEARLY = st.lists(
    st.lists(PIECES, max_size=12).map("".join) | st.text(st.characters(exclude_categories=())), max_size=4
)


class TestParseHeader:
    def test_is_the_vendors_header(self) -> None:
        assert HEADER == "X-Webhook-Signature"

    @pytest.mark.parametrize(("values", "timestamp", "digests"), WELL_FORMED)
    def test_well_formed(self, values: list[str], timestamp: str, digests: tuple[bytes, ...]) -> None:
        assert parse_header(values) == Signature(timestamp, digests)

    @pytest.mark.parametrize(("values", "fault"), BROKEN)
    def test_broken(self, values: list[str], fault: SignatureFault) -> None:
        with pytest.raises(SignatureError) as caught:
            parse_header(values)
        assert caught.value.code is fault
        assert caught.value.status == 401
        assert isinstance(caught.value, SenderError)

    @pytest.mark.parametrize(("values", "fault"), BROKEN)
    def test_the_message_says_only_what_the_form_is(self, values: list[str], fault: SignatureFault) -> None:
        with pytest.raises(
            SignatureError, match=r"^(no X-Webhook-Signature header|X-Webhook-Signature: [ a-zA-Z0-9]+)$"
        ):
            parse_header(values)

    @given(NEARLY)
    @example([f"t={TIME},v1={A}" + ",v1=0" * 10_000])
    def test_any_text_is_read_or_refused(self, values: list[str]) -> None:
        try:
            signature = parse_header(values)
        except SignatureError:
            return
        assert re.fullmatch("[0-9]{10}|[0-9]{13}", signature.timestamp)
        assert signature.timestamp in "".join(values)
        assert signature.digests
        assert all(len(digest) == 32 for digest in signature.digests)

    @given(st.permutations([f"t={TIME}", f"v1={A}", "v2=x", " "]), st.integers(0, 4))
    def test_order_and_repetition_of_the_header_do_not_matter(self, parts: list[str], split: int) -> None:
        assert parse_header([",".join(parts[:split]), ",".join(parts[split:])]) == Signature(TIME, (DIGEST_A,))

    def test_a_repr_holds_no_digest(self) -> None:
        assert repr(parse_header([f"t={TIME},v1={A}"])) == f"Signature(timestamp='{TIME}')"


class TestCheckAge:
    def test_ten_digits_are_seconds_and_thirteen_milliseconds(self) -> None:
        assert Signature(TIME, (DIGEST_A,)).signed_at == 1492774577
        assert Signature(MILLISECONDS, (DIGEST_A,)).signed_at == 1492774577.123

    @pytest.mark.parametrize("timestamp", [TIME, TIME + "000"])
    @pytest.mark.parametrize("age", [0, 899.5, 900, -899.5, -900])
    def test_within_the_tolerance(self, timestamp: str, age: float) -> None:
        check_age(Signature(timestamp, (DIGEST_A,)), int(TIME) + age, 900)

    @pytest.mark.parametrize("timestamp", [TIME, TIME + "000"])
    @pytest.mark.parametrize(
        ("age", "message"), [(900.5, "too old"), (1e9, "too old"), (-900.5, "future"), (-1e9, "future")]
    )
    def test_outside_of_the_tolerance(self, timestamp: str, age: float, message: str) -> None:
        with pytest.raises(SignatureError, match=message) as caught:
            check_age(Signature(timestamp, (DIGEST_A,)), int(TIME) + age, 900)
        assert caught.value.code is SignatureFault.STALE
        assert caught.value.status == 401

    @pytest.mark.parametrize("now", [0, 1e12])
    def test_no_tolerance_takes_any_age(self, now: float) -> None:
        check_age(Signature(TIME, (DIGEST_A,)), now, 0)


class TestMatchingKey:
    @pytest.mark.parametrize("timestamp", [TIME, MILLISECONDS, "0000000017"])
    def test_is_hmac_sha256_of_time_as_written_stop_and_payload(self, timestamp: str) -> None:
        digest = hmac.new(KEY, timestamp.encode() + b"." + PAYLOAD, hashlib.sha256).digest()
        assert matching_keys(Signature(timestamp, (digest,)), PAYLOAD, [KEY]) == (KEY,)

    def test_a_digest_computed_elsewhere(self) -> None:
        # printf '1492774577.{"a":1}' | openssl dgst -sha256 -hmac key
        digest = "b47ff869cac67fa42e024f96a1ad404e1177fcf4e269d3a187ec6fac93f041ae"
        assert sign(b"key", TIME, b'{"a":1}') == f"t={TIME},v1={digest}"

    @given(st.binary(max_size=80), st.binary(max_size=200), st.from_regex("[0-9]{10}([0-9]{3})?", fullmatch=True))
    def test_what_is_signed_matches(self, key: bytes, payload: bytes, timestamp: str) -> None:
        assert matching_keys(parse_header([sign(key, timestamp, payload)]), payload, [key]) == (key,)

    def test_gives_the_key_that_matched(self) -> None:
        signature = parse_header([sign(KEY, TIME, PAYLOAD)])
        assert matching_keys(signature, PAYLOAD, iter([b"old", KEY, b"other"])) == (KEY,)
        assert matching_keys(signature, PAYLOAD, [b"old", b"other"]) == ()
        assert matching_keys(signature, PAYLOAD, []) == ()

    def test_any_of_several_digests_may_match(self) -> None:
        own = sign(KEY, TIME, PAYLOAD).removeprefix(f"t={TIME},")
        for header in (f"t={TIME},v1={A},{own}", f"t={TIME},{own},v1={A}", f"t={TIME},v1={own[3:].upper()}"):
            assert matching_keys(parse_header([header]), PAYLOAD, [KEY]) == (KEY,)

    def test_another_spelling_of_the_time_is_another_time(self) -> None:
        (digest,) = parse_header([sign(KEY, TIME, PAYLOAD)]).digests
        assert matching_keys(Signature(TIME + "000", (digest,)), PAYLOAD, [KEY]) == ()

    def test_one_flipped_bit_is_no_match(self) -> None:
        signature = parse_header([sign(KEY, TIME, PAYLOAD)])
        (digest,) = signature.digests
        assert all(matching_keys(Signature(TIME, (wrong,)), PAYLOAD, [KEY]) == () for wrong in flipped(digest))
        assert all(matching_keys(signature, wrong, [KEY]) == () for wrong in flipped(PAYLOAD))
        assert all(matching_keys(signature, PAYLOAD, [wrong]) == () for wrong in flipped(KEY))

    def test_compares_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return False

        monkeypatch.setattr("hmac.compare_digest", compare)
        signature = parse_header([sign(KEY, TIME, PAYLOAD)])
        assert matching_keys(signature, PAYLOAD, [KEY]) == ()
        assert compared == [(*signature.digests, *signature.digests)]
