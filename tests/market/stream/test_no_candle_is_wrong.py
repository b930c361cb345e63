"""No live candle is ever wrong: what was seen in the field, each as a case of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio

from krakked._config.settings import RestSettings, UniverseSettings, WebSocketSettings
from krakked._errors import DataStaleError, StaleReason
from krakked._market.bars import OHLCBar
from krakked._market.changes import CandleClosed
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.stream.closed_candles import ClosedCandles
from krakked._market.stream.feed import Feed
from krakked._market.universe import build_universe
from krakked._network.clock import SystemClock
from krakked._rest.client import RestClient
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


if TYPE_CHECKING:
    from pathlib import Path

    from tests.market.stream.conftest import OpenStage, Stage
    from trio.testing import MockClock

TWENTY = tuple(
    f"{base}USD"
    for base in (
        *("XBT", "ETH", "SOL", "XRP", "XDG", "ADA", "LTC", "LINK", "DOT", "AVAX"),
        *("TRX", "SUI", "XLM", "BCH", "UNI", "AAVE", "PEPE", "NEAR", "HBAR", "ATOM"),
    )
)
START_S = 1_794_916_800 + 45
"""A quarter of a minute before the end of one."""


def busy(pairs: tuple[str, ...], rate: float = 0.7, **more: object) -> SandboxSettings:
    rates = dict.fromkeys(pairs, rate)
    return SandboxSettings(pair_count=200, trade_rates=rates, quote_activity=0.02, **more)


def wrong_candles(s: Stage, timeframe: str = "1m", minutes: int = 1) -> tuple[int, list[object]]:
    """Compare every candle given out with the truth; give how many, and those that differ."""
    wrong: list[object] = []
    given = [c for c in s.closed if c.timeframe == timeframe]
    for c in given:
        (true,) = s.exchange.truth.candles(c.pair, minutes, c.bar.time, c.bar.time + 1)
        values = (*map(float, (true.open, true.high, true.low, true.close, true.volume)),)
        bar = c.bar
        if (
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
        ) != values or bar.count != true.count:
            wrong.append((c.pair, bar, true))
    return len(given), wrong


def missing(s: Stage, pair: str, length_s: int = 60) -> list[int]:
    """Give the candles between the first and the last one given out that never came."""
    times = sorted({c.bar.time for c in s.closed if c.pair == pair and c.timeframe == "1m"})
    truth = s.exchange.truth.candles(pair, length_s // 60, times[0], times[-1] + length_s)
    return [c.time for c in truth if c.time not in times]


# --- a lag of our own side or of the link, across the end of a candle ---


async def test_a_program_that_blocks_from_second_54_to_second_5(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(
        pairs=TWENTY[:8], timeframes=("1m",), settings=busy(TWENTY, start_s=START_S)
    ) as s:
        for _ in range(3):
            now_s = s.exchange.truth.now_ns() / 1e9
            await trio.sleep((54 - now_s) % 60)
            autojump_clock.jump(11)
            await trio.sleep(20)
        given, wrong = wrong_candles(s)
        assert given >= 24
        assert wrong == []
        assert s.feed.statistics().reconnects == 0


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(6.0, marks=pytest.mark.slow), 9.0, pytest.param(11.0, marks=pytest.mark.slow)],
)
async def test_a_link_that_stalls_from_second_56_and_loses_nothing(
    stage: OpenStage, autojump_clock: MockClock, seconds: float
) -> None:
    async with stage(
        pairs=TWENTY[:8], timeframes=("1m",), settings=busy(TWENTY, start_s=START_S)
    ) as s:
        for _ in range(5):
            now_s = s.exchange.truth.now_ns() / 1e9
            await trio.sleep((56 - now_s) % 60)
            s.exchange.faults.stall()
            await trio.sleep(seconds)
            s.exchange.faults.resume()
            await trio.sleep(20)
        given, wrong = wrong_candles(s)
        assert given >= 30
        assert wrong == []


class Elsewhere:
    """An exchange on sockets in a thread of its own: it goes on while this program is blocked."""

    def __init__(self, settings: SandboxSettings, seed: int = 1) -> None:
        self._settings, self._seed = settings, seed
        self._open = threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._serve), daemon=True)

    async def _serve(self) -> None:
        async with open_sandbox(seed=self._seed, settings=self._settings) as exchange:
            self.exchange = exchange
            self._token = trio.lowlevel.current_trio_token()
            self._done = trio.Event()
            self._open.set()
            await self._done.wait()

    def __enter__(self) -> Exchange:
        self._thread.start()
        assert self._open.wait(30)
        return self.exchange

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._done.set)
        self._thread.join(30)


class ShiftedClock(SystemClock):
    """The machine's clock, as if the market's time were the wall's."""

    def __init__(self, start_s: int) -> None:
        self._ahead_ns = start_s * 10**9 - time.time_ns()

    def wall_ns(self) -> int:
        return time.time_ns() + self._ahead_ns


async def blocked_on_sockets(seed: int) -> tuple[int, list[object]]:
    """Block from second 54 to second 5 beside an exchange that goes on; give what was wrong."""
    settings = busy(TWENTY, 2.0, start_s=START_S)
    closed: list[CandleClosed] = []
    corrected: list[object] = []

    async def on_closed(batch: list[object]) -> None:
        for one in batch:
            (closed if isinstance(one, CandleClosed) else corrected).append(one)

    with Elsewhere(settings, seed) as exchange:
        clock = ShiftedClock(START_S)
        async with RestClient(
            RestSettings(base_url=exchange.rest_url), network=exchange.network, clock=clock
        ) as rest:
            universe = build_universe(
                await rest.asset_pairs_bytes(),
                settings=UniverseSettings(margin_eligible="include"),
            )
            feed = Feed(
                WebSocketSettings(url=exchange.ws_url, timeframes=("1m",)),
                network=exchange.network,
                clock=clock,
                table=lambda: universe.table,
                rest=rest,
                on_closed=on_closed,
                pairs=TWENTY,
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(feed.run)
                await feed.wait_live(None, 30)
                now_s = clock.wall_ns() / 1e9
                await trio.sleep((54 - now_s) % 60)
                time.sleep(11)  # noqa: ASYNC251 - that is the point
                await trio.sleep(8)
                nursery.cancel_scope.cancel()
    wrong: list[object] = list(corrected)
    for c in closed:
        (true,) = exchange.truth.candles(c.pair, 1, c.bar.time, c.bar.time + 1)
        if (c.bar.close, c.bar.count) != (float(true.close), true.count):
            wrong.append((c.pair, c.bar.count, true.count))
    return len(closed), wrong


@pytest.mark.slow
async def test_a_program_that_blocks_on_real_sockets() -> None:
    given, wrong = await blocked_on_sockets(1)
    assert given >= len(TWENTY)
    assert wrong == []


# --- mute, in both directions ---


@pytest.mark.parametrize("minutes", [5, pytest.param(30, marks=pytest.mark.slow)])
async def test_candles_muted_for_long_are_noticed_and_none_is_missing(
    stage: OpenStage, autojump_clock: MockClock, minutes: int
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=busy(("XBTUSD",), 0.5)) as s:
        await trio.sleep(100)
        s.exchange.faults.mute(None, ["ohlc"])
        await trio.sleep(30)
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ("1m",)
        await trio.sleep(minutes * 60 - 30)
        s.exchange.faults.unmute()
        await trio.sleep(200)
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ()
        _, wrong = wrong_candles(s)
        assert wrong == []
        assert missing(s, "XBTUSD") == []
        assert len(s.closed) >= minutes + 3
        assert s.feed.statistics().unfilled_holes == 0


async def test_candles_that_are_acknowledged_and_never_served(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    def before(exchange: Exchange) -> None:
        exchange.faults.mute(None, ["ohlc"])

    settings = busy(("XBTUSD",), 0.5)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=settings, before=before) as s:
        await trio.sleep(30)
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ("1m",)


async def test_candles_that_are_not_served_after_a_reconnect_are_mute_and_not_quiet(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = busy(("XBTUSD",), 0.3)
    async with stage(pairs=["XBTUSD"], timeframes=("1m",), settings=settings, stale_s=20.0) as s:
        await trio.sleep(30)
        s.exchange.faults.mute(None, ["ohlc"])
        await s.exchange.faults.cut()
        await trio.sleep(35)
        s.reads.get_latest_price("XBTUSD")
        with pytest.raises(DataStaleError) as error:
            s.reads.get_live_ohlc("XBTUSD", "1m")
        assert error.value.why is StaleReason.SUBSCRIPTION_MUTE


@pytest.mark.parametrize("with_rest", [True, False])
async def test_a_ticker_that_falls_mute_while_candles_flow(
    stage: OpenStage, autojump_clock: MockClock, with_rest: bool
) -> None:
    settings = busy(("XBTUSD", "ETHUSD"), 0.3)
    async with stage(
        pairs=["XBTUSD", "ETHUSD"],
        timeframes=("1m",),
        settings=settings,
        with_rest=with_rest,
        stale_s=10.0,
    ) as s:
        await trio.sleep(30)
        s.exchange.faults.mute(["BTC/USD"], ["ticker"])
        await trio.sleep(30)
        pairs = s.feed.statistics().pairs
        assert (pairs["XBTUSD"].state, pairs["ETHUSD"].state) == ("mute", "live")
        with pytest.raises(DataStaleError) as error:
            s.reads.get_latest_price("XBTUSD")
        assert error.value.why is StaleReason.SUBSCRIPTION_MUTE
        s.exchange.faults.unmute()
        await trio.sleep(70)
        assert s.feed.statistics().pairs["XBTUSD"].state == "live"


# --- history ---


async def test_candles_that_ended_before_we_listened_are_no_news(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = SandboxSettings(pair_count=60, activity=0.001, quote_activity=0.02)
    pairs = ("XBTUSD", "ETHUSD", "SOLUSD", "XDGUSD")
    async with stage(pairs=pairs, timeframes=("1m", "5m"), settings=settings) as s:
        started_s = s.exchange.truth.now_ns() / 1e9
        await trio.sleep(300)
        assert [c for c in s.closed if c.bar.time + 60 <= started_s - 5] == []
        for pair in pairs:  # and yet the reads know that they are over
            row = s.feed.cache.candle(s.feed.names.symbol(pair) or "", 1)
            assert row is not None
            assert row.closed or row.open_s + 60 > s.exchange.truth.now_ns() / 1e9 - 10


async def test_a_name_corrected_with_the_first_snapshots_makes_no_history_live(
    stage: OpenStage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",), wait=False) as s:
        feed = s.feed
        # The lines of one read: a list that corrects one name lies among the first snapshots.
        applied = ClosedCandles.snapshot

        def snapshot(self: ClosedCandles, series: tuple[str, int], *more: int) -> None:
            if series[0] == "BTC/USD":
                feed._forget("SOL/USD", None)  # what a corrected name leads to
            applied(self, series, *more)

        monkeypatch.setattr(ClosedCandles, "snapshot", snapshot)
        await feed.wait_live(None, 30)
        started_s = s.exchange.truth.now_ns() / 1e9
        await trio.sleep(60)
        assert [c for c in s.closed if c.bar.time + 60 <= started_s - 5] == []


# --- the exchange's own lag ---


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(3.0, marks=pytest.mark.slow), 12.0, pytest.param(20.0, marks=pytest.mark.slow)],
)
async def test_a_candle_maker_that_lags_is_waited_for(
    stage: OpenStage, autojump_clock: MockClock, seconds: float
) -> None:
    settings = busy(TWENTY[:4], 0.3)
    async with stage(pairs=TWENTY[:4], timeframes=("1m",), settings=settings) as s:
        await trio.sleep(40)
        s.exchange.faults.lag_candles(seconds)
        await trio.sleep(240)
        given, wrong = wrong_candles(s)
        assert given >= 12
        assert wrong == []
        assert s.feed.statistics().pairs["XBTUSD"].mute_timeframes == ()
        lag_s = s.feed.statistics().connections[0].lag_s
        assert lag_s is not None
        assert abs(lag_s - seconds) < 1.0


async def test_a_row_behind_the_next_candle_is_waited_for_or_corrects(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    settings = busy(TWENTY[:4], 0.3)
    async with stage(pairs=TWENTY[:4], timeframes=("1m",), settings=settings) as s:
        heard: list[object] = []

        async def listen() -> None:
            async for change in s.feed.changes(kinds=["candle_closed"]):
                heard.append(change)

        s.nursery.start_soon(listen)
        s.exchange.faults.late_rows(0.5, 20)
        s.exchange.faults.mute(None, ["ticker"])  # nobody objects: only corrections can tell
        await trio.sleep(400)
        s.exchange.faults.clear()
        await trio.sleep(90)
        last = {}
        for change in heard:
            last[change.pair, change.bar.time] = change.bar  # type: ignore[attr-defined]
        for (pair, open_s), bar in last.items():
            (true,) = s.exchange.truth.candles(pair, 1, open_s, open_s + 1)
            assert (bar.close, bar.count) == (float(true.close), true.count)
        facts = s.feed.statistics()
        assert facts.corrected_candles == len(s.corrected) > 0
        assert all(c.previous != c.bar for c in s.corrected)
        written = {(c.pair, c.bar.time): c.bar for c in s.journal}
        assert written == last


@pytest.mark.slow
async def test_an_outage_of_half_an_hour_makes_at_most_ten_lines(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "krakked.stream")
    async with stage(timeframes=("1m", "5m", "1h")) as s:
        await trio.sleep(100)
        caplog.clear()
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        await trio.sleep(1800)
        s.exchange.faults.allow_connects()
        await trio.sleep(300)
        said = [r.getMessage() for r in caplog.records if r.name == "krakked.stream"]
        assert len(said) <= 10, "\n".join(said)
        assert any("disconnected" in line for line in said)
        assert any("resubscribed" in line for line in said)


@pytest.mark.parametrize("fold", ["never", "before", "after"])
def test_a_correction_replaces_the_journaled_bar(tmp_path: Path, fold: str) -> None:
    wrong = OHLCBar(1_794_916_800, 1.0, 2.0, 1.0, 1.5, 1.2, 3.0, 5)
    right = OHLCBar(1_794_916_800, 1.0, 2.5, 1.0, 2.5, 1.3, 4.0, 7)
    with OHLCStore(tmp_path) as store:
        store.append_provisional("1m", [("XBTUSD", wrong)])
        if fold == "before":
            store.fold_journal()
        store.append_provisional("1m", [("XBTUSD", right)])
        if fold == "after":
            store.fold_journal()
        assert store.get_bars("XBTUSD", "1m", provisional=True) == [right]
        store.fold_journal()
        assert store.get_bars("XBTUSD", "1m", provisional=True) == [right]
