"""The health report: facts in, one verdict with reasons and the next step out."""

from __future__ import annotations

import msgspec
import pytest

from krakked._market.status import DataStatus, Freshness, Verdict, assemble_status, judge_pair
from krakked._market.stream.notices import Notices
from krakked._market.stream.requests import SubscriptionState
from krakked._market.stream.statistics import (
    ConnectionState,
    ConnectionStatus,
    FeedStatistics,
    PairStream,
)
from krakked._rest.health import LimiterStatus, RestStatus

REST = RestStatus(
    reachable=True,
    last_error=None,
    last_ok_age_s=0.5,
    clock_ahead_s=0.0,
    warnings=(),
    limiter=LimiterStatus(
        public_spacing_s=1.0,
        private_counter=None,
        lockout_left_s=0.0,
        retry_budget=500,
        waiting=(),
    ),
)
LINE = ConnectionStatus(
    name="1m",
    state=ConnectionState.CONNECTED,
    connects=1,
    last_disconnect=None,
    frames=10,
    received_bytes=1000,
    malformed=0,
    last_frame_age_s=0.1,
    subscriptions=2,
    acknowledged=2,
    mute=0,
)
LIVE = PairStream(state=SubscriptionState.LIVE, reason=None, age_s=0.2)
FEED = FeedStatistics(
    connections=(LINE,),
    pairs={"XBTUSD": LIVE},
    system="online",
    notices=Notices(),
    reconnects=0,
    connect_attempts=1,
    frames=10,
    received_bytes=1000,
    last_frame_age_s=0.1,
    closed_candles=0,
    open_holes=0,
    unfilled_holes=0,
    journal_errors=0,
    last_journal_error=None,
    resumes=0,
)


def report(
    rest: RestStatus = REST, feed: FeedStatistics | None = FEED, *, from_copy: bool = False
) -> DataStatus:
    return assemble_status(
        rest=rest,
        feed=feed,
        universe_pairs=("XBTUSD",),
        universe_age_s=7200.0,
        universe_from_copy=from_copy,
        stale_after_s=60.0,
    )


def test_all_well() -> None:
    status = report()
    assert status.verdict is Verdict.OK
    assert status.reasons == ()
    assert status.ws_connected
    assert status.pairs_with_recent_ticker == 1


def test_late_is_not_live_and_quiet_everywhere_is_not_well() -> None:
    late = msgspec.structs.replace(LIVE, age_s=61.0, late_s=60.0)
    status = report(feed=msgspec.structs.replace(FEED, pairs={"XBTUSD": late}))
    assert status.pairs["XBTUSD"].freshness is Freshness.LATE
    assert (status.verdict, status.pairs_with_recent_ticker) == (Verdict.DEGRADED, 0)
    assert "1 pairs (XBTUSD) come too late" in status.reasons[0]
    quiet = msgspec.structs.replace(LIVE, age_s=90.0)
    both = report(feed=msgspec.structs.replace(FEED, pairs={"XBTUSD": quiet, "ETHUSD": LIVE}))
    assert both.verdict is Verdict.OK
    alone = report(feed=msgspec.structs.replace(FEED, pairs={"XBTUSD": quiet}))
    assert alone.verdict is Verdict.DEGRADED
    assert "live reads raise" in alone.reasons[0]


def test_without_a_stream_rest_alone_decides() -> None:
    assert report(feed=None).verdict is Verdict.OK
    assert not report(feed=None).ws_connected
    lost = msgspec.structs.replace(REST, reachable=False, last_error="no route")
    assert report(lost, None).verdict is Verdict.DOWN
    assert "no route" in report(lost, None).reasons[0]


@pytest.mark.parametrize(
    ("stream", "freshness"),
    [
        (LIVE, Freshness.LIVE),
        (PairStream(state=SubscriptionState.LIVE, reason=None, age_s=61.0), Freshness.QUIET),
        (
            PairStream(state=SubscriptionState.LIVE, reason=None, age_s=61.0, connected=False),
            Freshness.STALE,
        ),
        (
            PairStream(state=SubscriptionState.WANTED, reason=None, age_s=1.0, connected=False),
            Freshness.LIVE,
        ),
        (PairStream(state=SubscriptionState.MUTE, reason=None, age_s=None), Freshness.MUTE),
        (PairStream(state=SubscriptionState.REFUSED, reason="no", age_s=1.0), Freshness.REFUSED),
        (PairStream(state=SubscriptionState.WANTED, reason=None, age_s=None), Freshness.WAITING),
    ],
)
def test_each_pair_has_its_own_freshness(stream: PairStream, freshness: Freshness) -> None:
    assert judge_pair(stream, 60.0).freshness is freshness


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": "maintenance"}, "maintenance"),
        ({"last_journal_error": "disk full"}, "disk full"),
        ({"unfilled_holes": 2}, "2 outages"),
        (
            {
                "pairs": {
                    "XBTUSD": LIVE,
                    "ETHUSD": PairStream(
                        state=SubscriptionState.REFUSED, reason="not supported", age_s=None
                    ),
                }
            },
            "ETHUSD",
        ),
        (
            {"connections": (msgspec.structs.replace(LINE, state=ConnectionState.WAITING),)},
            "Not connected: 1m",
        ),
        (
            {"pairs": {"XBTUSD": msgspec.structs.replace(LIVE, mute_timeframes=("5m",))}},
            "candles do not come",
        ),
    ],
)
def test_each_trouble_degrades_and_is_named(changes: dict[str, object], words: str) -> None:
    status = report(feed=msgspec.structs.replace(FEED, **changes))
    assert status.verdict is Verdict.DEGRADED
    assert words in " ".join(status.reasons)
    assert status.next_action != "Nothing to do."


def test_a_quiet_market_is_no_trouble() -> None:
    quiet = PairStream(state=SubscriptionState.LIVE, reason=None, age_s=4000.0)
    status = report(feed=msgspec.structs.replace(FEED, pairs={"XBTUSD": LIVE, "DULLUSD": quiet}))
    assert status.verdict is Verdict.OK
    assert status.pairs_with_recent_ticker == 1
    assert status.pairs["DULLUSD"].freshness is Freshness.QUIET


def test_a_lockout_and_an_old_universe_are_told() -> None:
    locked = msgspec.structs.replace(
        REST, limiter=msgspec.structs.replace(REST.limiter, lockout_left_s=600.0)
    )
    status = report(locked, from_copy=True)
    assert status.verdict is Verdict.DEGRADED
    assert "600 s" in status.reasons[0]
    assert "2.0 hours" in status.reasons[-1]


def test_a_store_that_cannot_be_written_is_told_with_its_path() -> None:
    status = assemble_status(
        rest=REST,
        feed=FEED,
        universe_pairs=("XBTUSD",),
        universe_age_s=1.0,
        universe_from_copy=False,
        stale_after_s=60.0,
        store_error="/srv/candles cannot be written by this user, or is mounted read-only",
    )
    assert status.verdict is Verdict.DEGRADED
    assert status.reasons == (f"No candle can be stored: {status.store_error}.",)
    assert "root_dir" in status.next_action
