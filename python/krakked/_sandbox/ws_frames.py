"""WebSocket v2 frames as text. Built by hand, since numbers keep their trailing zeros.

Shapes: recorded frames and https://docs.kraken.com/api/docs/websocket-v2/ (one page per channel).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from krakked._sandbox.digits import NS, number, padded, stamp
from krakked._sandbox.listing import Pair

FrameByVariant = Callable[[int], str]
"""A frame, written for one order of its first keys."""
_WARNING = '"warnings":["timestamp is deprecated, use interval_begin"]'


def head(channel: str, kind: str, variant: int) -> str:
    """Begin a channel frame; the order of channel and type varies on the wire."""
    if variant % 2:
        return f'{{"type":"{kind}","channel":"{channel}",'
    return f'{{"channel":"{channel}","type":"{kind}",'


def lean(channel: str, text: str) -> str:
    """Take out of a frame what only came in 2026."""
    if channel == "status":
        text = re.sub(r',"connection_id":[0-9]+,"upcoming_.*,"emergency":.*(?=}\]}$)', "", text)
    if channel == "ticker":
        text = re.sub(r',"trades":[0-9]+,"timestamp":"[^"]*"', "", text)
    if channel == "ohlc":
        text = re.sub(r'"timestamp":"[^"]*","data"', '"data"', text, count=1)
    return text


def heartbeat() -> str:
    """Return a heartbeat; it has no data."""
    return '{"channel":"heartbeat"}'


def status(connection_id: int, system: str, maintenance: str, emergency: str, variant: int) -> str:
    """Return a status frame; `upcoming_maintenance` and `emergency` are raw JSON."""
    return (
        f'{head("status", "update", variant)}"data":[{{"version":"2.0.10","system":"{system}",'
        f'"api_version":"v2","connection_id":{connection_id},'
        f'"upcoming_maintenance":{maintenance},"emergency":{emergency}}}]}}'
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request that its answers repeat.

    Attributes:
        method: Its method.
        req_id: `"req_id":7`, or empty when it had none.
        time_in: When it arrived, unix ns.
    """

    method: str
    req_id: str
    time_in: int

    def closing(self, time_out: int) -> str:
        """Return the times and the req_id: what every answer ends with."""
        times = f'"time_in":"{stamp(self.time_in)}","time_out":"{stamp(time_out)}"'
        return f"{times},{self.req_id}" if self.req_id else times


def pong(asked: Asked, time_out: int) -> str:
    """Answer an application-level ping."""
    return f'{{"method":"pong",{asked.closing(time_out)}}}'


def ack(asked: Asked, result: str, time_out: int) -> str:
    """Confirm a subscribe or unsubscribe for one symbol; `result` is the object's inside."""
    return (
        f'{{"method":"{asked.method}","result":{{{result}}},"success":true,'
        f"{asked.closing(time_out)}}}"
    )


def refusal(asked: Asked, error: str, time_out: int, symbol: str | None = None) -> str:
    """Refuse; with a symbol when the refusal is about one."""
    about = f'"symbol":{json.dumps(symbol)},' if symbol is not None else ""
    return (
        f'{{"error":{json.dumps(error)},"method":{json.dumps(asked.method)},"success":false,'
        f"{about}{asked.closing(time_out)}}}"
    )


def session_refusal(asked: Asked, channel: str, time_out: int) -> str:
    """Refuse a private channel: the shape with `channel` and `status`."""
    return (
        f'{{"channel":"{channel}","error":"ESession:Invalid session","method":"{asked.method}",'
        f'"status":"error","success":false,{asked.closing(time_out)}}}'
    )


def result_of(
    channel: str, symbol: str | None, interval: int | None, extra: str, warn: bool
) -> str:
    """Return the inside of an ack's result, keys in alphabetical order as recorded."""
    parts = [f'"channel":"{channel}"']
    if interval is not None:
        parts.append(f'"interval":{interval}')
    if extra:
        parts.append(extra)
    if symbol is not None:
        parts.append(f'"symbol":"{symbol}"')
    if warn:
        parts.append(_WARNING)
    return ",".join(parts)


def price(ticks: int, pair: Pair) -> str:
    """Write a price."""
    return number(ticks, pair.pair_decimals)


def quantity(lots: int, pair: Pair) -> str:
    """Write a quantity with eight digits."""
    return padded(lots, pair.lot_decimals, 8)


def ticker_row(
    pair: Pair,
    quote: tuple[int, int, int, int],
    last: int,
    day: tuple[int, int, int, int, int, int],
    time_ns: int,
) -> str:
    """Return a ticker's data object.

    Args:
        pair: The pair.
        quote: Bid, ask, bid lots, ask lots.
        last: Last price, ticks.
        day: 24 h lots, vwap, low, high, open, count; zeros when nothing traded.
        time_ns: Time of the event.
    """
    bid, ask, bid_lots, ask_lots = quote
    lots, vwap, low, high, opened, count = day
    text = (
        f'{{"symbol":"{pair.symbol}","bid":{price(bid, pair)},"bid_qty":{quantity(bid_lots, pair)},'
        f'"ask":{price(ask, pair)},"ask_qty":{quantity(ask_lots, pair)},"last":{price(last, pair)},'
        f'"volume":{quantity(lots, pair)}'
    )
    if count or pair.index % 2:  # a pair without a trade in 24 h shows zeros, or nothing at all
        change = last - opened if opened else 0
        percent = round(1e4 * change / opened) if opened else 0
        text += (
            f',"vwap":{price(vwap, pair)},"low":{price(low, pair)},"high":{price(high, pair)},'
            f'"change":{price(change, pair)},"change_pct":{number(percent, 2)}'
        )
    return f'{text},"trades":{count},"timestamp":"{stamp(time_ns)}"}}'


def candle_row(
    pair: Pair,
    step_s: int,
    begin_s: int,
    ohlc: tuple[int, int, int, int],
    sums: tuple[int, int, int],
) -> str:
    """Return a candle's data object.

    Args:
        pair: The pair.
        step_s: Interval in seconds.
        begin_s: Open time, unix seconds.
        ohlc: Open, high, low, close in ticks.
        sums: Trades, lots, vwap in ticks.
    """
    opened, high, low, close = ohlc
    count, lots, vwap = sums
    return (
        f'{{"symbol":"{pair.symbol}","open":{price(opened, pair)},"high":{price(high, pair)},'
        f'"low":{price(low, pair)},"close":{price(close, pair)},"trades":{count},'
        f'"volume":{quantity(lots, pair)},"vwap":{price(vwap, pair)},'
        f'"interval_begin":"{stamp(begin_s * NS, 9)}","interval":{step_s // 60},'
        f'"timestamp":"{stamp((begin_s + step_s) * NS)}"}}'
    )


TradeRow = tuple[int, int, int, int, bool, bool]
"""A trade: id, time in ns, price in ticks, lots, buy, market."""


def trade_row(pair: Pair, trade: TradeRow) -> str:
    """Return a trade's data object."""
    trade_id, time_ns, ticks, lots, buy, market = trade
    return (
        f'{{"symbol":"{pair.symbol}","side":"{"buy" if buy else "sell"}",'
        f'"price":{price(ticks, pair)},"qty":{quantity(lots, pair)},'
        f'"ord_type":"{"market" if market else "limit"}","trade_id":{trade_id},'
        f'"timestamp":"{stamp(time_ns)}"}}'
    )


def data_frame(channel: str, kind: str, rows: str, variant: int) -> str:
    """Return a ticker or trade frame."""
    return f'{head(channel, kind, variant)}"data":[{rows}]}}'


def candle_frame(kind: str, rows: str, time_ns: int, variant: int) -> str:
    """Return an ohlc frame with its outer timestamp."""
    return f'{head("ohlc", kind, variant)}"timestamp":"{stamp(time_ns, 9)}","data":[{rows}]}}'
