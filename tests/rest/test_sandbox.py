"""The client against the strict exchange of the sandbox, in memory and over sockets."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from krakked._config.settings import RestSettings
from krakked._core import Signer
from krakked._errors import AuthError, LockoutError, RequestError
from krakked._rest.client import RestClient
from krakked._rest.signing import Credentials
from krakked.sandbox import SandboxSettings, open_sandbox

WORKER = Path(__file__).with_name("balance_worker.py")


def client_of(exchange, *, key: str | None = None, **settings: object) -> RestClient:
    return RestClient(
        RestSettings(base_url=exchange.rest_url, **settings),
        network=exchange.network,
        clock=exchange.clock,
        credentials=Credentials(key or exchange.key, Signer(exchange.secret), source="test"),
    )


async def test_the_typed_endpoints_against_the_sandbox(autojump_clock) -> None:
    async with open_sandbox(memory=True) as exchange, client_of(exchange) as client:
        told = await client.time()
        assert abs(client.server_wall_ns() / 1e9 - told.unixtime) < 3
        assert (await client.system_status()).status == "online"
        pairs = await client.asset_pairs()
        assert pairs["XXBTZUSD"].altname == "XBTUSD"
        tickers = await client.ticker(["XBTUSD", "ETHUSD"])
        assert set(tickers) == {"XXBTZUSD", "XETHZUSD"}
        ohlc = await client.ohlc("XBTUSD", 1)
        assert len(ohlc.rows) == 721
        trades = await client.trades("XBTUSD", 0, 10)
        assert len(trades.rows) == 10
        more = await client.trades("XBTUSD", trades.last_ns, 10)
        assert more.rows[-1].trade_id > trades.rows[-1].trade_id
        assert "ZUSD" in await client.balance()
        assert "ZUSD" in await client.balance_ex()
        assert "query-funds" in (await client.api_key_info()).permissions
        assert (await client.websockets_token()).token
        with pytest.raises(RequestError):
            await client.ohlc("XBTUSD", 7)
        assert exchange.rest_refusals == {"EGeneral:Invalid arguments": 1}
        status = client.reachability()
        assert status.reachable
        assert status.clock_ahead_s == 0


async def test_json_bodies_and_a_second_factor_are_accepted(autojump_clock) -> None:
    async with open_sandbox(memory=True) as exchange:
        exchange.key, exchange.secret = exchange.add_key(otp="123456")
        async with client_of(exchange) as client:
            assert await client.private("Balance", otp="123456", json=True)
            with pytest.raises(AuthError):
                await client.private("Balance", otp="654321")


async def test_nothing_is_refused_in_fifteen_minutes_of_asking_all_the_time(autojump_clock) -> None:
    """Public and private calls, all the time, against the sandbox's counters."""
    async with open_sandbox(memory=True) as exchange, client_of(exchange) as client:
        calls = 0
        with trio.move_on_after(900):
            async with trio.open_nursery() as nursery:

                async def ask(call) -> None:
                    nonlocal calls
                    while True:
                        await call()
                        calls += 1

                nursery.start_soon(ask, client.system_status)
                nursery.start_soon(ask, client.time)
                nursery.start_soon(ask, client.balance)
                nursery.start_soon(ask, partial(client.private, "Ledgers"))
        assert exchange.rest_refusals == {}
        assert exchange.rest_calls["SystemStatus"] + exchange.rest_calls["Time"] >= 0.99 * 900
        cost = exchange.rest_calls["Balance"] + 4 * exchange.rest_calls["Ledgers"]
        assert cost >= 0.95 * (15 + 0.33 * 900)


async def test_a_wrong_key_never_leads_to_a_lockout(autojump_clock) -> None:
    async with open_sandbox(memory=True) as exchange:
        wrong = "Wr0ngKey" * 7
        async with client_of(exchange, key=wrong) as client:
            for _ in range(60):
                with pytest.raises(AuthError):
                    await client.balance()
                await trio.sleep(1)
        assert exchange.rest_calls["Balance"] < 8
        assert "EGeneral:Temporary lockout" not in exchange.rest_refusals


async def test_a_lockout_by_others_is_obeyed(autojump_clock) -> None:
    settings = SandboxSettings(invalid_keys_before_lockout=1)
    async with open_sandbox(memory=True, settings=settings) as exchange:
        async with client_of(exchange, key="Wr0ngKey" * 7) as wrong:
            with pytest.raises(AuthError):
                await wrong.balance()
        async with client_of(exchange) as client:
            for _ in range(10):
                with pytest.raises(LockoutError):
                    await client.balance()
            assert exchange.rest_refusals["EGeneral:Temporary lockout"] == 1
            await trio.sleep(901)
            assert await client.balance()


async def run_two_processes(
    state_dir: Path, settings: SandboxSettings, counter: tuple[float, float], calls: int
) -> tuple[dict[str, int], dict[str, int], float]:
    async with open_sandbox(settings=settings) as exchange:
        begin = time.monotonic()

        async def child() -> None:
            done = await trio.run_process(
                [
                    sys.executable,
                    str(WORKER),
                    exchange.rest_url,
                    str(state_dir),
                    *map(str, counter),
                    str(calls // 2),
                ],
                stdin=f"{exchange.key}\n{exchange.secret}".encode(),
                capture_stdout=True,
            )
            assert done.stdout.strip() == str(calls // 2).encode()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)
        return exchange.rest_calls, exchange.rest_refusals, time.monotonic() - begin


@pytest.mark.slow
async def test_two_processes_on_one_key_2000_calls_without_counter(tmp_path) -> None:
    calls, refusals, seconds = await run_two_processes(
        tmp_path, SandboxSettings(limits=False), (1000.0, 100.0), 2000
    )
    print(f"{calls} in {seconds:.1f} s, refusals: {refusals}")
    assert calls == {"Balance": 2000}
    assert refusals == {}


@pytest.mark.slow
async def test_two_processes_on_one_key_60_calls_with_counter(tmp_path) -> None:
    """The largest tier, because these seconds are real: 20 units at once, then one a second."""
    calls, refusals, seconds = await run_two_processes(
        tmp_path, SandboxSettings(tier="pro"), (20.0, 1.0), 60
    )
    print(f"{calls} in {seconds:.1f} s, refusals: {refusals}")
    assert calls == {"Balance": 60}
    assert refusals == {}
