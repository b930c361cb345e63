"""The walk over the trades: what a page may do wrong, and when a candle is complete."""

from __future__ import annotations

from typing import Any

import pytest

from krakked._errors import ServiceError
from krakked._market.history import trades_backfill as deep
from krakked._market.history.trades_backfill import TapeWalk, Target
from krakked._market.store.ohlc_store import OHLCStore

NS = 10**9
START_S = 1_780_002_000  # a full hour
END_S = START_S + 20 * 60
TARGET = Target(pair="XBTUSD", rest_symbol="XBTUSD", timeframe="1m", minutes=1)


async def nothing() -> None:
    """Hold no page."""


def walk_of(rest: Any, store: OHLCStore, end_s: int = END_S) -> TapeWalk:
    return TapeWalk(rest, store, rest, TARGET, (START_S, end_s))


def every(seconds: int, end_s: int = END_S) -> list[tuple[int, float, float]]:
    return [(at * NS + 500, 100.0, 1.0) for at in range(START_S, end_s, seconds)]


async def counts_of(store: OHLCStore) -> list[int]:
    return [bar.count for bar in store.get_bars("XBTUSD", "1m")]


async def test_a_trade_that_comes_late_finds_its_candle_open(
    exchange: Any, store: OHLCStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ids are the order; times may go back by some seconds, over a minute's end and a page's. Its
    # log is one of arrival: `since` finds a place in it, and what follows there is given.
    monkeypatch.setattr(deep, "FLUSH_PAGES", 1)
    times = [*range(START_S, START_S + 180, 20), START_S + 189, START_S + 171, START_S + 200]
    times += range(START_S + 220, END_S, 20)
    rest = exchange([], END_S + 3600.0)
    tape = [(at * NS + 500, 100.0, 1.0) for at in times]

    def page(since_ns: int, count: int) -> list[Any]:
        first = next((n for n, trade in enumerate(tape) if trade[0] > since_ns), len(tape))
        return list(enumerate(tape, start=1))[first : first + min(count, 10)]

    rest._page = page
    result = await walk_of(rest, store).run(nothing, lambda _: None)
    assert result.missing == ()
    assert await counts_of(store) == [3, 3, 4, *[3] * 17]
    assert result.trades == len(tape)


@pytest.mark.parametrize(("tries", "found"), [(1, True), (2, True), (3, False)])
async def test_a_hole_in_the_ids_is_asked_for_again_twice(
    exchange: Any, store: OHLCStore, tries: int, found: bool
) -> None:
    rest = exchange(every(20), END_S + 3600.0)
    rest.page_rows = 30
    given = [0]
    whole = rest._page

    def page(since_ns: int, count: int) -> list[Any]:
        rows = whole(since_ns, count)
        if any(number == 10 for number, _ in rows):
            given[0] += 1
            if given[0] <= tries:
                return [row for row in rows if row[0] != 10]
        return rows

    rest._page = page
    result = await walk_of(rest, store).run(nothing, lambda _: None)
    assert (result.missing == ()) is found
    if found:
        assert await counts_of(store) == [3] * 20
    else:
        assert "trades 10 to 10" in result.missing[0].why
        assert result.missing[0].start_s <= START_S + 180 < result.missing[0].end_s


async def test_a_page_that_cannot_be_read_stores_what_was_complete(
    exchange: Any, store: OHLCStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "FLUSH_PAGES", 1)
    rest = exchange(every(20), END_S + 3600.0)
    rest.page_rows = 20
    whole = rest.trades_bytes

    async def trades_bytes(*call: Any) -> bytes:
        reply: bytes = await whole(*call)
        return reply if len(rest.calls) < 3 else reply[:-9]

    rest.trades_bytes = trades_bytes
    with pytest.raises(ServiceError, match="unreadable") as caught:
        await walk_of(rest, store).run(nothing, lambda _: None)
    assert caught.value.retryable
    stored = await counts_of(store)
    assert stored == [3] * len(stored)
    assert len(stored) >= 10


async def test_the_walk_counts_pages_trades_and_bars(exchange: Any, store: OHLCStore) -> None:
    rest = exchange([*every(20), (END_S * NS, 1.0, 1.0)], END_S + 3600.0)
    rest.page_rows = 30
    told: list[deep.DeepProgress] = []
    result = await walk_of(rest, store).run(nothing, told.append)
    assert result.calls == len(rest.calls) == len(told)
    assert (result.trades, result.bars) == (60, 20)  # the one at the end is none of them
    assert told[-1].at_s == END_S
    assert [step.at_s for step in told] == sorted(step.at_s for step in told)
    ((start_s, end_s),) = [(r.start_s, r.end_s) for r in store.coverage("XBTUSD", "1m")]
    assert (start_s, end_s) == (START_S, END_S)


async def test_a_pair_without_trades_in_the_range_is_known_to_be_quiet(
    exchange: Any, store: OHLCStore
) -> None:
    rest = exchange([(START_S * NS - 10**6, 5.0, 1.0), (END_S * NS, 6.0, 1.0)], END_S + 60.0)
    result = await walk_of(rest, store).run(nothing, lambda _: None)
    assert (result.trades, result.bars, result.missing) == (0, 0, ())
    assert len(store.coverage("XBTUSD", "1m")) == 1


async def test_before_krakens_first_day_nothing_is_claimed(exchange: Any, store: OHLCStore) -> None:
    first_s = 1_381_095_240
    rest = exchange([(first_s * NS + 7, 122.0, 1.0), (first_s * NS + 90 * NS, 123.0, 1.0)], END_S)
    walk = TapeWalk(rest, store, rest, TARGET, (0, first_s + 120))
    await walk.run(nothing, lambda _: None)
    assert await counts_of(store) == [1, 1]
    assert store.coverage("XBTUSD", "1m")[0].start_s == first_s
