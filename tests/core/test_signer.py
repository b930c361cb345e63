import base64
import copy
import gc
import hashlib
import hmac
import inspect
import json
import pickle
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._core import NonceSequence, Signer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sign.json").read_text())["vectors"]
SECRET = VECTORS[0]["secret"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("kind", [str, str.encode, lambda text: bytearray(text.encode())])
def test_golden_vectors(vector, kind):
    signer = Signer(kind(vector["secret"]))
    for nonce in (vector["nonce"], int(vector["nonce"])):
        for body in (vector["body"], vector["body"].encode()):
            assert signer.sign(vector["path"], nonce, body) == vector["sign"]


@given(
    st.binary(min_size=16, max_size=256),
    st.text(max_size=40),
    st.integers(0, 2**64 - 1),
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8),
)
def test_equals_the_standard_library(key, path, nonce, params):
    signer = Signer(base64.b64encode(key))
    body = urllib.parse.urlencode([("nonce", nonce), *params])
    message = path.encode() + hashlib.sha256(f"{nonce}{body}".encode()).digest()
    expected = base64.b64encode(hmac.new(key, message, "sha512").digest()).decode()
    assert signer.sign_form(path, nonce, params) == (body.encode(), expected)
    assert signer.sign(path, nonce, body) == expected


def test_no_parameters():
    body, signature = Signer(SECRET).sign_form("/0/private/Balance", 1616492376594, [])
    assert (body, signature) == (b"nonce=1616492376594", VECTORS[2]["sign"])


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "c2hvcnQ=",
        "not base64, secret-canary!",
        SECRET + "\n",
        " " + SECRET,
        SECRET.rstrip("="),
        SECRET.replace("+", "-").replace("/", "_"),
        "secret-canary-\ud800",
        "secret-canary-é" * 6,
        b"secret-canary\x00" * 4,
        "QUJD" * 100,
    ],
)
def test_refusals_show_nothing_of_the_secret(secret):
    with pytest.raises(ValueError, match="the API secret") as refusal:
        Signer(secret)
    assert type(refusal.value) is ValueError
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None
    text = f"{refusal.value!r} {refusal.value.args!r}"
    assert "canary" not in text
    assert SECRET[:8] not in text


@pytest.mark.parametrize("secret", [None, 7, ["secret-canary"], memoryview(b"secret-canary")])
def test_wrong_types_show_nothing(secret):
    with pytest.raises(TypeError) as refusal:
        Signer(secret)
    assert "canary" not in str(refusal.value)


def test_it_cannot_be_copied_pickled_or_looked_into():
    signer = Signer(SECRET)
    assert repr(signer) == str(signer) == f"{signer}" == "Signer(***)"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(signer, protocol)
    for look in (copy.copy, copy.deepcopy, vars, lambda it: it.__getstate__(), lambda it: it.x):
        with pytest.raises((TypeError, AttributeError)):
            look(signer)
    with pytest.raises(AttributeError):
        signer.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        type("Sub", (Signer,), {})
    raw = base64.b64decode(SECRET)
    for _, value in inspect.getmembers(signer):
        assert SECRET not in repr(value)
    assert not [it for it in gc.get_referents(signer) if isinstance(it, (str, bytes)) and raw in it]
    assert signer != Signer(SECRET)


def test_a_text_that_is_no_unicode_is_an_error():
    with pytest.raises(UnicodeEncodeError):
        Signer(SECRET).sign_form("/0/private/Balance", 1, [("a", "\ud800")])
    with pytest.raises(TypeError, match="bytes"):
        Signer(SECRET).sign("/0/private/Balance", 1, 7)


@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**63 - 1), max_size=50))
def test_nonces_rise_whatever_the_clock_says(last, clock):
    sequence = NonceSequence(last)
    for now in clock:
        nonce = sequence.next(now)
        assert nonce == max(last + 1, now)
        last = nonce
    assert sequence.last == last


def test_nonces_end_in_an_error():
    sequence = NonceSequence(2**64 - 2)
    assert sequence.next(1) == 2**64 - 1
    with pytest.raises(OverflowError, match="no nonce is left"):
        sequence.next(1)
    with pytest.raises(OverflowError):
        NonceSequence(-1)
