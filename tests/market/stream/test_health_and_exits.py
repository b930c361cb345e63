"""What the health report says of the stream, what it survives of its own side, and how it ends."""

from __future__ import annotations

import gc
import logging
import threading
from inspect import isawaitable
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest
import trio
from tests.market.stream.hostile import HostileNetwork, VirtualClock, acked, answering, upgrade

import krakked
from krakked._config.settings import WebSocketSettings
from krakked._errors import NoDataYetError, NotLiveError, SubscriptionRefusedError
from krakked._market.changes import CandleClosed
from krakked._market.status import Freshness, Verdict, judge_pair
from krakked._market.stream.feed import Feed
from krakked._market.stream.statistics import ConnectionState
from krakked._rest.signing import Credentials
from krakked.sandbox import Exchange, SandboxSettings, open_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.market.stream.conftest import OpenStage
    from trio.testing import MockClock


def settings(tmp_path: Path, exchange: Exchange | None = None) -> krakked.KrakkedConfig:
    rest, ws = {}, {}
    if exchange is not None:
        rest, ws = {"base_url": exchange.rest_url}, {"url": exchange.ws_url}
    return krakked.KrakkedConfig(
        config_dir=str(tmp_path),
        rest=krakked.RestSettings(**rest),
        market_data=krakked.MarketDataSettings(
            ws=krakked.WebSocketSettings(timeframes=("1m",), **ws),
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(tmp_path / "ohlc")),
        ),
    )


# --- health ---


async def test_nonce_limiter_and_announced_maintenance_are_in_the_report(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=60)) as exchange:
        signer = krakked.Signer(exchange.secret)
        credentials = Credentials(exchange.key, signer, source="test")
        async with krakked.open_kraken(
            settings(tmp_path),
            credentials,
            pairs=["XBTUSD"],
            network=exchange.network,
            clock=exchange.clock,
        ) as kraken:
            await kraken.wait_live()
            before = kraken.get_data_status().nonce
            assert before is not None
            assert (before.last, before.ahead_s, before.shared) == (None, None, True)
            await kraken.rest.balance()
            status = kraken.get_data_status()
            assert status.nonce is not None
            assert status.nonce.last is not None
            assert status.nonce.ahead_s == pytest.approx(0.0, abs=1.0)
            assert status.limiter.private_counter is not None
            assert (status.verdict, status.next_action) == (Verdict.OK, "Nothing to do.")
            exchange.clock.step_wall(-3600.0)
            stepped = kraken.get_data_status().nonce
            assert stepped is not None
            assert stepped.ahead_s == pytest.approx(3600.0, abs=2.0)
            notice = {
                "event_id": 7,
                "title": "Engine upgrade",
                "affected_services": ["spot_ws", "spot_trading"],
                "recommended_action": "stop_new_orders",
                "expected_start_utc": "2026-11-17T14:00:00Z",
                "expected_end_utc": "2026-11-17T14:10:00Z",
            }
            exchange.faults.announce_maintenance(notice)
            exchange.faults.announce_maintenance({"affected_services": ["futures_trading"]})
            await trio.sleep(1)
            status = kraken.get_data_status()
            (announced,) = status.maintenance
            assert (announced.event_id, announced.starts_s) == (7, 1_794_924_000)
            assert status.reasons == (
                'Kraken announces maintenance "Engine upgrade" of spot_ws, spot_trading from '
                "2026-11-17 14:00 to 2026-11-17 14:10 UTC; it advises to place no new orders.",
            )
            assert status.verdict is Verdict.OK  # announced, not here yet
            exchange.faults.announce_emergency(
                {"title": "Futures", "affected_services": ["futures_ws"]}
            )
            await trio.sleep(1)
            assert kraken.get_data_status().verdict is Verdict.OK
            exchange.faults.announce_emergency(
                {"title": "Delayed prices", "impact": "partial", "affected_services": ["spot_ws"]}
            )
            await trio.sleep(1)
            status = kraken.get_data_status()
            assert status.verdict is Verdict.DEGRADED
            assert status.reasons[0] == 'Kraken reports an emergency "Delayed prices" (partial).'
            assert "status.kraken.com" in status.next_action
            exchange.faults.withdraw_notices()
            await trio.sleep(1)
            status = kraken.get_data_status()
            assert (status.verdict, status.maintenance, status.emergencies) == (Verdict.OK, (), ())
            assert exchange.key not in repr(status)


async def test_after_a_sleep_no_pair_counts_as_live(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage() as s:
        assert judge_pair(s.feed.statistics().pairs["XBTUSD"], 60.0).freshness is Freshness.LIVE
        s.exchange.clock.suspend(30.0)
        pair = s.feed.statistics().pairs["XBTUSD"]
        assert pair.slept
        assert judge_pair(pair, 60.0).freshness is Freshness.STALE
        await trio.sleep(10)
        assert judge_pair(s.feed.statistics().pairs["XBTUSD"], 60.0).freshness is Freshness.LIVE


async def test_every_refused_pair_is_named_in_the_log_however_many(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "krakked.stream")

    def before(exchange: Exchange) -> None:
        chosen.extend(exchange.truth.symbols()[:20])
        exchange.faults.refuse_symbols(chosen)

    chosen: list[str] = []
    async with stage(pairs=[], timeframes=("1m",), wait=False, before=before) as s:
        names = [s.exchange.truth.pair(symbol).altname for symbol in chosen]
        s.feed.add_pairs([*names, *(p for p in ("XBTUSD",) if p not in names)])
        with pytest.raises(NotLiveError) as group:
            await s.feed.wait_live(None, 10)
        assert all(isinstance(e, SubscriptionRefusedError) for e in group.value.errors)
        assert {getattr(e, "pair", None) for e in group.value.errors} == set(
            names
        )  # every one of them
        await trio.sleep(2)
        said = [r.getMessage() for r in caplog.records if r.name == "krakked.stream"]
        assert sum(" refused: " in line for line in said) <= 7  # rate-limited
        (summary,) = [line for line in said if "20 refused" in line or "40 refused" in line]
        assert all(f" {symbol}" in summary for symbol in chosen)


async def test_pairs_added_while_running_are_logged_when_answered(
    stage: OpenStage, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "krakked.stream")
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        await trio.sleep(2)
        caplog.clear()
        s.feed.add_pairs(["ETHUSD"])
        await trio.sleep(2)
        said = [r.getMessage() for r in caplog.records]
        assert said == ["[1m] subscribed: 5 acknowledged, 0 refused"]


async def test_wait_live_waits_for_the_others_when_one_is_refused(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    def before(exchange: Exchange) -> None:
        exchange.faults.refuse_symbols(["ETH/USD"])
        exchange.faults.mute(["SOL/USD"], ["ticker"])

    async with stage(timeframes=("1m",), before=before, wait=False) as s:
        with pytest.raises(NotLiveError) as group:
            await s.feed.wait_live(None, 5)
        found = {getattr(e, "pair", None): type(e) for e in group.value.errors}
        assert found == {"ETHUSD": SubscriptionRefusedError, "SOLUSD": NoDataYetError}
        s.reads.get_latest_price("XBTUSD")


# --- what happens on our own side ---


async def test_candles_that_could_not_be_written_come_again(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD", "ETHUSD"], timeframes=("1m",)) as s:
        written: list[CandleClosed] = []
        failing: list[Exception] = [OSError(28, "No space left"), ZeroDivisionError("a bug")]

        async def on_closed(batch: list[CandleClosed]) -> None:
            if failing:
                raise failing.pop(0)
            written.extend(batch)

        feed = Feed(
            WebSocketSettings(url=s.exchange.ws_url, timeframes=("1m",)),
            network=s.exchange.network,
            clock=s.exchange.clock,
            table=lambda: s.table,
            on_closed=on_closed,
            pairs=["XBTUSD", "ETHUSD"],
        )
        heard: list[CandleClosed] = []

        async def listen() -> None:
            async for change in feed.changes(kinds=["candle_closed"]):
                heard.append(change)

        s.nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await s.nursery.start(feed.run)
        await trio.sleep(65)
        assert feed.statistics().last_journal_error is not None
        await trio.sleep(240)
        facts = feed.statistics()
        assert (facts.journal_errors, facts.last_journal_error) == (2, None)
        assert len(written) == len(set(written)) == facts.closed_candles
        assert {c.bar for c in written} == {c.bar for c in heard}


async def test_candles_being_written_when_the_end_comes_are_written(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    written: list[CandleClosed] = []
    started = trio.Event()

    async def slow(batch: list[CandleClosed]) -> None:
        started.set()
        await trio.sleep(2)
        written.extend(batch)

    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        feed = Feed(
            WebSocketSettings(url=s.exchange.ws_url, timeframes=("1m",)),
            network=s.exchange.network,
            clock=s.exchange.clock,
            table=lambda: s.table,
            on_closed=slow,
            pairs=["XBTUSD"],
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(feed.run)
            await started.wait()
            nursery.cancel_scope.cancel()
        assert len(written) == feed.statistics().closed_candles > 0


async def test_a_server_that_never_greets_is_used_all_the_same(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        network = HostileNetwork(answering(acked, opening=upgrade), Random(1), nursery)
        async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=60)) as exchange:
            config = krakked.UniverseSettings(margin_eligible=krakked.MarginEligible.INCLUDE)
            async with krakked._rest.client.RestClient(
                krakked.RestSettings(), network=exchange.network, clock=exchange.clock
            ) as rest:
                reply = await rest.asset_pairs_bytes()
            table = krakked.build_universe(reply, settings=config).table
        feed = Feed(
            WebSocketSettings(timeframes=("1m", "5m")),
            network=network,
            clock=VirtualClock(),
            table=lambda: table,
            pairs=["XBTUSD"],
        )
        await nursery.start(feed.run)
        await trio.sleep(15)
        facts = feed.statistics()
        assert [c.state for c in facts.connections] == [ConnectionState.CONNECTED] * 2
        assert facts.pairs["XBTUSD"].state == "acknowledged"
        await trio.sleep(15)  # its silence is noticed as well
        assert "mute" in (feed.statistics().connections[0].last_disconnect or "")
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_hand_made_choice_outlives_a_refresh_of_the_universe(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with (
        open_sandbox(memory=True, settings=SandboxSettings(pair_count=60)) as exchange,
        krakked.open_kraken(
            settings(tmp_path), network=exchange.network, clock=exchange.clock
        ) as kraken,
    ):
        universe = kraken.get_universe()
        outside = next(p for p in kraken.universe.table.by_canonical if p not in universe)
        dropped, delisted = universe[0], universe[1]
        kraken.feed.add_pairs([outside])
        kraken.feed.remove_pairs([dropped])
        exchange.faults.delist(delisted)
        changes = kraken.changes(kinds=["feed"])
        change = await kraken.refresh_universe()
        assert delisted in change.delisted
        told = [await anext(changes)]
        while told[-1] != change:  # connections and pairs are told there, too
            told.append(await anext(changes))
        assert not await kraken.refresh_universe()
        assert set(kraken.feed.pairs) == {*universe, outside} - {dropped, delisted}


@pytest.mark.slow
async def test_an_outage_longer_than_rest_reaches_back_is_owned_up_to(
    stage: OpenStage, autojump_clock: MockClock
) -> None:
    async with stage(pairs=["XBTUSD"], timeframes=("1m",)) as s:
        await trio.sleep(100)
        s.exchange.faults.refuse_connects()
        await s.exchange.faults.cut()
        await trio.sleep(13 * 3600)
        s.exchange.faults.allow_connects()
        await trio.sleep(120)
        assert s.feed.statistics().unfilled_holes == 1
        assert s.feed.statistics().open_holes == 0
        times = [c.bar.time for c in s.closed]
        assert times == sorted(set(times))
        assert len(times) > 600


@pytest.mark.slow
@pytest.mark.parametrize("rate_errors", [0, 8])
async def test_the_universe_over_three_timeframes_takes_three_connects(
    stage: OpenStage, autojump_clock: MockClock, rate_errors: int
) -> None:
    def before(exchange: Exchange) -> None:
        exchange.faults.message_rate_error(rate_errors)

    how = {"pairs": [], "timeframes": ("1m", "5m", "1h"), "settings": SandboxSettings()}
    async with stage(**how, wait=False, before=before) as s:
        s.feed.set_pairs([s.exchange.truth.pair(x).altname for x in s.exchange.truth.symbols()])
        await s.feed.wait_live(None, 30)
        await trio.sleep(2)  # reference data comes after prices
        facts = s.feed.statistics()
        assert sum(c.acknowledged for c in facts.connections) == 592 * 4 + 1
        assert (s.exchange.ws_connects, facts.reconnects) == (3, 0)


# --- the end ---


@pytest.mark.parametrize(
    "fault",
    [
        "refuse_connects",
        pytest.param("half_open", marks=pytest.mark.slow),
        pytest.param("accept_then_drop", marks=pytest.mark.slow),
        pytest.param("cut", marks=pytest.mark.slow),
    ],
)
async def test_cancelled_at_any_moment_of_a_reconnect_nothing_is_left(
    stage: OpenStage, autojump_clock: MockClock, fault: str
) -> None:
    def count() -> int:
        gc.collect()
        return trio.lowlevel.current_statistics().tasks_living

    before = count()
    for pause_s in (0.0, 0.01, 1.1, 40.0):
        async with stage(timeframes=("1m", "5m"), pairs=["XBTUSD"]) as s:
            listener = s.feed.changes()
            await trio.sleep(1)
            found = getattr(s.exchange.faults, fault)()
            if isawaitable(found):
                await found
            if fault in {"refuse_connects", "accept_then_drop"}:
                await s.exchange.faults.cut()
            with trio.move_on_after(pause_s):
                async for _ in listener:
                    pass
            listener.close()
        assert count() == before, pause_s


@pytest.mark.slow
@pytest.mark.parametrize("reconnecting", [False, True])
async def test_leaving_open_kraken_leaves_no_socket_or_thread(
    tmp_path: Path, reconnecting: bool
) -> None:
    process = psutil.Process()
    async with open_sandbox(settings=SandboxSettings(pair_count=60)) as exchange:
        config = settings(tmp_path, exchange)
        served = {urlsplit(url).port for url in (exchange.rest_url, exchange.ws_url)}

        def ours() -> list[object]:
            return [c for c in process.net_connections() if c.raddr and c.raddr.port in served]

        threads: list[int] = []
        for _ in range(5):
            with trio.move_on_after(10):
                async with krakked.open_kraken(config, pairs=["XBTUSD", "ETHUSD"]) as kraken:
                    await kraken.wait_live()
                    assert len(ours()) >= 2
                    if reconnecting:
                        exchange.faults.refuse_connects()
                        await exchange.faults.cut()
                        await trio.sleep(0.05)
            assert ours() == []
            exchange.faults.allow_connects()
            threads.append(threading.active_count())
        # trio keeps a worker thread or two for later; what leaks, leaks at every round
        assert threads[-1] <= threads[0] + 2
