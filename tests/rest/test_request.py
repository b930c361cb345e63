"""From parameters to bytes: numbers as Kraken reads them, and what cannot be sent."""

from __future__ import annotations

import enum
import json
from decimal import Decimal

import pytest

from krakked._errors import RequestError
from krakked._rest.request import PrivateCall, encode_params, encode_value, public_target
from krakked._rest.signing import Credentials

NUMBERS = {
    1e-7: "0.0000001",
    1.5e-8: "0.000000015",
    -2e-12: "-0.000000000002",
    1e16: "10000000000000000",
    1e22: "10000000000000000000000",
    0.1: "0.1",
    1.0: "1.0",
    0.0: "0.0",
    123456789.12345678: "123456789.12345678",
}


class Odd(float):
    """As the numbers of numpy, whose repr is no number."""

    def __repr__(self) -> str:
        return "np.float64(1e-07)"


class Choice(enum.IntEnum):
    TWO = 2


@pytest.fixture
def sent(credentials: Credentials):
    def body(data: dict[str, object], *, as_json: bool) -> bytes:
        signed = PrivateCall("AddOrder", data, json=as_json).sign(credentials, 5)
        assert signed is not None
        return signed.body()

    return body


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_plain_digits(sent, number) -> None:
    plain = NUMBERS[number]
    assert encode_value(number) == plain
    assert sent({"v": number}, as_json=False) == f"nonce=5&v={plain}".encode()
    nested = sent({"v": number, "deep": [{"w": (number, [number])}]}, as_json=True)
    assert nested == (f'{{"nonce":"5","v":{plain},"deep":[{{"w":[{plain},[{plain}]]}}]}}'.encode())
    assert json.loads(nested)["v"] == number


def test_other_numbers(sent) -> None:
    assert encode_value(Odd(1e-7)) == "0.0000001"
    assert sent({"v": Odd(1e-7)}, as_json=True) == b'{"nonce":"5","v":0.0000001}'
    assert encode_value(Decimal("1E+3")) == "1000"
    assert encode_value(Decimal("1E-8")) == "0.00000001"
    assert sent({"v": Decimal("1E-8")}, as_json=True) == b'{"nonce":"5","v":"0.00000001"}'
    assert encode_value(Choice.TWO) == "2"
    assert (encode_value(True), encode_value(False)) == ("true", "false")
    assert encode_value(0) == "0"
    assert encode_value(-(10**20)) == "-100000000000000000000"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("Infinity")]
)
def test_what_is_not_finite_is_refused(number, as_json) -> None:
    for data in ({"v": number}, {"v": [{"w": number}]} if as_json else {"v": number}):
        with pytest.raises(RequestError, match="AddOrder: a parameter"):
            PrivateCall("AddOrder", data, json=as_json)


@pytest.mark.parametrize(
    "nested", [{"a": 1}, [1, 2], [{"a": "b"}], ({"a": 1},), [["a"]], {"x"}, frozenset("x")]
)
def test_nested_data_in_a_form_gets_a_hint(nested) -> None:
    with pytest.raises(RequestError, match=r"json=True"):
        PrivateCall("AddOrderBatch", {"pair": "XBTUSD", "orders": nested})
    with pytest.raises(RequestError) as caught:
        PrivateCall("AddOrder", {"x": object()})
    assert "json" not in str(caught.value)


def test_nested_data_goes_as_json(sent) -> None:
    orders = {"pair": "XBT/USD", "orders": [{"price": 1.5, "x": None}, {"ok": True}]}
    assert json.loads(sent(orders, as_json=True)) == {"nonce": "5", **orders}
    with pytest.raises(RequestError) as caught:
        PrivateCall("AddOrderBatch", {"orders": {"x"}}, json=True)
    assert "json=True" not in str(caught.value)


def test_lists_nothing_and_text() -> None:
    assert encode_value(["a", "b"]) == "a,b"
    assert encode_value(("a",)) == "a"
    assert encode_value([]) == ""
    assert encode_params(None) == []
    assert encode_params({"a": None, "b": ""}) == [("b", "")]
    assert public_target("Time", None) == "/0/public/Time"
    assert public_target("Earn/Strategies", {"a": "x&y"}) == "/0/public/Earn/Strategies?a=x%26y"


def test_an_empty_call_in_json_is_the_nonce_alone(credentials) -> None:
    signed = PrivateCall("Balance", json=True).sign(credentials, 5)
    assert signed is not None
    assert signed.body() == b'{"nonce":"5"}'
    assert signed.headers()["Content-Type"] == "application/json"
    with_code = PrivateCall("Balance", otp='1"2', json=True).sign(credentials, 5)
    assert with_code is not None
    assert with_code.body() == b'{"nonce":"5","otp":"1\\"2"}'


def test_a_signed_request_is_dropped(credentials) -> None:
    signed = PrivateCall("Balance").sign(credentials, 5)
    assert signed is not None
    signed.drop()
    assert (signed.body(), signed.headers()) == (b"", {})
