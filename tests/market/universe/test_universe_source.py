"""The universe in force: renewing it, what changed, and the last good copy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from krakked._config.settings import MarginEligible, RegionProfile, UniverseSettings
from krakked._errors import ConnectFailedError, MarketDataError, RequestError, ServiceError
from krakked._market.universe_source import COPY_NAME, PATIENCE_S, UniverseSource


class FixedClock:
    """A clock that stands still until it is told."""

    virtual = True

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)

    def elapsed_ns(self) -> int:
        return int(self.now_s * 1e9)


class FakeRest:
    """Answers AssetPairs and Ticker, or fails."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.volume = "10"
        self.fields: dict[str, Any] = {}
        self.failure: Exception | None = None
        self.ticker_failure: Exception | None = None
        self.calls: list[str] = []
        self.params: list[dict[str, str] | None] = []

    async def public_bytes(self, endpoint: str, params: dict[str, str] | None = None) -> bytes:
        self.calls.append(endpoint)
        self.params.append(params)
        failure = self.ticker_failure if endpoint == "Ticker" else self.failure
        if failure is not None:
            raise failure
        if endpoint == "Ticker":
            rows: dict[str, Any] = {
                n: {"v": ["0", self.volume], "p": ["0", "2"]} for n in self.names
            }
        else:
            rows = {
                name: {
                    "altname": name,
                    "wsname": f"{name[:-3]}/USD",
                    "base": name[:-3],
                    "quote": "ZUSD",
                    "status": "online",
                    "tick_size": "0.01",
                    "pair_decimals": 2,
                    "lot_decimals": 8,
                    "lot_multiplier": 1,
                }
                | self.fields
                for name in self.names
            }
        return json.dumps({"error": [], "result": rows}).encode()


def source(
    rest: FakeRest, state_dir: Path | None = None, clock: FixedClock | None = None, **settings: Any
) -> UniverseSource:
    return UniverseSource(
        rest, UniverseSettings(**settings), RegionProfile(), clock or FixedClock(), state_dir
    )


def down() -> ConnectFailedError:
    return ConnectFailedError("no way", endpoint="AssetPairs")


async def test_nothing_is_in_force_before_the_first_refresh() -> None:
    universe = source(FakeRest("AUSD"))
    assert universe.age_s is None
    with pytest.raises(MarketDataError, match="refresh"):
        _ = universe.current


async def test_a_country_is_asked_for_only_when_it_is_set() -> None:
    rest = FakeRest("XBTUSD")
    await source(rest).refresh()
    await source(rest, country_code="US:CA").refresh()
    assert rest.calls == ["AssetPairs", "Ticker"] * 2
    assert rest.params == [None, None, {"country_code": "US:CA"}, None]


async def test_refresh_tells_listed_delisted_and_changed() -> None:
    rest = FakeRest("AAAUSD", "BBBUSD")
    universe = source(rest)
    first = await universe.refresh()
    assert (first.listed, first.delisted, first.changed) == (("AAAUSD", "BBBUSD"), (), ())
    rest.volume = "77"
    assert not await universe.refresh()
    assert universe.current.metadata["AAAUSD"].volume_24h_usd == 154.0
    rest.names = ["BBBUSD", "CCCUSD"]
    rest.fields = {"tick_size": "0.1"}
    change = await universe.refresh()
    assert (change.listed, change.delisted, change.changed) == (
        ("CCCUSD",),
        ("AAAUSD",),
        ("BBBUSD",),
    )
    assert rest.calls == ["AssetPairs", "Ticker"] * 3


async def test_a_failed_refresh_leaves_the_universe_alone() -> None:
    rest = FakeRest("AAAUSD")
    universe = source(rest)
    await universe.refresh()
    before = universe.current
    rest.failure = down()
    with pytest.raises(ConnectFailedError):
        await universe.refresh()
    rest.failure, rest.names = None, []
    with pytest.raises(MarketDataError, match="empty"):
        await universe.refresh()
    assert universe.current is before


async def test_without_volumes_only_a_floor_fails() -> None:
    rest = FakeRest("AAAUSD")
    rest.ticker_failure = down()
    universe = source(rest)
    await universe.refresh()
    assert universe.current.metadata["AAAUSD"].volume_24h_usd is None
    with pytest.raises(ConnectFailedError):
        await source(rest, min_24h_volume_usd=1.0).refresh()


async def test_the_last_good_copy_serves_a_start_while_kraken_is_down(tmp_path: Path) -> None:
    clock = FixedClock()
    rest = FakeRest("AAAUSD", "BBBUSD")
    first = source(rest, tmp_path, clock)
    await first.start()
    assert not first.from_copy
    clock.now_s += 7200
    rest.failure = down()
    # The settings of today apply to the copy of yesterday.
    second = source(rest, tmp_path, clock, exclude_pairs=("AAAUSD",), min_24h_volume_usd=20.0)
    change = await second.start()
    assert change.listed == ("BBBUSD",)
    assert second.from_copy
    assert second.age_s == 7200
    rest.failure = None
    await second.refresh()
    assert not second.from_copy
    assert second.age_s == 0
    assert os.listdir(tmp_path) == [COPY_NAME]  # noqa: PTH208 - no temp is left


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"version": 9}', b"\xff"])
async def test_a_copy_that_is_none_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / COPY_NAME).write_bytes(content)
    rest = FakeRest("AAAUSD")
    rest.failure = ServiceError("down", code="EService:Unavailable", endpoint="AssetPairs")
    with pytest.raises(ServiceError):
        await source(rest, tmp_path).start()


async def test_an_empty_list_of_pairs_is_an_outage_too(tmp_path: Path) -> None:
    rest = FakeRest("AAAUSD", "BBBUSD")
    await source(rest, state_dir=tmp_path).refresh()
    rest.names = []
    later = source(rest, state_dir=tmp_path)
    assert (await later.start()).listed == ("AAAUSD", "BBBUSD")
    assert later.from_copy
    with pytest.raises(MarketDataError):
        await later.refresh()
    with pytest.raises(MarketDataError):
        await source(rest, state_dir=tmp_path / "elsewhere").start()


async def test_a_refusal_of_the_call_itself_is_no_outage(tmp_path: Path) -> None:
    rest = FakeRest("AAAUSD")
    await source(rest, tmp_path).start()
    rest.failure = RequestError("no", code="EGeneral:Unknown method", endpoint="AssetPairs")
    with pytest.raises(RequestError):
        await source(rest, tmp_path).start()


async def test_a_copy_that_cannot_be_saved_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    universe = source(FakeRest("AAAUSD"), tmp_path / "state")
    await universe.refresh()
    assert universe.current.pairs == ("AAAUSD",)
    assert "could not be saved" in caplog.text


async def test_the_instrument_snapshot_overrules_symbols() -> None:
    universe = source(FakeRest("XBTUSD"), margin_eligible=MarginEligible.INCLUDE)
    assert not universe.apply_instrument({"BTC/USD"})
    await universe.refresh()
    assert universe.current.metadata["XBTUSD"].ws_symbol == "BTC/USD"
    assert universe.apply_instrument({"XBT/USD"}).changed == ("XBTUSD",)
    assert universe.table.resolve("XBT/USD") == "XBTUSD"


@pytest.mark.parametrize("fields", [{"pair_decimals": None}, {"lot_decimals": "8"}])
async def test_a_list_of_which_nothing_can_be_read_leaves_the_universe_alone(
    fields: dict[str, Any],
) -> None:
    rest = FakeRest("AAAUSD", "BBBUSD")
    universe = source(rest)
    await universe.refresh()
    rest.fields = fields
    with pytest.raises(MarketDataError, match="none of them can be read"):
        await universe.refresh()
    assert universe.current.pairs == ("AAAUSD", "BBBUSD")


class SilentRest(FakeRest):
    """Takes the call and never answers."""

    async def public_bytes(self, endpoint: str, params: dict[str, str] | None = None) -> bytes:
        self.calls.append(endpoint)
        await trio.sleep_forever()
        raise AssertionError


async def test_a_copy_bounds_the_wait_for_an_exchange_that_never_answers(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await source(FakeRest("AAAUSD"), tmp_path).refresh()
    universe = source(SilentRest(), tmp_path)
    await universe.start()
    assert trio.current_time() == pytest.approx(PATIENCE_S)
    assert universe.from_copy
    assert universe.current.pairs == ("AAAUSD",)
    assert f"no answer within {PATIENCE_S:g} s" in caplog.text
    # without a copy the client's own time-outs are the bound
    with trio.move_on_after(10 * PATIENCE_S) as scope:
        await source(SilentRest(), tmp_path / "elsewhere").start()
    assert scope.cancelled_caught


async def test_a_fresh_copy_spares_the_question(tmp_path: Path) -> None:
    await source(FakeRest("AAAUSD"), tmp_path).refresh()
    clock, rest = FixedClock(), FakeRest("BBBUSD")
    universe = source(rest, tmp_path, clock)
    clock.now_s += 100
    assert not await universe.use_fresh_copy(99)
    assert await universe.use_fresh_copy(100)
    assert (universe.from_copy, universe.age_s, rest.calls) == (True, 100.0, [])
    clock.now_s -= 200  # a copy of the future is no fresh one
    assert not await universe.use_fresh_copy(1e9)
    assert not await source(rest, tmp_path / "elsewhere").use_fresh_copy(1e9)
