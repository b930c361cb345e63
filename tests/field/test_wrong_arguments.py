"""Wrong arguments to everything that users call: each is answered, or refused in our own words.

Every parameter of every public method that takes data gets every wrong value in turn, the others
staying right. What may come is an answer or a `KrakkedError`, never another exception, and never a
wait without end.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import krakked
from krakked.sandbox import SandboxSettings, open_sandbox

WRONG: Final[dict[str, Any]] = {
    "none": None,
    "true": True,
    "minus one": -1,
    "a fraction": 1.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "a huge number": 10**30,
    "a decimal": Decimal("NaN"),
    "an empty text": "",
    "a text": "zzz",
    "a digit": "5",
    "odd characters": "\ud800\x00\n",
    "a long text": "x" * 5000,
    "bytes": b"XBTUSD",
    "an object": object(),
    "a list": [],
    "a list of objects": [object()],
    "a dict": {},
    "a dict of objects": {"a": object()},
    "a function": lambda: None,
    "a class": int,
    "a path": Path("/proc/none"),
    "a naive time": datetime(2026, 1, 1),
    "an early time": datetime(1, 1, 1, tzinfo=UTC),
}

OURS: Final = {"progress", "pause", "self", "on_frame", "derive", "pair_of"}
"""Functions and switches: what is no function fails where it is called, as anywhere in Python."""

STRUCTURED: Final = {
    *("bars", "entries", "buffers", "covered", "stretches", "partial", "unsettled_from"),
    *("settings", "region", "asset_pairs", "instrument", "ticker"),
}
"""Structs and columns of programs: Python's own error is as good as ours, if nothing is stored."""

KRAKEN: Final[dict[str, dict[str, Any]]] = {
    "backfill_ohlc": {"pair": "XBTUSD", "timeframe": "1d"},
    "backfill_pairs": {"pairs": ["XBTUSD"], "timeframe": "1d"},
    "changes": {},
    "gaps": {"pair": "XBTUSD", "timeframe": "1d"},
    "get_best_bid_ask": {"pair": "XBTUSD"},
    "get_latest_price": {"pair": "XBTUSD"},
    "get_live_ohlc": {"pair": "XBTUSD", "timeframe": "1m"},
    "get_ohlc": {"pair": "XBTUSD", "timeframe": "1d", "lookback": 3},
    "get_ohlc_since": {"pair": "XBTUSD", "timeframe": "1d", "since_ts": 1_790_000_000},
    "get_pair_metadata": {"pair": "XBTUSD"},
    "get_ticker": {"pair": "XBTUSD"},
    "plan_backfill": {"pair": "XBTUSD", "timeframe": "1d"},
    "repair": {"pair": "XBTUSD", "timeframe": "1d"},
    "resample": {"pair": "XBTUSD", "rule": "2d", "lookback": 3},
    "wait_live": {},
}
REST: Final[dict[str, dict[str, Any]]] = {
    "asset_pairs": {},
    "ohlc": {"pair": "XBTUSD", "interval_minutes": 60},
    "private": {"endpoint": "Balance"},
    "private_bytes": {"endpoint": "Balance"},
    "public": {"endpoint": "Time"},
    "public_bytes": {"endpoint": "Time"},
    "ticker": {},
    "trades": {"pair": "XBTUSD", "since_ns": 0},
    "trades_bytes": {"pair": "XBTUSD", "since_ns": 0},
    "balance": {},
    "balance_ex": {},
    "api_key_info": {},
    "websockets_token": {},
}
BAR: Final = krakked.OHLCBar(1_793_491_200, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)
STORE: Final[dict[str, dict[str, Any]]] = {
    "append_bars": {"pair": "XBTUSD", "timeframe": "1m", "bars": [BAR]},
    "append_provisional": {"timeframe": "1m", "entries": [("XBTUSD", BAR)]},
    "convert": {"destination": "other", "backend": "csv"},
    "coverage": {"pair": "XBTUSD", "timeframe": "1m"},
    "delete": {"pair": "XBTUSD", "timeframe": "1m"},
    "first_stored": {"pair": "XBTUSD", "timeframe": "1m"},
    "gaps": {"pair": "XBTUSD", "timeframe": "1m"},
    "get_bars": {"pair": "XBTUSD", "timeframe": "1m"},
    "get_columns": {"pair": "XBTUSD", "timeframe": "1m"},
    "import_columns": {
        "pair": "XBTUSD",
        "timeframe": "1m",
        "buffers": {},
        "source": krakked.Source.ARCHIVE,
    },
    "last_closed": {"pair": "XBTUSD", "timeframe": "1m"},
    "partitions": {"pair": "XBTUSD", "timeframe": "1m"},
    "mark_unavailable": {"pair": "XBTUSD", "timeframe": "1m", "stretches": [(0, 60)]},
    "snapshot": {"destination": "copy"},
    "unavailable": {"pair": "XBTUSD", "timeframe": "1m"},
}
FUNCTIONS: Final[dict[str, dict[str, Any]]] = {
    "build_universe": {"asset_pairs": {}},
    "load_config": {},
}


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[krakked.Kraken]:
    async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=40)) as exchange:
        config = exchange.config(directory)
        credentials = krakked.load_credentials(
            config,
            environ={"KRAKEN_API_KEY": exchange.key, "KRAKEN_API_SECRET": exchange.secret},
        )
        async with krakked.open_kraken(
            config,
            credentials,
            pairs=["XBTUSD"],
            network=exchange.network,
            clock=exchange.clock,
        ) as kraken:
            await kraken.wait_live(timeout_s=60)
            yield kraken


async def use(call: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Make the call to its end; of an iterator, take the first one."""
    answer = call(**arguments)
    if inspect.isawaitable(answer):
        answer = await answer
    if hasattr(answer, "__anext__"):
        with trio.move_on_after(5):
            await answer.__anext__()


def parameters(call: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name not in OURS]


async def failures(owner: object, calls: dict[str, dict[str, Any]]) -> list[str]:
    """Make every wrong call; give those that end in anything but an answer or our own errors."""
    found = []
    for name, right in calls.items():
        call = getattr(owner, name)
        for parameter in parameters(call):
            for what, value in WRONG.items():
                where = f"{name}({parameter}={what})"
                try:
                    with trio.move_on_after(7200) as scope:
                        await use(call, {**right, parameter: value})
                    if scope.cancelled_caught:
                        found.append(f"{where} does not end")
                except krakked.KrakkedError as error:
                    text = str(error)
                    longest = 6000 if what == "a long text" and "/" in text else 600  # a path
                    if not 15 <= len(text) <= longest or "\x00" in text:
                        found.append(f"{where} says {text[:700]!r}")
                except Exception as error:
                    kinds = (TypeError, AttributeError, ValueError, LookupError)
                    if parameter in STRUCTURED and isinstance(error, kinds):
                        continue
                    found.append(f"{where}: {type(error).__name__}: {error!s:.100}")
    return found


@pytest.mark.slow
async def test_the_client(autojump_clock: object, tmp_path: Path) -> None:
    async with opened(tmp_path) as kraken:
        assert not await failures(kraken, KRAKEN)


async def test_rest(autojump_clock: object, tmp_path: Path) -> None:
    async with opened(tmp_path) as kraken:
        assert not await failures(kraken.rest, REST)


async def test_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not await failures(krakked.OHLCStore(tmp_path / "ohlc"), STORE)


async def test_functions(own_config_dir: Path) -> None:
    assert not await failures(krakked, FUNCTIONS)


def test_no_method_that_takes_data_is_left_out() -> None:
    for kind, calls in (
        (krakked.Kraken, KRAKEN),
        (krakked.RestClient, REST),
        (krakked.OHLCStore, STORE),
    ):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            takes = set(parameters(method))
            if not name.startswith("_") and takes and name not in calls:
                assert name in {"_ask_public", "_fetch_public", "_fetch_private"}, name


@pytest.mark.parametrize("name", ["config", "credentials", "network", "clock", "store", "pairs"])
@pytest.mark.parametrize("value", [5, object(), int, 1.5], ids=["5", "object", "class", "float"])
async def test_what_opens_a_kraken_is_what_it_says_it_is(
    name: str, value: object, tmp_path: Path
) -> None:
    async with open_sandbox(memory=True) as exchange:
        given: dict[str, Any] = {"config": exchange.config(tmp_path), "network": exchange.network}
        given[name] = value
        with pytest.raises(krakked.ConfigError, match="wanted") as caught:
            async with krakked.open_kraken(**given, live=False):
                pass
        assert caught.value.key == name


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    with pytest.raises(krakked.ConfigError) as caught:
        krakked.RestClient(
            krakked.RestSettings(),
            network=krakked.SystemNetwork(),
            clock=krakked.SystemClock(),
            credentials="canary-of-a-key",  # type: ignore[arg-type]
        )
    assert "canary" not in str(caught.value)
