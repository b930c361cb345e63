"""The market is one market: random access by id and by time agree, candles follow from trades."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from krakked._sandbox.listing import Directory
from krakked._sandbox.listing_rules import build_listing
from krakked._sandbox.market import Market, PairMarket
from krakked._sandbox.settings import DEFAULT_START_S
from krakked.sandbox import SandboxSettings

NS = 1_000_000_000
NOW_NS = DEFAULT_START_S * NS
LISTING = build_listing()
DIRECTORY = Directory(LISTING)


def market_of(name: str, seed: int = 1, **settings: object) -> PairMarket:
    return Market(seed, SandboxSettings(**settings), LISTING, NOW_NS).of(DIRECTORY.any(name))


@pytest.mark.parametrize("name", ["XBTUSD", "XDGUSD", "1INCHUSD", "SOVIRUSD", "PEPEUSD"])
def test_ids_and_times_agree(name: str) -> None:
    tape = market_of(name).tape
    newest = tape.count_at(NOW_NS)
    trades = tape.trades(max(1, newest - 5000), newest + 100)
    assert (np.diff(trades.ids) == 1).all()
    assert (np.diff(trades.times) >= 0).all()
    assert (trades.prices > 0).all()
    assert (trades.lots > 0).all()
    for place in range(len(trades) // 40 + 30, len(trades), max(1, len(trades) // 40)):
        at = int(trades.times[place])
        upto = int(np.searchsorted(trades.times, at, side="right"))
        assert tape.count_at(at) == trades.ids[upto - 1]
        before = int(np.searchsorted(trades.times, at, side="left"))
        assert tape.count_at(at - 1) == trades.ids[before] - 1


def test_any_reading_of_the_tape_gives_the_same_trades() -> None:
    tape = market_of("ETHUSD").tape
    newest = tape.count_at(NOW_NS)
    whole = tape.trades(newest - 2000, newest)
    for first, last in [(0, 1), (1, 700), (63, 130), (500, 1999)]:
        part = tape.trades(int(whole.ids[first]), int(whole.ids[last]))
        for one, other in zip(
            (whole.times, whole.prices, whole.lots, whole.buys),
            (part.times, part.prices, part.lots, part.buys),
            strict=True,
        ):
            assert (one[first : last + 1] == other).all()


def test_the_first_trade_is_number_one_and_follows_the_listing() -> None:
    listed_s = DEFAULT_START_S - 40 * 86_400
    market = market_of("SOLUSD", listed_s={"SOLUSD": listed_s})
    assert market.tape.count_at(listed_s * NS - 1) == 0
    first = market.tape.trades(1, 3)
    assert first.ids.tolist() == [1, 2, 3]
    assert first.times[0] >= listed_s * NS


def test_a_given_rate_holds_for_all_of_a_pairs_life() -> None:
    two_years = 2 * 365 * 86_400
    market = market_of(
        "XMRUSD",
        trade_rates={"XMRUSD": 200_000 / two_years},
        listed_s={"XMRUSD": DEFAULT_START_S - two_years},
    )
    assert abs(market.tape.count_at(NOW_NS) - 200_000) < 70


def test_many_trades_share_a_time_and_the_rest_do_not() -> None:
    tape = market_of("XBTUSD").tape
    newest = tape.count_at(NOW_NS)
    times = tape.trades(newest - 999, newest).times
    assert 500 < len(np.unique(times)) < 680


def test_seeds_make_markets() -> None:
    def prices(seed: int) -> list[int]:
        tape = market_of("XBTUSD", seed).tape
        newest = tape.count_at(NOW_NS)
        found: list[int] = tape.trades(newest - 50, newest).prices.tolist()
        return found

    assert prices(1) == prices(1)
    assert prices(1) != prices(2)


@pytest.mark.parametrize(("name", "step_s"), [("XBTUSD", 60), ("ADAUSD", 300), ("0GUSD", 3600)])
def test_candles_are_made_of_the_trades(name: str, step_s: int) -> None:
    market = market_of(name)
    end = NOW_NS // NS // step_s * step_s
    start = end - 30 * step_s
    trades = market.tape.between(start * NS, end * NS)
    buckets: dict[int, list[tuple[int, int]]] = {}
    for at, price, lots in zip(
        trades.times.tolist(), trades.prices.tolist(), trades.lots.tolist(), strict=True
    ):
        buckets.setdefault(at // NS // step_s * step_s, []).append((price, lots))
    candles = market.closed(step_s, start, end)
    assert candles.times.tolist() == sorted(buckets)
    vwaps = candles.vwap_ticks()
    for place, at in enumerate(candles.times.tolist()):
        rows = buckets[at]
        prices = [price for price, _ in rows]
        assert candles.opens[place] == prices[0]
        assert candles.closes[place] == prices[-1]
        assert candles.highs[place] == max(prices)
        assert candles.lows[place] == min(prices)
        assert candles.counts[place] == len(rows)
        assert candles.lots[place] == sum(lots for _, lots in rows)
        exact = Decimal(sum(p * v for p, v in rows)) / sum(v for _, v in rows)
        assert abs(exact - int(vwaps[place])) <= Decimal("0.5000001")


def test_candles_do_not_depend_on_the_order_of_asking() -> None:
    end = NOW_NS // NS // 86_400 * 86_400
    one, other = market_of("LTCUSD"), market_of("LTCUSD")
    whole = one.closed(3600, end - 864_000, end)
    for days in (3, 1, 7, 10):
        part = other.closed(3600, end - days * 86_400, end)
        assert part.closes.tolist() == whole.cut(end - days * 86_400, end).closes.tolist()


def test_a_running_candle_equals_the_closed_one_at_its_end() -> None:
    market = market_of("XRPUSD")
    begin = NOW_NS // NS // 3600 * 3600 - 3600
    running = market.running(3600, (begin + 3600) * NS - 1)
    closed = market.closed(3600, begin, begin + 3600)
    for one, other in zip(running.columns(), closed.columns(), strict=True):
        assert np.allclose(one, other, rtol=1e-12)


def test_quotes_never_cross_and_move_between_trades() -> None:
    market = market_of("XBTUSD")
    slots = np.arange(NOW_NS // NS, NOW_NS // NS + 2000, dtype=np.int64)
    bid, ask = market.quotes.prices(slots)
    assert (bid < ask).all()
    assert len(np.unique(bid)) > 200
