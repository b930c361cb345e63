"""One seeded run of everything that may go wrong, held against the sandbox's ground truth."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import trio
from tests.market.stream.conftest import Stage, open_stage
from trio.testing import MockClock

from krakked._market.bars import OHLCBar
from krakked._market.changes import CandleClosed, CandleCorrected
from krakked._timeframes import MINUTES
from krakked.sandbox import SandboxSettings

PAIRS = ("XBTUSD", "ETHUSD", "XDGUSD")
SYMBOLS = ("BTC/USD", "ETH/USD", "DOGE/USD")
TIMEFRAMES = ("1m", "5m")
TROUBLE_S = 480.0
"""So long something or other goes wrong."""
SETTLE_S = 420.0
"""So long all is well afterwards."""
CORRECTED_S = 60.0
"""A wrong candle is corrected within so long of its being given out: REST has the truth at once."""

Key = tuple[str, str, int]
"""Pair, timeframe, open time."""


@dataclass
class Told:
    """What came out for one candle, and when (market time, unix seconds)."""

    at: list[tuple[float, OHLCBar]] = field(default_factory=list)
    closed: int = 0
    evidence: str = ""


@dataclass
class Report:
    """What a run came to."""

    seed: int
    candles: int = 0
    wrong_when_given: int = 0
    corrections: int = 0
    uncorrected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    by_rest: int = 0
    delays_s: list[float] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        return [*self.uncorrected, *self.missing, *self.doubled, *self.journal, *self.early]


Fault = Callable[[Stage, Random], Awaitable[str]]


async def lag(s: Stage, random: Random) -> str:
    seconds, jitter = random.uniform(0, 20), random.choice([0.0, random.uniform(0, 5)])
    s.exchange.faults.lag_candles(seconds, jitter_s=jitter)
    await trio.sleep(random.uniform(20, 150))
    s.exchange.faults.lag_candles(0)
    return f"lag {seconds:.1f}+{jitter:.1f}"


async def late_rows(s: Stage, random: Random) -> str:
    chance, seconds = random.uniform(0.05, 0.5), random.uniform(1, 20)
    s.exchange.faults.late_rows(chance, seconds)
    await trio.sleep(random.uniform(20, 150))
    s.exchange.faults.late_rows(0, 0)
    return f"late rows {chance:.2f} {seconds:.1f}"


async def hold(s: Stage, random: Random) -> str:
    numbers = [c.number for c in s.exchange.connections]
    chosen = random.choice([None, [random.choice(numbers)]]) if numbers else None
    seconds = random.uniform(0.1, 10)
    s.exchange.faults.hold_data(seconds, chosen)
    s.exchange.faults.pongs_overtake(random.random() < 0.5)
    await trio.sleep(random.uniform(10, 120))
    s.exchange.faults.hold_data(0)
    s.exchange.faults.pongs_overtake(False)
    return f"hold {seconds:.1f} on {chosen}"


async def stall(s: Stage, random: Random) -> str:
    seconds = random.choice([random.uniform(1, 11), random.uniform(1, 25)])
    s.exchange.faults.stall()
    await trio.sleep(seconds)
    s.exchange.faults.resume()
    return f"stall {seconds:.1f}"


async def trickle(s: Stage, random: Random) -> str:
    rate = random.uniform(2_000, 20_000)
    s.exchange.faults.link_rate(rate)
    await trio.sleep(random.uniform(5, 90))
    s.exchange.faults.link_rate(None)
    return f"trickle {rate:.0f}"


async def block(s: Stage, random: Random) -> str:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    await trio.sleep(random.uniform(0, 60))
    seconds = random.uniform(1, 15)
    clock.jump(seconds)
    return f"block {seconds:.1f}"


async def mute(s: Stage, random: Random) -> str:
    symbols = random.choice([None, [random.choice(SYMBOLS)]])
    channels = random.choice([["ohlc"], ["ticker"]])
    s.exchange.faults.mute(symbols, channels)
    await trio.sleep(random.uniform(5, 150))
    s.exchange.faults.unmute()
    return f"mute {symbols} {channels}"


async def refuse(s: Stage, random: Random) -> str:
    chosen = random.sample(SYMBOLS, random.randint(1, 3))
    channels = random.choice([None, ["ohlc"], ["ticker"]])
    error = random.choice(["EService:Unavailable", "EGeneral:Internal error"])
    s.exchange.faults.refuse_symbols(chosen, channels, error=error, times=random.randint(1, 4))
    await s.exchange.faults.cut()
    await trio.sleep(random.uniform(5, 60))
    s.exchange.faults.accept_symbols()
    return f"refuse {chosen} {channels}"


async def end(s: Stage, random: Random) -> str:
    chosen = random.sample(SYMBOLS, random.randint(1, 3))
    s.exchange.faults.end_subscriptions(chosen, random.choice([["ohlc"], ["ticker", "ohlc"]]))
    await trio.sleep(1)
    return f"end {chosen}"


async def cut(s: Stage, random: Random) -> str:
    numbers = [c.number for c in s.exchange.connections]
    chosen = random.choice([None, numbers[:1]])
    seconds = random.choice([0.0, random.uniform(1, 90)])
    if seconds:
        s.exchange.faults.refuse_connects()
    await s.exchange.faults.cut(None if seconds else chosen)
    await trio.sleep(seconds)
    s.exchange.faults.allow_connects()
    return f"cut {chosen} for {seconds:.0f}"


async def half_open(s: Stage, random: Random) -> str:
    s.exchange.faults.half_open()
    await trio.sleep(random.uniform(1, 30))
    return "half open"


async def repeats(s: Stage, random: Random) -> str:
    s.exchange.faults.duplicate_candles(random.uniform(0, 0.3))
    s.exchange.faults.late_candles(random.uniform(0, 0.3))
    await trio.sleep(random.uniform(10, 100))
    s.exchange.faults.duplicate_candles(0)
    s.exchange.faults.late_candles(0)
    return "repeats"


async def skew(s: Stage, random: Random) -> str:
    seconds = random.uniform(-3, 3)
    s.exchange.faults.skew_server_clock(seconds)
    await trio.sleep(random.uniform(60, 300))
    return f"skew {seconds:.1f}"


async def step(s: Stage, random: Random) -> str:
    seconds = random.choice([-3600.0, 3600.0])
    s.exchange.clock.step_wall(seconds)
    await trio.sleep(1)
    return f"wall {seconds:.0f}"


FAULTS: tuple[Fault, ...] = (
    *(lag, lag, late_rows, hold, stall, trickle, block, mute, mute),
    *(refuse, end, cut, half_open, repeats, skew, step),
)


async def trouble(s: Stage, random: Random, report: Report, faults: tuple[Fault, ...]) -> None:
    """Let one thing after another go wrong, until cancelled."""
    while True:
        await trio.sleep(random.expovariate(1 / 25))
        fault = random.choice(faults)
        began = s.exchange.truth.now_ns() / 1e9
        at = len(report.story)
        report.story.append(f"{began:.1f}-end {fault.__name__}")
        what = await fault(s, random)
        ended = s.exchange.truth.now_ns() / 1e9
        report.story[at] = f"{began:.1f}-{ended:.1f} {what}"


async def run(seed: int, *, memory: bool = True, faults: tuple[Fault, ...] = FAULTS) -> Report:
    """Run one seed; shorter on sockets."""
    random = Random(f"truth {seed}")
    rates = {pair: random.choice([0.01, 0.05, 0.3]) for pair in PAIRS}
    settings = SandboxSettings(pair_count=60, trade_rates=rates, quote_activity=0.02)
    report = Report(seed)
    told: dict[Key, Told] = {}
    order: dict[tuple[str, str], int] = {}
    stage_of = open_stage(
        pairs=PAIRS,
        timeframes=TIMEFRAMES,
        settings=settings,
        seed=seed,
        stale_s=86400.0,
        memory=memory,
        random=Random(seed),
    )
    async with stage_of as s:

        async def listen() -> None:
            async for change in s.feed.changes(kinds=["candle_closed"]):
                now = s.exchange.truth.now_ns() / 1e9
                assert isinstance(change, CandleClosed | CandleCorrected)
                key = (change.pair, change.timeframe, change.bar.time)
                one = told.setdefault(key, Told())
                if isinstance(change, CandleClosed):
                    one.closed += 1
                    one.evidence = change.evidence
                    if order.get(key[:2], -1) >= key[2]:
                        report.doubled.append(f"{key} out of order")
                    order[key[:2]] = key[2]
                else:
                    report.corrections += 1
                    before = one.at[-1][1] if one.at else None
                    if change.previous != before or change.bar == before:
                        report.doubled.append(f"{key} corrects {change.previous}, was {before}")
                one.at.append((now, change.bar))

        s.nursery.start_soon(listen)
        with trio.move_on_after(TROUBLE_S if memory else TROUBLE_S / 4):
            async with trio.open_nursery() as nursery:
                for n in range(random.randint(1, 3)):
                    each = Random(f"trouble {seed} {n}")
                    nursery.start_soon(trouble, s, each, report, faults)
        s.exchange.faults.clear()
        await trio.sleep(SETTLE_S if memory else SETTLE_S / 2)
        _judge(s, told, report)
    return report


def _judge(s: Stage, told: dict[Key, Told], report: Report) -> None:
    now = s.exchange.truth.now_ns() / 1e9
    for pair in PAIRS:
        for timeframe in TIMEFRAMES:
            length = MINUTES[timeframe] * 60
            given = sorted(k[2] for k in told if k[:2] == (pair, timeframe))
            if not given:
                continue
            until = int((now - 90) // length) * length
            truth = {
                c.time: (*map(float, (c.open, c.high, c.low, c.close, c.volume)), c.count)
                for c in s.exchange.truth.candles(
                    pair, MINUTES[timeframe], given[0], max(until, given[-1] + length)
                )
            }
            for open_s, true in truth.items():
                one = told.get((pair, timeframe, open_s))
                where = f"{pair} {timeframe} {open_s}"
                if one is None:
                    if open_s < until:
                        report.missing.append(f"{where} missing {true}")
                    continue
                report.candles += 1
                _judge_one(one, true, open_s + length, where, report)
            report.missing += [
                f"{pair} {timeframe} {open_s} never was" for open_s in given if open_s not in truth
            ]
    written: dict[Key, OHLCBar] = {}
    for event in s.journal:
        written[event.pair, event.timeframe, event.bar.time] = event.bar
    last = {key: one.at[-1][1] for key, one in told.items()}
    report.journal += [f"{k} journal {written.get(k)}" for k in last if written.get(k) != last[k]]
    report.by_rest = sum(c.source.name == "REST" for c in s.closed)


def _judge_one(
    one: Told, true: tuple[float, ...], end_s: float, where: str, report: Report
) -> None:
    first_s = one.at[0][0]
    report.delays_s.append(first_s - end_s)
    if one.closed > 1:
        report.doubled.append(f"{where} closed {one.closed} times")
    if first_s < end_s:
        report.early.append(f"{where} given {end_s - first_s:.1f} s before its end")
    right = [at for at, bar in one.at if _values(bar) == true]
    if one.closed and _values(one.at[0][1]) != true:
        report.wrong_when_given += 1
    if not right or right[-1] != one.at[-1][0]:
        states = [(round(at - end_s, 1), _values(bar)) for at, bar in one.at]
        report.uncorrected.append(f"{where} {one.evidence} is {states}, true {true}")
    elif right[0] - first_s > CORRECTED_S:
        report.uncorrected.append(
            f"{where} {one.evidence} corrected only {right[0] - first_s:.1f} s after"
        )


def _values(bar: OHLCBar) -> tuple[float, ...]:
    return (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count)


def run_virtual(seed: int, faults: tuple[Fault, ...] = FAULTS) -> Report:
    """Run one seed on virtual time."""
    logging.getLogger("krakked.stream").setLevel(logging.CRITICAL + 1)
    try:

        async def main() -> Report:
            return await run(seed, faults=faults)

        return trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logging.getLogger("krakked.stream").setLevel(logging.NOTSET)
