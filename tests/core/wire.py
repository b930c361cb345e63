"""Frames, messages and a plain reference decoder: the standard library only, no krakked."""

import datetime
import json
from decimal import Decimal

REPLY = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TICKER_VALUES = (
    "bid",
    "bid_qty",
    "ask",
    "ask_qty",
    "last",
    "volume",
    "vwap",
    "low",
    "high",
    "change",
    "change_pct",
)
CANDLE_VALUES = ("open", "high", "low", "close", "vwap", "volume")


TICKER_FIELDS = (*TICKER_VALUES, "trades", "exchange_ns", "updated_ns")
CANDLE_FIELDS = ("open_s", *CANDLE_VALUES, "trades", "closed", "updated_ns")
CLOSED_FIELDS = ("symbol", "interval_minutes", "open_s", *CANDLE_VALUES, "trades", "evidence")


def values(row):
    """All that a row of the cache holds, in the order of one of the three above."""
    if row is None:
        return None
    kinds = (CLOSED_FIELDS, CANDLE_FIELDS, TICKER_FIELDS)
    names = next(each for each in kinds if all(hasattr(row, name) for name in each))
    return tuple(getattr(row, name) for name in names)


def frame(payload: str | bytes, first: int = 0x81) -> bytes:
    """One server frame with the length in its shortest form."""
    data = payload.encode() if isinstance(payload, str) else payload
    if len(data) < 126:
        return bytes([first, len(data)]) + data
    if len(data) < 65_536:
        return bytes([first, 126]) + len(data).to_bytes(2, "big") + data
    return bytes([first, 127]) + len(data).to_bytes(8, "big") + data


def ticker(symbol: str = "BTC/USD", **values: object) -> str:
    """A ticker update in Kraken's layout; values go in as the JSON text given."""
    fields = {
        "bid": "83744.2",
        "bid_qty": "0.56251979",
        "ask": "83744.3",
        "ask_qty": "0.00044780",
        "last": "83744.3",
        "volume": "3156.84782110",
        "vwap": "84174.6",
        "low": "83163.6",
        "high": "85247.4",
        "change": "-429.3",
        "change_pct": "-0.51",
        "trades": "135262",
        "timestamp": '"2026-09-25T17:48:26.844359Z"',
    } | values
    inside = ",".join(f'"{name}":{value}' for name, value in fields.items())
    element = f'{{"symbol":{json.dumps(symbol)},{inside}}}'
    return f'{{"channel":"ticker","type":"update","data":[{element}]}}'


def unix_ns(text: str) -> int:
    """RFC 3339 to nanoseconds, by way of datetime for everything but the fraction."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def exact(message: str) -> dict:
    """Plain `json` with every number as Decimal."""
    return json.loads(message, parse_float=Decimal, parse_int=Decimal)


def ticker_row(element: dict) -> tuple:
    """What `ticker_exact` must give, with Decimals, without the elapsed time."""
    numbers = tuple(element.get(name) for name in TICKER_VALUES)
    stamp = element.get("timestamp")
    return (*numbers, element.get("trades"), None if stamp is None else unix_ns(stamp))


def candle_row(element: dict) -> tuple:
    """What `candle_exact` must give up to the number of trades, with Decimals."""
    numbers = tuple(element.get(name) for name in CANDLE_VALUES)
    return (unix_ns(element["interval_begin"]) // 10**9, *numbers, element["trades"])


def as_decimals(row: tuple) -> tuple:
    """An exact row of ours with its texts as Decimals."""
    return tuple(Decimal(value) if isinstance(value, str) else value for value in row)
