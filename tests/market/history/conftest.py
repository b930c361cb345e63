"""A small exchange made of a list of trades, with the oddities that the real one may have."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from krakked._market.history.backfill import History
from krakked._market.pairs import PairMetadata, PairTable
from krakked._market.store.ohlc_store import OHLCStore
from krakked._rest.health import LimiterStatus, RestStatus
from krakked._rest.models import OHLCReply, OHLCRow, ServerTime, TradeRow, TradesReply

PAIR = PairMetadata(
    canonical="XBTUSD",
    base="XBT",
    quote="USD",
    rest_symbol="XBTUSD",
    ws_symbol="BTC/USD",
    wsname="XBT/USD",
    raw_name="XXBTZUSD",
    price_decimals=1,
    volume_decimals=8,
    lot_size=1.0,
    status="online",
)
TABLE = PairTable(
    [
        PAIR,
        msgspec.structs.replace(
            PAIR,
            canonical="ETHUSD",
            base="ETH",
            rest_symbol="ETHUSD",
            ws_symbol="ETH/USD",
            wsname="ETH/USD",
            raw_name="X",
        ),
    ]
)
NS = 10**9


class TapeExchange:
    """REST over one tape. Trades are (time_ns, price, volume); ids count from 1."""

    virtual = True

    def __init__(self, tape: list[tuple[int, float, float]], now_s: float) -> None:
        self.tape = sorted(tape, key=lambda trade: trade[0])
        self.now_s = now_s
        self.inclusive_since = False
        self.page_rows = 1000
        self.withheld: set[int] = set()
        self.short_last = False
        self.calls: list[tuple[Any, ...]] = []
        self.failures: dict[int, Exception] = {}
        self.odd_rows: dict[int, dict[str, Any]] = {}  # fields to change, by open time
        self.slow_s = 0.0  # time that passes between writing an answer of OHLC and its arrival

    # clock
    def wall_ns(self) -> int:
        return int(self.now_s * NS)

    def elapsed_ns(self) -> int:
        return int(self.now_s * NS)

    # REST
    def server_wall_ns(self) -> int:
        return self.wall_ns()

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        failure = self.failures.pop(len(self.calls), None)
        if failure is not None:
            raise failure

    async def time(self) -> ServerTime:
        return ServerTime(unixtime=int(self.now_s))

    def reachability(self) -> RestStatus:
        limiter = LimiterStatus(
            public_spacing_s=1.0,
            private_counter=None,
            lockout_left_s=0.0,
            retry_budget=500,
            waiting=(),
        )
        return RestStatus(
            reachable=True,
            last_error=None,
            last_ok_age_s=0.0,
            clock_ahead_s=0.0,
            warnings=(),
            limiter=limiter,
        )

    def candles(self, step_s: int, start_s: int, end_s: int) -> list[OHLCRow]:
        """Filled candles of [start, end) from the first trade on, in REST's spelling."""
        rows: list[OHLCRow] = []
        close: float | None = None
        for time in range(start_s, end_s, step_s):
            first = bisect.bisect_left(self.tape, (time * NS,))
            end_ns = min((time + step_s) * NS, self.wall_ns() + 1)
            inside = self.tape[first : bisect.bisect_left(self.tape, (end_ns,))]
            before = self.tape[max(0, first - 1) : first]
            if not inside and not before:
                continue
            if not inside:
                close = before[-1][1]
                rows.append(OHLCRow(time, *[str(close)] * 4, "0.0", "0.00000000", 0))
                continue
            prices = [t[1] for t in inside]
            volume = sum(t[2] for t in inside)
            vwap = sum(t[1] * t[2] for t in inside) / volume
            rows.append(
                OHLCRow(
                    time,
                    str(prices[0]),
                    str(max(prices)),
                    str(min(prices)),
                    str(prices[-1]),
                    str(vwap),
                    str(volume),
                    len(inside),
                )
            )
        return rows

    async def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        self._called("OHLC", pair, interval_minutes, since_s)
        step_s = interval_minutes * 60
        running_s = int(self.now_s) // step_s * step_s
        rows = self.candles(step_s, running_s - 720 * step_s, running_s + step_s)
        since = since_s or 0
        kept = [
            row
            for row in rows[:-1]
            if row.time > since or (self.inclusive_since and row.time == since)
        ]
        rows = [
            msgspec.structs.replace(row, **self.odd_rows.get(row.time, {}))
            for row in (*kept, *rows[-1:])
        ]
        self.now_s += self.slow_s
        return OHLCReply(rows=tuple(rows), last=running_s - step_s)

    def _page(self, since_ns: int, count: int) -> list[tuple[int, tuple[int, float, float]]]:
        from_ns = since_ns if self.inclusive_since else since_ns + 1
        first = bisect.bisect_left(self.tape, (from_ns,))
        trades = self.tape[first : first + min(count, self.page_rows)]
        rows = [
            (number, trade)
            for number, trade in enumerate(trades, start=first + 1)
            if trade[0] <= self.wall_ns()
        ]
        return [row for row in rows if row[0] not in self.withheld]

    async def trades(self, pair: str, since_ns: int, count: int = 1000) -> TradesReply:
        self._called("Trades", pair, since_ns, count)
        page = self._page(since_ns, count)
        rows = tuple(
            TradeRow(str(p), str(v), t / NS, "b", "m", "", number) for number, (t, p, v) in page
        )
        return TradesReply(rows=rows, last_ns=page[-1][1][0] if page else since_ns)

    async def trades_bytes(self, pair: str, since_ns: int, count: int = 1000) -> bytes:
        self._called("Trades", pair, since_ns, count)
        page = self._page(since_ns, count)
        rows = [[str(p), str(v), t / NS, "b", "m", "", n] for n, (t, p, v) in page]
        last = str(page[-1][1][0] if page else since_ns)[: 12 if self.short_last else None]
        return msgspec.json.encode({"error": [], "result": {"XXBTZUSD": rows, "last": last}})


@pytest.fixture
def exchange() -> Callable[[list[tuple[int, float, float]], float], TapeExchange]:
    """Makes an exchange from a tape and the time."""
    return TapeExchange


@pytest.fixture
def store(tmp_path: Path) -> OHLCStore:
    """An empty store."""
    return OHLCStore(tmp_path / "ohlc")


@pytest.fixture
def history(store: OHLCStore) -> Callable[[TapeExchange], History]:
    """Makes a history over the store and an exchange."""

    def make(exchange: TapeExchange) -> History:
        return History(exchange, store, exchange, lambda: TABLE)

    return make
