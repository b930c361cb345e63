import datetime
import itertools
import json
import threading
from random import Random

import pytest
import wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krakked._core import (
    FrameSplitter,
    FrameTap,
    MarketCache,
    NonceSequence,
    Signer,
    WireEvent,
)


def open_tap(**options):
    cache = MarketCache()
    tap = FrameTap(cache, **options)
    assert tap.receive(wire.REPLY, 1) == wire.REPLY
    return cache, tap


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_chunk(kind):
    cache, tap = open_tap()
    assert tap.receive(kind(wire.frame(wire.ticker())), 7) == b""
    assert wire.values(cache.ticker("BTC/USD"))[:2] == (83744.2, 0.56251979)
    assert cache.updated_ns("BTC/USD") == tap.last_frame_ns == tap.last_data_ns == 7


def test_wrong_types_are_type_errors():
    _, tap = open_tap()
    for wrong in ("text", 7, None, [1]):
        with pytest.raises(TypeError):
            tap.receive(wrong, 1)
    with pytest.raises(TypeError):
        tap.apply_message(7, 1)
    with pytest.raises(OverflowError):
        tap.receive(b"", 2**70)


def test_forwarded_bytes_come_back_unchanged_and_in_order():
    _, tap = open_tap()
    ping, pong = wire.frame(b"a", 0x89), wire.frame(b"b", 0x8A)
    stream = ping + wire.frame(wire.ticker()) + pong + wire.frame(b"\x03\xe8", 0x88)
    rest = wire.frame(wire.ticker())
    assert tap.receive(stream + rest, 1) == ping + pong + wire.frame(b"\x03\xe8", 0x88) + rest
    assert tap.statistics()["tapped"] == 1


def test_a_message_that_came_fragmented_reaches_the_same_cache():
    cache, tap = open_tap()
    text = wire.ticker()
    first, last = wire.frame(text[:50], 0x01), wire.frame(text[50:], 0x80)
    assert tap.receive(first + last, 1) == first + last
    assert cache.ticker("BTC/USD") is None
    tap.apply_message(text, 2)
    assert cache.ticker("BTC/USD").bid == 83744.2


def test_unread_events_and_counters():
    _, tap = open_tap()
    assert not tap.events_pending
    for message in ("garbage", '{"channel":"heartbeat"}', '{"channel":"book","data":[]}'):
        tap.receive(wire.frame(message) * 2, 3)
    tap.apply_message(b"\xff", 4)
    assert tap.events_pending
    assert tap.take_events() == [
        WireEvent.Malformed("not JSON", "garbage"),
        WireEvent.Malformed("not JSON", "garbage"),
        WireEvent.Other("book"),
        WireEvent.Malformed("not UTF-8", "."),
    ]
    assert not tap.events_pending
    assert tap.malformed_in_a_row == 1
    assert tap.statistics() == {
        "frames": 6,
        "messages": 7,
        "bytes": len(wire.REPLY) + 2 * (9 + 25 + 30),
        "tapped": 6,
        "forwarded": 0,
        "tickers": 0,
        "candles": 0,
        "heartbeats": 2,
        "malformed": 3,
        "refused": 0,
        "ignored": 2,
        "late": 0,
        "events_dropped": 0,
    }


def test_samples_are_short_and_printable():
    _, tap = open_tap()
    tap.apply_message("\x1b[31m\r\n\u202e" + "é" * 1000, 1)
    (event,) = tap.take_events()
    sample = event.sample
    assert len(sample) == 200
    assert sample.isascii()
    assert sample.isprintable()


def test_hostile_messages_neither_crash_nor_stop_the_stream():
    cache, tap = open_tap()
    hostile = [
        "[" * 100_000,
        '{"channel":' * 20_000,
        '{"channel":"ticker","data":[' + '{"symbol":"A"},' * 50_000 + '{"symbol":"A"}]}',
        '{"channel":"ticker","data":[{"symbol":"' + "A" * 500_000 + '"}]}',
        '{"channel":"ticker","data":[{"symbol":"A","bid":' + "9" * 500_000 + "}]}",
        '{"channel":"ticker","data":[{"symbol":"A","bid":1e' + "9" * 500_000 + "}]}",
        '{"channel":"ticker","data":[{"symbol":"A","bid":1e-400}]}',
        '{"channel":"ohlc","data":[{"symbol":"A","interval":18446744073709551616}]}',
        '{"' + "\\u0041" * 100_000 + '":1}',
        '{"channel":"ticker","data":[{"symbol":"\\ud800"}]}',
        "\x00" * 1000,
        "",
        "null",
        "-",
        '"',
        "{}",
        '{"channel":null}',
    ]
    for message in hostile:
        assert tap.receive(wire.frame(message), 1) == b""
    assert tap.statistics()["malformed"] == len(hostile) - 1  # the long symbol is only ignored
    assert tap.receive(wire.frame(wire.ticker()), 2) == b""
    assert cache.ticker("BTC/USD").bid == 83744.2
    assert tap.malformed_in_a_row == 0


def test_over_the_cap_is_forwarded():
    cache, tap = open_tap(max_message_bytes=100)
    assert tap.receive(wire.frame(wire.ticker()), 1) == wire.frame(wire.ticker())
    assert tap.receive(wire.frame('{"channel":"heartbeat"}'), 1) == b""
    assert cache.ticker("BTC/USD") is None


def test_the_splitter_gives_texts_and_the_rest():
    splitter = FrameSplitter()
    ping = wire.frame(b"x", 0x89)
    texts, forward = splitter.receive(wire.REPLY + wire.frame("ä") + ping + wire.frame("b"))
    assert (texts, forward) == (["ä", "b"], wire.REPLY + ping)
    assert not splitter.surrendered
    assert splitter.receive(wire.frame(b"\xff")) == ([], wire.frame(b"\xff"))
    assert splitter.surrendered
    assert splitter.receive(wire.frame("c")) == ([], wire.frame("c"))


def test_watchers():
    cache, tap = open_tap()
    watcher = cache.add_watcher()
    tap.receive(wire.frame(wire.ticker("A")) + wire.frame(wire.ticker("B")) * 3, 1)
    assert cache.take_changed(watcher) == (["A", "B"], [])
    assert cache.take_changed(watcher) == ([], [])
    cache.remove_watcher(watcher)
    with pytest.raises(KeyError):
        cache.take_changed(watcher)


def candle(symbol, minute, stamp):
    row = (
        f'{{"symbol":"{symbol}","open":1,"high":1,"low":1,"close":1,"trades":1,"volume":1,'
        f'"interval_begin":"2026-09-25T18:{minute:02}:00Z","interval":1}}'
    )
    stamp = f"2026-09-25T18:{stamp}Z"
    return f'{{"channel":"ohlc","type":"update","timestamp":"{stamp}","data":[{row}]}}'


def test_a_lost_tap_leaves_its_candles_unconfirmed():
    open_s = wire.unix_ns("2026-09-25T18:00:00Z") / 1e9
    for lose in (FrameTap.end, lambda tap: None):
        cache, tap = open_tap()
        tap.apply_message(candle("A", 0, "00:10"), 1)
        lose(tap)
        del tap
        again = FrameTap(cache)
        again.apply_message(candle("B", 5, "05:10"), 2)
        assert cache.close_due(2) == []
        assert cache.take_closed() == []
        again.apply_message(candle("A", 0, "00:10"), 3)
        assert cache.close_due(3) == []
        (closed,) = cache.take_closed()
        assert wire.values(closed) == ("A", 1, open_s, 1, 1, 1, 1, None, 1, 1, "watermark")
        assert cache.candle("A", 1).closed is True
        assert again.lag_ns == (0, 10**9)


def test_what_is_promised_and_mute():
    cache, tap = open_tap()
    cache.want("BTC/USD")
    tap.apply_message(wire.ticker("OTHER"), 1)
    assert cache.ticker("OTHER") is None
    cache.expect_candles("BTC/USD", 1, 1)
    trade = wire.ticker("BTC/USD")
    tap.apply_message(trade, 2)
    tap.apply_message(trade.replace('"last":83744.3', '"last":83744.2'), 3)
    assert cache.take_mute(4) == ([], [])
    assert cache.take_mute(30 * 10**9) == ([], [("BTC/USD", 1)])
    cache.expect_candles("BTC/USD", 1, None)
    cache.expect_ticker("BTC/USD", None)
    assert cache.take_mute(60 * 10**9) == ([], [])
    assert cache.take_doubt("BTC/USD", 1) is None
    assert cache.server_ns(1) is None


NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,10})?", fullmatch=True),
    st.from_regex(r"(0|[1-9][0-9]{0,18})(\.[0-9]{1,9})?", fullmatch=True),
    st.from_regex(r"[0-9]\.[0-9]{1,6}[eE][-+]?[0-9]", fullmatch=True),
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t \r"])
TIMES = st.builds(
    "{:%Y-%m-%dT%H:%M:%S}{}Z".format,
    st.datetimes(
        min_value=datetime.datetime(1971, 1, 1),
        max_value=datetime.datetime(2261, 1, 1),
    ),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True)),
)


@st.composite
def any_layout(draw, fields, top):
    """A message with its keys in any order, white space anywhere, and unknown fields."""
    space = draw(SPACE)
    extra = draw(
        st.dictionaries(
            st.sampled_from(["x", "data2", "é"]), st.sampled_from(["null", "[{}]", '"s"'])
        )
    )
    inside = draw(st.permutations(list((fields | extra).items())))
    join = f"{space},{space}"
    element = "{" + join.join(f"{json.dumps(k)}{space}:{space}{v}" for k, v in inside) + space + "}"
    outside = draw(st.permutations(list((top | {"data": f"[{space}{element}]"}).items())))
    return "{" + join.join(f'"{k}"{space}:{v}' for k, v in outside) + "}"


@st.composite
def any_ticker(draw):
    fields = {
        "symbol": json.dumps(
            draw(st.text(min_size=1, max_size=12)), ensure_ascii=draw(st.booleans())
        )
    }
    for name in wire.TICKER_VALUES:
        value = draw(st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["null", None])))
        if value is not None:
            fields[name] = value
    fields["trades"] = str(draw(st.integers(0, 10**9)))
    fields["timestamp"] = f'"{draw(TIMES)}"'
    return draw(any_layout(fields, {"channel": '"ticker"', "type": '"snapshot"'}))


@st.composite
def any_candle(draw):
    interval = draw(st.sampled_from([1, 5, 15, 30, 60, 240, 1440, 10080, 21600]))
    begin = draw(st.integers(0, 10**8 // interval)) * 60 * interval
    stamp = datetime.datetime.fromtimestamp(begin, datetime.UTC)
    fields = {name: draw(NUMBERS) for name in wire.CANDLE_VALUES}
    fields |= {
        "symbol": '"BTC/USD"',
        "trades": str(draw(st.integers(1, 10**9))),
        "interval": str(interval),
        "interval_begin": f'"{stamp:%Y-%m-%dT%H:%M:%S}.000000000Z"',
        "timestamp": '"whatever"',
    }
    return draw(any_layout(fields, {"channel": '"ohlc"', "type": '"update"'}))


def check_ticker(message):
    cache, tap = open_tap()
    assert tap.receive(wire.frame(message), 5) == b""
    assert tap.statistics()["malformed"] == 0, message
    (element,) = wire.exact(message)["data"]
    (plain,) = json.loads(message)["data"]
    row = wire.values(cache.ticker_exact(element["symbol"]))
    assert wire.as_decimals(row) == (*wire.ticker_row(element), 5)
    floats = tuple(None if (it := plain.get(k)) is None else float(it) for k in wire.TICKER_VALUES)
    assert wire.values(cache.ticker(element["symbol"]))[:11] == floats
    for name, text in zip(wire.TICKER_VALUES, row, strict=False):
        sent = element.get(name)
        if sent is not None and sent.as_tuple().exponent <= 0:
            assert text == f"{sent:f}"


def check_candle(message):
    cache, tap = open_tap()
    assert tap.receive(wire.frame(message), 5) == b""
    assert tap.statistics()["malformed"] == 0, message
    (element,) = wire.exact(message)["data"]
    row = wire.values(cache.candle_exact("BTC/USD", int(element["interval"])))
    assert wire.as_decimals(row) == (*wire.candle_row(element), False, 5)


RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(RELAXED, max_examples=40)
@given(any_ticker(), any_candle())
def test_decoding_equals_plain_json(ticker, candle):
    check_ticker(ticker)
    check_candle(candle)


@pytest.mark.slow
@settings(RELAXED, max_examples=600)
@given(any_ticker(), any_candle())
def test_decoding_equals_plain_json_at_length(ticker, candle):
    check_ticker(ticker)
    check_candle(candle)


SEEDS = (
    wire.ticker(),
    '{"channel":"status","type":"update","data":[{"system":"online","connection_id":18125794168470749634}]}',
    '{"method":"subscribe","result":{"channel":"ohlc","interval":1,"symbol":"A/B","warnings":["w"]},"success":true,"req_id":7}',
    '{"error":"Currency pair not supported X","method":"subscribe","success":false,"symbol":"X"}',
    '{"channel":"heartbeat"}',
)


SPLICES = (b"null", b"\\u0000", b'"', b"[" * 40, b"1e999", b"9" * 40, b"\xff", b"}", b",")


def mutated(seed, random):
    """A message of Kraken's with one to four edits anywhere."""
    data = bytearray(seed.encode())
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        match random.randrange(4):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del data[at : at + random.randint(1, 8)]
            case 2:
                data[at:at] = random.choice(SPLICES)
            case 3:
                data[at:at] = data[at : at + random.randint(1, 40)]
    return bytes(data)


BEFORE, AFTER = wire.frame(wire.ticker("BEFORE")), wire.frame(wire.ticker("AFTER"))


def check_mutated(seed, random):
    """The good frames around a bad one either reach the cache or are handed on."""
    cache, tap = open_tap()
    wild = wire.frame(mutated(seed, random))
    stream = BEFORE + wild + AFTER
    cut = random.randrange(len(stream))
    forward = tap.receive(stream[:cut], 1) + tap.receive(stream[cut:], 1)
    assert cache.updated_ns("BEFORE") == 1
    if forward:
        assert forward == wild + AFTER
    else:
        assert cache.updated_ns("AFTER") == 1
    tap.take_events()
    assert tap.statistics()["malformed"] <= 1


@settings(RELAXED, max_examples=20)
@given(st.sampled_from(SEEDS), st.integers(0, 2**64))
def test_mutated_frames(message, seed):
    random = Random(seed)
    for _ in range(100):
        check_mutated(message, random)


@pytest.mark.slow
@settings(RELAXED, max_examples=1_000)
@given(st.sampled_from(SEEDS), st.integers(0, 2**64))
def test_a_million_mutated_frames(message, seed):
    random = Random(seed)
    for _ in range(1_000):
        check_mutated(message, random)


def hammer(rounds):
    cache = MarketCache()
    sequence, signer = NonceSequence(), Signer("A" * 88)
    shared = FrameTap(cache)
    shared.receive(wire.REPLY, 1)
    chunk = b"".join(wire.frame(wire.ticker(f"S{number}")) for number in range(20))
    nonces, failures = [[] for _ in range(8)], []

    def work(number):
        try:
            own = FrameTap(cache)
            own.receive(wire.REPLY, 1)
            watcher = cache.add_watcher()
            for step in range(rounds):
                nonces[number].append(sequence.next(step))
                own.receive(chunk, step)
                shared.receive(chunk, step)
                cache.ticker("S1")
                cache.take_changed(watcher)
                shared.take_events()
                cache.close_due(step)
                signer.sign("/0/private/Balance", step, b"nonce=1")
            own.end()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    together = list(itertools.chain.from_iterable(nonces))
    assert len(set(together)) == 8 * rounds
    assert all(given == sorted(given) for given in nonces)
    assert shared.statistics()["tickers"] == 8 * rounds * 20
    assert cache.ticker("S1").bid == 83744.2


def test_eight_threads():
    hammer(100)


@pytest.mark.slow
def test_eight_threads_at_length():
    hammer(3_000)
