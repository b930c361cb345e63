"""One health report out of the facts of every room. Pure: it asks nothing and reads no clock."""

from collections.abc import Collection
from enum import StrEnum

import msgspec

from krakked._market.stream.notices import Emergency, Maintenance
from krakked._market.stream.requests import SubscriptionState
from krakked._market.stream.statistics import (
    ConnectionState,
    ConnectionStatus,
    FeedStatistics,
    PairStream,
)
from krakked._market.stream.wait_live import spent_words
from krakked._public import public
from krakked._rest.health import LimiterStatus, NonceStatus, RestStatus
from krakked._timeframes import Timeframe

_STORE_ACTION = (
    "Give this user the right to write there, or name another directory: "
    "market_data.ohlc_store.root_dir."
)
NAMES_SHOWN = 5
"""How many pairs a reason spells out."""


@public
class Verdict(StrEnum):
    """The overall state."""

    OK = "ok"
    """All that is wanted works."""
    DEGRADED = "degraded"
    """Part of it does not; `reasons` says which."""
    DOWN = "down"
    """Nothing fresh can be had."""


@public
class Freshness(StrEnum):
    """How far one pair's ticker may be trusted."""

    LIVE = "live"
    """A ticker within the tolerance."""
    QUIET = "quiet"
    """Older than the tolerance on a healthy subscription: nobody traded or quoted."""
    LATE = "late"
    """It comes, but was made longer ago than the tolerance, by its own time."""
    MUTE = "mute"
    """Acknowledged, but the exchange sends nothing."""
    STALE = "stale"
    """Older than the tolerance while the connection is down, or from before the machine slept."""
    REFUSED = "refused"
    """The exchange refused the subscription."""
    WAITING = "waiting"
    """Nothing has arrived yet."""


@public
class PairFreshness(msgspec.Struct, frozen=True, kw_only=True):
    """One streamed pair."""

    freshness: Freshness
    """How far it may be trusted."""
    age_s: float | None
    """Seconds since the newest ticker was made, as far as its own time tells, else since it came;
    None before the first."""
    reason: str | None
    """The exchange's text when refused, or the pair's status when not ``online``."""
    refused_timeframes: tuple[Timeframe, ...] = ()
    """Timeframes whose candles were refused."""
    mute_timeframes: tuple[Timeframe, ...] = ()
    """Timeframes whose candles do not come although acknowledged."""
    retry_after_s: float | None = None
    """Seconds until what was refused is asked for again; None when the reason lasts."""


@public
class DataStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The health of everything, at one moment."""

    verdict: Verdict
    """All of it in one word."""
    reasons: tuple[str, ...]
    """Why the verdict is not ``ok``, the gravest first; notes may follow an ``ok``."""
    next_action: str
    """The next sensible step, in plain words."""
    rest_reachable: bool | None
    """Whether the last REST call reached Kraken; None before the first."""
    rest_last_error: str | None
    """What the last failing call met; None when the last one succeeded."""
    ws_connected: bool
    """Whether every wanted connection is up; False without a live stream."""
    connections: tuple[ConnectionStatus, ...]
    """Each connection of the stream."""
    pairs_with_recent_ticker: int
    """Streamed pairs whose ticker is within the tolerance."""
    pairs_streamed: int
    """Pairs that are wanted live."""
    pairs: dict[str, PairFreshness]
    """Each streamed pair, by canonical name."""
    reconnects: int
    """Connections after the first, all lines together."""
    frames: int
    """Application frames received."""
    received_bytes: int
    """Bytes received on the stream."""
    last_frame_age_s: float | None
    """Seconds since the newest frame of any connection."""
    connect_attempts: int
    """Connection attempts in the last 10 minutes (krakked allows itself 60)."""
    closed_candles: int
    """Closed live candles given out."""
    corrected_candles: int
    """Closed live candles that were corrected afterwards."""
    candle_lag_s: float | None
    """Worst delay of candle rows in the last ten minutes, of any connection; None = not known."""
    unfilled_holes: int
    """Outages whose candles could not be fetched over REST."""
    journal_error: str | None
    """Why the last closed candles could not be written, or None."""
    store_error: str | None
    """Why no candle can be stored, or None: the directory is read-only, or another user's."""
    system: str | None
    """Exchange system status: ``online``, ``maintenance``, ``cancel_only``, ``post_only``, ..."""
    maintenance: tuple[Maintenance, ...]
    """Coming maintenance that concerns spot markets, as announced on the stream."""
    emergencies: tuple[Emergency, ...]
    """Trouble on spot markets that the exchange reports of itself."""
    limiter: LimiterStatus
    """How REST calls are held back: spacing, the private counter, lock-out, who waits."""
    nonce: NonceStatus | None
    """The nonces of the key in use; None without credentials."""
    clock_ahead_s: float | None
    """How far this machine's clock is ahead of Kraken's; None = not measured."""
    universe_pairs: int
    """How many pairs the universe holds."""
    universe_age_s: float | None
    """Seconds since Kraken gave the universe in force."""
    universe_from_copy: bool
    """Whether it is the last good copy, because Kraken could not be asked."""


def assemble_status(
    *,
    rest: RestStatus,
    feed: FeedStatistics | None,
    universe_pairs: Collection[str],
    universe_age_s: float | None,
    universe_from_copy: bool,
    stale_after_s: float,
    store_error: str | None = None,
) -> DataStatus:
    """Put the report together.

    Args:
        rest: Facts of the REST room.
        feed: Facts of the stream; None when there is none.
        universe_pairs: Canonical names in force.
        universe_age_s: Age of the universe in seconds.
        universe_from_copy: Whether it comes from the last good copy.
        stale_after_s: Tolerance of the live reads, in seconds.
        store_error: Why no candle can be stored, or None.
    """
    streams = feed.pairs if feed is not None else {}
    pairs = {name: judge_pair(stream, stale_after_s) for name, stream in streams.items()}
    connections = feed.connections if feed is not None else ()
    ws_connected = bool(connections) and all(
        c.state is ConnectionState.CONNECTED for c in connections
    )
    fresh = sum(1 for pair in pairs.values() if pair.freshness is Freshness.LIVE)
    findings = _findings(rest, feed, pairs, universe_from_copy, universe_age_s)
    if store_error is not None:
        findings.append((f"No candle can be stored: {store_error}.", _STORE_ACTION))
    notes = _notes(feed)
    live_is_down = feed is not None and bool(pairs) and not ws_connected and fresh == 0
    rest_is_down = rest.reachable is False
    if rest_is_down and (feed is None or live_is_down):
        verdict = Verdict.DOWN
    elif findings:
        verdict = Verdict.DEGRADED
    else:
        verdict = Verdict.OK
    return DataStatus(
        verdict=verdict,
        reasons=tuple(reason for reason, _ in [*findings, *notes]),
        next_action=next((action for _, action in [*findings, *notes]), "Nothing to do."),
        rest_reachable=rest.reachable,
        rest_last_error=rest.last_error,
        ws_connected=ws_connected,
        connections=connections,
        pairs_with_recent_ticker=fresh,
        pairs_streamed=len(pairs),
        pairs=pairs,
        reconnects=feed.reconnects if feed is not None else 0,
        frames=feed.frames if feed is not None else 0,
        received_bytes=feed.received_bytes if feed is not None else 0,
        last_frame_age_s=feed.last_frame_age_s if feed is not None else None,
        connect_attempts=feed.connect_attempts if feed is not None else 0,
        closed_candles=feed.closed_candles if feed is not None else 0,
        corrected_candles=feed.corrected_candles if feed is not None else 0,
        candle_lag_s=max((c.lag_s for c in connections if c.lag_s is not None), default=None),
        unfilled_holes=feed.unfilled_holes if feed is not None else 0,
        journal_error=feed.last_journal_error if feed is not None else None,
        store_error=store_error,
        system=feed.system if feed is not None else None,
        maintenance=feed.notices.maintenance if feed is not None else (),
        emergencies=feed.notices.emergencies if feed is not None else (),
        limiter=rest.limiter,
        nonce=rest.nonce,
        clock_ahead_s=rest.clock_ahead_s,
        universe_pairs=len(universe_pairs),
        universe_age_s=universe_age_s,
        universe_from_copy=universe_from_copy,
    )


def judge_pair(stream: PairStream, stale_after_s: float) -> PairFreshness:
    """Say how far a pair's ticker may be trusted."""
    if stream.state is SubscriptionState.REFUSED:
        freshness = Freshness.REFUSED
    elif stream.age_s is not None and stream.age_s <= stale_after_s and not stream.slept:
        freshness = Freshness.LIVE
    elif stream.state is SubscriptionState.MUTE:
        freshness = Freshness.MUTE
    elif stream.age_s is None:
        freshness = Freshness.WAITING
    elif stream.age_s - stream.late_s <= stale_after_s and not stream.slept:
        freshness = Freshness.LATE
    elif stream.connected and not stream.slept:
        freshness = Freshness.QUIET
    else:
        freshness = Freshness.STALE
    return PairFreshness(
        freshness=freshness,
        age_s=stream.age_s,
        reason=stream.reason,
        refused_timeframes=stream.refused_timeframes,
        mute_timeframes=stream.mute_timeframes,
        retry_after_s=stream.retry_after_s,
    )


def _findings(
    rest: RestStatus,
    feed: FeedStatistics | None,
    pairs: dict[str, PairFreshness],
    universe_from_copy: bool,
    universe_age_s: float | None,
) -> list[tuple[str, str]]:
    """Return what is wrong and what to do about it, the gravest first."""
    found: list[tuple[str, str]] = []
    if rest.limiter.lockout_left_s > 0:
        found.append(
            (
                f"Kraken has locked private calls out for {rest.limiter.lockout_left_s:.0f} s.",
                "Wait, then check the API key: krakked setup.",
            )
        )
    if rest.reachable is False:
        found.append(
            (
                f"REST cannot be reached: {rest.last_error}",
                "Check the network; krakked keeps trying.",
            )
        )
    if feed is not None:
        found += _feed_findings(feed, pairs)
    if universe_from_copy:
        hours = (universe_age_s or 0.0) / 3600
        found.append(
            (
                f"The universe is a copy {hours:.1f} hours old.",
                "await refresh_universe() when Kraken is back.",
            )
        )
    return found


def _notes(feed: FeedStatistics | None) -> list[tuple[str, str]]:
    """Return what one should know although nothing is wrong."""
    announced = feed.notices.maintenance if feed is not None else ()
    return [
        (each.sentence(), "See status.kraken.com; krakked reconnects by itself afterwards.")
        for each in announced
    ]


def _down_findings(feed: FeedStatistics) -> list[tuple[str, str]]:
    down = [c for c in feed.connections if c.state is not ConnectionState.CONNECTED]
    if not down:
        return []
    wait_s = max((c.budget_wait_s for c in down if c.budget_wait_s is not None), default=None)
    if wait_s is not None:
        names = ", ".join(c.name for c in down)
        action = "Wait: krakked connects by itself. One program that stays beats many short ones."
        return [(f"Not connected: {names}: {spent_words(wait_s)}.", action)]
    what = ", ".join(f"{c.name} ({c.last_disconnect or c.state})" for c in down)
    return [(f"Not connected: {what}.", "Wait: krakked reconnects by itself.")]


def _feed_findings(feed: FeedStatistics, pairs: dict[str, PairFreshness]) -> list[tuple[str, str]]:
    found = [
        (each.sentence(), "See status.kraken.com; prices may be wrong or stand still.")
        for each in feed.notices.emergencies
    ]
    found += _down_findings(feed)
    if feed.system not in (None, "online"):
        found.append(
            (f"Kraken says: {feed.system}.", "See status.kraken.com; prices may stand still.")
        )
    again = "Wait: krakked asks again in a while."
    for lasting, action in ((True, "Take them off the list of pairs."), (False, again)):
        refused = [
            name
            for name, pair in pairs.items()
            if pair.freshness is Freshness.REFUSED and (pair.retry_after_s is None) is lasting
        ]
        if refused:
            word = "refused" if lasting else "refused for now"
            found.append((f"{_listed(refused)} {word} by Kraken.", action))
    words = {
        Freshness.MUTE: (
            "acknowledged but silent",
            "Wait: krakked subscribes again; compare with REST when it lasts.",
        ),
        Freshness.LATE: (
            "come too late to count as fresh",
            "Compare with another network: Kraken's stream or the way to here is behind.",
        ),
        Freshness.STALE: ("stale", "Wait: krakked reconnects by itself."),
        Freshness.WAITING: ("without data so far", "Wait a few seconds: await wait_live()."),
    }
    for freshness, (text, action) in words.items():
        names = [name for name, pair in pairs.items() if pair.freshness is freshness]
        if names:
            found.append((f"{_listed(names)} {text}.", action))
    if pairs and all(pair.freshness is Freshness.QUIET for pair in pairs.values()):
        ages = [pair.age_s for pair in pairs.values() if pair.age_s is not None]
        found.append(
            (
                f"{_listed(list(pairs))} quiet: the newest ticker of all is {min(ages):.0f} s old, "
                "and live reads raise.",
                "Wait for a trade or a quote; where none is rare, raise "
                "market_data.ws.stale_tolerance_seconds.",
            )
        )
    silent = [name for name, pair in pairs.items() if pair.mute_timeframes]
    if silent:
        found.append(
            (
                f"{_listed(silent)}: candles do not come.",
                "Wait: krakked subscribes again and takes them from REST meanwhile.",
            )
        )
    refused = [name for name, pair in pairs.items() if pair.refused_timeframes]
    if refused:
        lasts = all(pairs[name].retry_after_s is None for name in refused)
        found.append(
            (
                f"{_listed(refused)}: candles refused by Kraken.",
                "Take them off the list." if lasts else again,
            )
        )
    for task, error in feed.task_errors.items():
        found.append(
            (f"{task.capitalize()} failed and began again: {error}", "Report it with the log.")
        )
    if feed.last_journal_error is not None:
        found.append(
            (
                f"Closed candles cannot be written: {feed.last_journal_error}",
                "Free disk space or mend the store's directory.",
            )
        )
    if feed.unfilled_holes:
        found.append(
            (
                f"{feed.unfilled_holes} outages could not be filled over REST.",
                "krakked store repair, once REST answers.",
            )
        )
    return found


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{len(names)} pairs ({shown}{f' and {more} more' if more > 0 else ''})"
