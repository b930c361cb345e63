"""Typed endpoints: shapes, odd shapes, and recorded replies where they are at hand."""

from __future__ import annotations

import json

import httpx
import pytest

from krakked._errors import ServiceError
from krakked._rest.models import parse_api_key_info


def body(text: str | bytes) -> httpx.Response:
    return httpx.Response(200, content=text, headers={"content-type": "application/json"})


async def test_time_and_status(autojump_clock, server, open_client) -> None:
    server.script = [
        body('{"error":[],"result":{"unixtime":1790000000,"rfc1123":"x"}}'),
        body('{"error":[],"result":{"status":"post_only","timestamp":"t","more":1}}'),
    ]
    async with open_client() as client:
        assert (await client.time()).unixtime == 1790000000
        assert (await client.system_status()).status == "post_only"


@pytest.mark.parametrize(
    "unixtime", [0, -1, 10, 1_293_839_999, 4_102_444_800, 1_790_000_000_000, 10**12, 10**30]
)
async def test_a_time_that_can_be_none_is_refused_and_teaches_nothing(
    autojump_clock, server, open_client, unixtime
) -> None:
    server.script = [body(f'{{"error":[],"result":{{"unixtime":{unixtime}}}}}')]
    async with open_client() as client:
        before_ns = client.server_wall_ns()
        with pytest.raises(ServiceError, match="Time is not readable"):
            await client.time()
        assert abs(client.server_wall_ns() - before_ns) < 60 * 10**9
        assert client.reachability().clock_ahead_s is None


async def test_pairs_may_lack_everything_but_the_name(autojump_clock, server, open_client) -> None:
    server.script = [
        body('{"error":[],"result":{"AUSD":{"altname":"AUSD"},"B":{"altname":"B","new":[{}]}}}')
    ]
    async with open_client() as client:
        pairs = await client.asset_pairs()
    assert pairs["AUSD"].status == ""
    assert pairs["AUSD"].leverage_buy == ()
    assert list(pairs) == ["AUSD", "B"]


async def test_ohlc_finds_its_pair_whatever_its_name(autojump_clock, server, open_client) -> None:
    server.script = [
        body(
            '{"error":[],"result":{"XXBTZUSD":[[60,"1.0","2.0","0.5","1.5","1.2","3.00",7],'
            '[120,"1","1","1","1","0.0","0",0]],"last":60}}'
        )
    ]
    async with open_client() as client:
        reply = await client.ohlc("XBTUSD", 1, since_s=0)
    assert [(row.time, row.close, row.vwap, row.volume, row.count) for row in reply.rows] == [
        (60, "1.5", "1.2", "3.00", 7),
        (120, "1", "0.0", "0", 0),
    ]
    assert reply.last == 60
    assert dict(server.requests[0].url.params) == {"pair": "XBTUSD", "interval": "1", "since": "0"}


@pytest.mark.parametrize("call", ["ohlc", "trades", "trades_bytes"])
@pytest.mark.parametrize(
    ("key", "refused"), [("XXBTZUSD", False), ("NEWNAME", False), ("XETHZUSD", True)]
)
async def test_an_answer_about_another_pair_is_refused(
    autojump_clock, server, open_client, call, key, refused
) -> None:
    names = {"XBTUSD": "XBTUSD", "XXBTZUSD": "XBTUSD", "XETHZUSD": "ETHUSD"}
    rows = '[60,"1","1","1","1","1","1",1]' if call == "ohlc" else '["1","2",5.25,"b","m","",9]'
    reply = f'{{"error":[],"result":{{"{key}":[{rows}],"last":"60"}}}}'
    server.script = [body(reply), body(reply)]
    async with open_client() as client:
        ask = getattr(client, call)
        await ask("XBTUSD", 1)  # who knows no pairs can't tell
        client.know_pairs(names.get)
        if refused:
            with pytest.raises(
                ServiceError, match="asked for XBTUSD, it is about ETHUSD"
            ) as caught:
                await ask("XBTUSD", 1)
            assert caught.value.code == "unreadable answer"
        else:
            assert await ask("XBTUSD", 1)


async def test_trades_read_text_last_and_old_rows(autojump_clock, server, open_client) -> None:
    server.script = [
        body(
            '{"error":[],"result":{"P":[["1.0","2",5.25,"b","m","",9],["1","2",6.5,"s","l",""]],'
            '"last":"1790359841138228746"}}'
        )
    ]
    async with open_client() as client:
        reply = await client.trades("P", 0)
    assert [(row.side, row.trade_id) for row in reply.rows] == [("b", 9), ("s", None)]
    assert reply.last_ns == 1790359841138228746


@pytest.mark.parametrize(
    "result",
    [
        '{"last":60}',
        '{"A":[],"B":[],"last":60}',
        '{"A":[]}',
        '{"A":[],"last":"x"}',
        '{"A":5,"last":60}',
        '{"A":[[1,2]],"last":60}',
        "[]",
        "null",
        '"x"',
    ],
)
async def test_unexpected_shapes_are_service_errors(
    autojump_clock, server, open_client, result
) -> None:
    server.answer = lambda _: body(f'{{"error":[],"result":{result}}}')
    async with open_client() as client:
        with pytest.raises(ServiceError) as caught:
            await client.ohlc("A", 1)
    assert caught.value.code == "unreadable answer"
    assert caught.value.__cause__ is None


async def test_ticker_of_all_and_of_some(autojump_clock, server, open_client) -> None:
    server.answer = lambda _: body(
        '{"error":[],"result":{"X":{"a":["1","1","1.0"],"b":["1","1","1"],"c":["1","2"],'
        '"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":"1"}}}'
    )
    async with open_client() as client:
        assert (await client.ticker())["X"].t == (1, 2)
        await client.ticker(["A", "B"])
    assert server.requests[0].url.query == b""
    assert server.requests[1].url.params["pair"] == "A,B"


async def test_token_is_never_shown(autojump_clock, server, open_client) -> None:
    server.script = [body('{"error":[],"result":{"token":"s3cr3t","expires":900}}')]
    async with open_client() as client:
        token = await client.websockets_token()
    assert token.token == "s3cr3t"
    assert "s3cr3t" not in repr(token)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "apiKeyName": "bot",
            "apiKey": "k",
            "nonceWindow": 15,
            "permissions": ["query-funds"],
            "validUntil": "1800000000",
            "queryFrom": "0",
            "ipAllowlist": ["1.2.3.4"],
            "lastUsed": None,
        },
        {
            "api_key_name": "bot",
            "api_key": "k",
            "nonce_window": "15",
            "permissions": ["query-funds"],
            "valid_until": 1800000000,
            "query_from": "",
            "ip_allowlist": ["1.2.3.4"],
        },
    ],
)
def test_api_key_info_in_both_spellings(fields) -> None:
    info = parse_api_key_info(fields)
    assert (info.name, info.nonce_window, info.permissions) == ("bot", 15, ("query-funds",))
    assert (info.valid_until_s, info.query_from_s, info.last_used) == (1800000000, None, None)
    assert info.ip_allowlist == ("1.2.3.4",)
    assert "apiKey" not in repr(info)


async def test_recorded_replies_decode_to_their_values(
    autojump_clock, server, open_client, recorded
) -> None:
    def material(name: str) -> tuple[httpx.Response, dict]:
        text = recorded(name).read_bytes()
        return body(text), json.loads(text)["result"]

    async with open_client() as client:
        reply, plain = material("rest_ohlc_1m")
        server.script = [reply]
        ohlc = await client.ohlc("XBTUSDT", 1)
        rows = [
            [r.time, r.open, r.high, r.low, r.close, r.vwap, r.volume, r.count] for r in ohlc.rows
        ]
        assert {"XBTUSDT": rows, "last": ohlc.last} == plain
        reply, plain = material("rest_trades")
        server.script = [reply]
        trades = await client.trades("XBTUSDT", 0)
        assert [
            [r.price, r.volume, r.time, r.side, r.order_type, r.misc, r.trade_id]
            for r in trades.rows
        ] == plain["XBTUSDT"]
        assert str(trades.last_ns) == plain["last"]
        reply, plain = material("rest_ticker")
        server.script = [reply]
        for key, info in (await client.ticker(["XBTUSDT"])).items():
            assert list(info.a) == plain[key]["a"]
            assert list(info.t) == plain[key]["t"]
            assert info.o == plain[key]["o"]
        reply, plain = material("rest_asset_pairs")
        server.script = [reply]
        for key, pair in (await client.asset_pairs()).items():
            for field in pair.__struct_fields__:
                told = plain[key].get(field)
                value = getattr(pair, field)
                assert told is None or told == (list(value) if isinstance(value, tuple) else value)
        reply, plain = material("rest_time")
        server.script = [reply]
        assert (await client.time()).unixtime == plain["unixtime"]
        reply, plain = material("rest_system_status")
        server.script = [reply]
        assert (await client.system_status()).status == plain["status"]
