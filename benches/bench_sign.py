"""API-Sign of an AddOrder-sized request, body encoding included, beside three other clients.

    python benches/bench_sign.py [--seconds 2] [--least 5]

Every contender gets the parameters as its own client would hold them and hands out what goes on
the wire: the encoded form and its signature. Before timing, all signatures over one nonce are held
against each other. Rounds alternate between the contenders and the best round of each counts,
so that a busy machine disturbs all alike. Needs the dependency group `bench`.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Callable
from urllib.parse import urlencode

import ccxt
import krakenex
from kraken.spot import SpotClient

from krakked._core import Signer
from krakked._rest.request import PrivateCall
from krakked._rest.signing import Credentials

PATH = "/0/private/AddOrder"
KEY = "BenchKeyBenchKeyBenchKeyBenchKeyBenchKeyBenchKeyBenchKey"
SECRET = base64.b64encode(bytes(range(64))).decode()
NONCE = 1_790_000_000_000_000_000
ORDER = {
    "ordertype": "limit",
    "type": "buy",
    "pair": "XBTUSD",
    "price": "37500.1",
    "volume": "1.25000000",
    "oflags": "post",
    "timeinforce": "GTC",
    "userref": "481516",
}
PAIRS = list(ORDER.items())

signer = Signer(SECRET)
call = PrivateCall("AddOrder", ORDER)
credentials = Credentials(KEY, signer, source="bench")
krakenex_api = krakenex.API(KEY, SECRET)
ccxt_api = ccxt.kraken({"apiKey": KEY, "secret": SECRET})
sdk_api = SpotClient(key=KEY, secret=SECRET)


def krakked_signer() -> str:
    return signer.sign_form(PATH, NONCE, PAIRS)[1]


def krakked_request() -> str:
    return call.sign(credentials, NONCE).headers()["API-Sign"]


def krakenex_sign() -> str:
    return krakenex_api._sign({"nonce": NONCE, **ORDER}, PATH)


def sdk_sign() -> str:
    # the lines of SpotClient._prepare_request that concern a signed form
    params = {"nonce": NONCE, **ORDER}
    body = urlencode(params, doseq=True)
    return sdk_api._get_kraken_signature(url_path=PATH, data=body, nonce=params["nonce"])


def ccxt_sign() -> str:
    return ccxt_api.sign("AddOrder", ["private"], "POST", ORDER)["headers"]["API-Sign"]


OURS: dict[str, Callable[[], str]] = {
    "krakked Signer.sign_form": krakked_signer,
    "krakked whole signed request": krakked_request,
}
PEERS: dict[str, Callable[[], str]] = {
    "krakenex": krakenex_sign,
    "python-kraken-sdk": sdk_sign,
    f"ccxt {ccxt.__version__}": ccxt_sign,
}


def check_that_all_sign_alike() -> None:
    expected = sdk_sign()
    assert krakenex_sign() == expected
    assert krakked_signer() == expected
    assert krakked_request() == expected
    ccxt_api.incrementing_nonce = lambda: NONCE
    assert ccxt_sign() == expected
    del ccxt_api.incrementing_nonce


def time_round(function: Callable[[], str], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - begin) / count


def measure(seconds: float) -> dict[str, float]:
    contenders = OURS | PEERS
    counts = {name: max(50, int(0.02 / time_round(f, 200))) for name, f in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, function in contenders.items():
            best[name] = min(best[name], time_round(function, counts[name]))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for all rounds")
    parser.add_argument("--least", type=float, default=5.0, help="ratio below which this fails")
    arguments = parser.parse_args()
    check_that_all_sign_alike()
    best = measure(arguments.seconds)
    fastest = min(PEERS, key=lambda name: best[name])
    body, _ = signer.sign_form(PATH, NONCE, PAIRS)
    print(f"API-Sign of an AddOrder ({len(body)} bytes of form), body encoding included")
    for name, seconds in sorted(best.items(), key=lambda item: item[1]):
        print(f"  {name:<32} {seconds * 1e6:7.2f} us   {best[fastest] / seconds:5.1f}x {fastest}")
    ratio = best[fastest] / max(best[name] for name in OURS)
    print(f"krakked: {ratio:.1f} times as fast as the fastest peer (at least {arguments.least:g})")
    return 0 if ratio >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())
