"""Every frame, written by us or recorded, decodes to the values that plain `json` gives."""

import json
from decimal import Decimal

import pytest
import wire

from krakked._core import FrameTap, MarketCache, WireEvent

FILES = ("ws_v2_mixed", "ws_v2_ticker_ohlc", "ws_v2_ohlc_btcusdt")


def expected_event(message):
    """The event of a message that is neither ticker nor candle."""
    if message.get("channel") == "heartbeat":
        return None
    if message.get("channel") == "status":
        told = message["data"][0]
        return WireEvent.Status(told["system"], told.get("connection_id"), "")
    if "method" not in message:
        return WireEvent.Other(message["channel"])
    if not message["success"]:
        names = ("method", "channel", "symbol", "interval", "req_id", "error")
        return WireEvent.Refused(*(message.get(name) for name in names))
    result = message["result"]
    return WireEvent.Subscribed(
        result["channel"],
        result.get("symbol"),
        result.get("interval"),
        message.get("req_id"),
        result.get("warnings", []),
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["tapped", "sliced", "library"])
def test_every_frame_decodes_to_what_json_says(recorded, name, how):
    lines = recorded(name).read_text().splitlines()
    assert len(lines) > 5
    for line in lines:
        check_frame(line, how)


def check_frame(line, how):
    cache = MarketCache()
    tap = FrameTap(cache)
    tap.receive(wire.REPLY, 1)
    if how == "tapped":
        assert tap.receive(wire.frame(line), 5) == b""
    elif how == "sliced":
        assert b"".join(tap.receive(bytes([byte]), 5) for byte in wire.frame(line)) == b""
    else:
        tap.apply_message(line, 5)
    message = json.loads(line)
    exact = wire.exact(line)
    events = tap.take_events()
    assert tap.statistics()["malformed"] == 0
    if message.get("channel") == "ticker":
        (element,) = exact["data"]
        row = wire.values(cache.ticker_exact(element["symbol"]))
        assert wire.as_decimals(row) == (*wire.ticker_row(element), 5)
        floats = wire.values(cache.ticker(element["symbol"]))
        plain = message["data"][0]
        assert floats[:11] == tuple(plain[name] for name in wire.TICKER_VALUES)
        assert floats[11] == plain["trades"]
        snapshot = message["type"] == "snapshot"
        assert events == ([WireEvent.TickerSnapshot(element["symbol"])] if snapshot else [])
    elif message.get("channel") == "ohlc":
        rows = exact["data"]
        last = rows[-1]
        row = wire.values(cache.candle_exact(last["symbol"], int(last["interval"])))
        assert wire.as_decimals(row) == (*wire.candle_row(last), False, 5)
        closed = [wire.values(it) for it in cache.take_closed()]
        assert [it[2] for it in closed] == [wire.candle_row(it)[0] for it in rows[:-1]]
        for ours, element in zip(closed, message["data"][:-1], strict=True):
            assert ours[3:] == (
                *tuple(element[name] for name in wire.CANDLE_VALUES),
                element["trades"],
                "snapshot",
            )
        span = (closed[0][2] if closed else row[0], row[0])
        kinds = (
            [WireEvent.OhlcSnapshot(last["symbol"], 1, *span, wire.unix_ns(message["timestamp"]))]
            if message["type"] == "snapshot"
            else []
        )
        assert events == kinds
    elif (expected := expected_event(message)) is None:
        assert events == []
    elif isinstance(expected, WireEvent.Status):
        (event,) = events
        assert isinstance(event, WireEvent.Status)
        assert (event.system, event.connection_id) == (expected.system, expected.connection_id)
        assert json.loads(event.raw_json) == message["data"][0]
    else:
        assert events == [expected]


def test_an_update_older_than_the_snapshot_moves_nothing_back(recorded):
    snapshot, late = recorded("ws_v2_ohlc_btcusdt").read_text().splitlines()[-2:]
    assert (json.loads(snapshot)["type"], json.loads(late)["type"]) == ("snapshot", "update")
    cache = MarketCache()
    tap = FrameTap(cache)
    tap.receive(wire.REPLY + wire.frame(snapshot) + wire.frame(late), 5)
    newest = wire.exact(snapshot)["data"][-1]
    row = wire.values(cache.candle_exact("BTC/USDT", 1))
    assert wire.as_decimals(row)[:8] == wire.candle_row(newest)
    assert tap.statistics()["late"] == 1


@pytest.mark.parametrize("name", FILES[:2])
def test_digits_are_kept_as_sent(recorded, name):
    cache = MarketCache()
    tap = FrameTap(cache)
    for line in recorded(name).read_text().splitlines():
        if line.startswith('{"channel":"ticker"'):
            tap.apply_message(line, 5)
            row = wire.values(cache.ticker_exact("BTC/USD"))
            for field, text in zip(wire.TICKER_VALUES, row, strict=False):
                assert f'"{field}":{text}' in line
                assert Decimal(text) == wire.exact(line)["data"][0][field]
