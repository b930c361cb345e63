"""API-Sign as the contract asks for it, at the surface that sends it.

Source of the golden vector: docs.kraken.com/api/docs/guides/spot-rest-auth.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools

import pytest

from krakked._core import Signer
from krakked._rest.request import PrivateCall, SignedRequest
from krakked._rest.signing import Credentials

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
KEY = "SignatureTestKeySignatureTestKeySignatureTestKeySignatur"
NONCE = 1616492376594
ORDER = {
    "ordertype": "limit",
    "pair": "XBTUSD",
    "price": 37500,
    "type": "buy",
    "volume": "1.25",
}


@pytest.fixture
def signer() -> Credentials:
    return Credentials(KEY, Signer(SECRET), source="test")


def expected(signed: SignedRequest) -> str:
    """Sign with the standard library what would be sent."""
    digest = hashlib.sha256(str(NONCE).encode() + signed.body()).digest()
    mac = hmac.new(base64.b64decode(SECRET), signed.path.encode() + digest, "sha512")
    return base64.b64encode(mac.digest()).decode()


def test_golden_known_path_nonce_and_data_give_the_exact_signature(signer) -> None:
    signed = PrivateCall("AddOrder", ORDER).sign(signer, NONCE)
    assert signed.path == "/0/private/AddOrder"
    assert signed.body() == (
        b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    )
    assert signed.headers() == {
        "API-Key": KEY,
        "API-Sign": "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbR"
        "n6H8ndwLUQ==",
        "Content-Type": "application/x-www-form-urlencoded",
    }


@pytest.mark.parametrize("data", [None, {}, {"asset": None}])
def test_empty_payload_signs_the_nonce_alone(signer, data) -> None:
    signed = PrivateCall("Balance", data).sign(signer, NONCE)
    assert signed.body() == b"nonce=1616492376594"
    assert signed.headers()["API-Sign"] == (
        "1nH4vwR+8FHiYh1QT649xXkGd3JR3x0DWkgv3u9Ed/Qqv6KPtgQpEU4m+Emb/VgpEji3j1XNwI+HCbfXxmrTOg=="
    )


def test_empty_payload_as_json(signer) -> None:
    signed = PrivateCall("GetApiKeyInfo", json=True).sign(signer, NONCE)
    assert signed.body() == b'{"nonce":"1616492376594"}'
    assert signed.headers()["API-Sign"] == (
        "CdOMcl3cR5p2oNIy4JDCJS6qF+Pdsxp4wnJsuxgeOH031VC7l5wTihDfvkEZbg4mofmvM1Gn/y+eWFVYWn3GYA=="
    )


def test_one_time_password_is_part_of_what_is_signed(signer) -> None:
    signed = PrivateCall("Balance", otp="123456").sign(signer, NONCE)
    assert signed.body() == b"nonce=1616492376594&otp=123456"
    assert signed.headers()["API-Sign"] == (
        "jbyoyzbCFde1u0Rnp3ChMEofg5y4E4qpI247mcYicXoAi4c201b8GKM5LmshBvKP9WVm+UFHd710qkGBE0tRJw=="
    )


@pytest.mark.parametrize("json", [False, True], ids=["form", "json"])
def test_parameter_ordering_is_handled_consistently(signer, json) -> None:
    """The order given is the order sent, and what is sent is what is signed."""
    signatures = set()
    for order in itertools.permutations(ORDER.items()):
        call = PrivateCall("AddOrder", dict(order), json=json)
        signed = call.sign(signer, NONCE)
        positions = [signed.body().index(name.encode()) for name, _ in order[:1] + order[2:3]]
        assert positions == sorted(positions)
        assert signed.headers()["API-Sign"] == expected(signed)
        assert call.sign(signer, NONCE).headers() == signed.headers()
        signatures.add(signed.headers()["API-Sign"])
    assert len(signatures) == 120
