"""What `krakked record` writes, `krakked sandbox --replay` plays: the same prices come out."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import trio

from krakked._cli.record import FrameRecorder
from krakked._config.settings import WebSocketSettings
from krakked._market.changes import CandleClosed
from krakked._market.stream.feed import Feed
from krakked.sandbox import Exchange, Recording, SandboxSettings, open_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock

PAIRS = ("XBTUSD", "ETHUSD")


def feed_over(
    exchange: Exchange,
    table: object,
    closed: list[CandleClosed],
    on_frame: Callable[[str, str], None] | None = None,
) -> Feed:
    async def on_closed(batch: list[CandleClosed]) -> None:
        closed.extend(batch)

    return Feed(
        WebSocketSettings(url=exchange.ws_url, timeframes=("1m", "5m")),
        network=exchange.network,
        clock=exchange.clock,
        table=lambda: table,
        on_closed=on_closed,
        pairs=PAIRS,
        on_frame=on_frame,
    )


def said(row: object) -> dict[str, object]:
    names = {name for name in dir(row) if not name.startswith("_")} - {"updated_ns", "late_ns"}
    return {name: getattr(row, name) for name in names}


def seen(feed: Feed) -> list[object]:
    """Give all that the cache holds, but for the times of arrival."""
    found: list[object] = []
    for symbol in ("BTC/USD", "ETH/USD"):
        found.append(said(feed.cache.ticker_exact(symbol)))
        found += [said(feed.cache.candle_exact(symbol, interval)) for interval in (1, 5)]
    return found


async def test_a_recording_played_again_gives_the_same_prices_and_candles(
    stage: OpenStage, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with stage(pairs=PAIRS) as s:
        table = s.table
    settings = SandboxSettings(pair_count=60, activity=1.0, quote_activity=0.5)
    closed: list[CandleClosed] = []
    path = tmp_path / "frames.ndjson"
    async with open_sandbox(seed=7, memory=True, settings=settings) as exchange:
        with path.open("xb") as file:
            recorder = FrameRecorder(file, exchange.clock.wall_ns)
            recorder.url = exchange.ws_url
            feed = feed_over(exchange, table, closed, recorder)
            async with trio.open_nursery() as nursery:
                await nursery.start(feed.run)
                await feed.wait_live(None, 30)
                await trio.sleep(130)
                exact, count = seen(feed), recorder.frames
                nursery.cancel_scope.cancel()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(lines) == recorder.frames == count > 100
    assert {line["connection"] for line in lines} == {0, 1}

    again: list[CandleClosed] = []
    async with open_sandbox(seed=1, memory=True, replay=Recording.load(path)) as exchange:
        feed = feed_over(exchange, table, again)
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            await feed.wait_live(None, 30)
            await trio.sleep(135)
            assert seen(feed) == exact
            assert feed.statistics().frames >= count
            nursery.cancel_scope.cancel()
    key = lambda c: (c.pair, c.timeframe, c.bar.time)  # noqa: E731
    assert len(closed) >= 4
    assert sorted(map(key, closed)) == sorted(map(key, again))
    bars = {key(c): c.bar for c in closed}
    assert all(bars[key(c)] == c.bar for c in again)


class FullDisk(io.BytesIO):
    def write(self, data: bytes) -> int:
        raise OSError(28, "No space left on device")


async def test_a_full_disk_ends_the_recording_not_the_stream(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=PAIRS) as s:
        recorder = FrameRecorder(FullDisk())
        feed = feed_over(s.exchange, s.table, [], recorder)
        await s.nursery.start(feed.run)
        with trio.fail_after(30):
            await recorder.failed.wait()
        await feed.wait_live(None, 30)
        assert recorder.frames == 0
        assert recorder.error is not None
        assert feed.statistics().reconnects == 0


async def test_a_recorder_that_breaks_is_logged_and_the_stream_goes_on(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(connection: str, text: str) -> None:
        raise ZeroDivisionError

    async with stage(pairs=PAIRS) as s:
        feed = feed_over(s.exchange, s.table, [], broken)
        await s.nursery.start(feed.run)
        await feed.wait_live(None, 30)
        await trio.sleep(30)
        assert feed.statistics().reconnects == 0
    assert sum("recording ended" in r.getMessage() for r in caplog.records) == 2  # connections
