"""Closed candles on demand: from the store, topped up over REST, and for years back over Trades.

A thin shell around `plan` (what is missing and what it costs), `tail` (one OHLC call) and `deep`
(the walk over the trades). Everything it returns is closed and ordered oldest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from krakked._errors import (
    ApiError,
    BackfillTooLargeError,
    NetworkError,
    StoreError,
    UnknownPairError,
)
from krakked._market.arguments import one_or_many, path_of
from krakked._market.history.archive_import import import_series
from krakked._market.history.plan import (
    MAX_CALLS,
    OHLC_BYTES,
    PAGE_BYTES,
    PAGE_ROWS,
    BackfillOrigin,
    BackfillPlan,
    PlanStep,
    confirmed_ranges,
    known_ranges,
    missing_ranges,
    ohlc_since,
    pages_of,
    reach_start,
    unsettled_ranges,
)
from krakked._market.history.progress import BackfillProgress, Pause, ProgressCallback
from krakked._market.history.reader import OHLCReader
from krakked._market.history.report import BackfillFailure, BackfillReport, Job
from krakked._market.history.trades_backfill import (
    NS,
    SETTLE_NS,
    MissingRange,
    TapeWalk,
    Target,
    count_trades,
)
from krakked._market.store.arrow import times
from krakked._market.store.coverage import CoverageRange, Gap, GapKind, Range, intersect, union
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.times import Time, unix_seconds
from krakked._network.clock import run_blocking
from krakked._timeframes import TRADE_TIMEFRAMES

_ROUNDS: Final = 3
"""A long walk lets the tail fall behind; so often the rest is looked at again."""

_TOO_LONG: Final = (
    f"It would take more than {MAX_CALLS:,} calls. Pass allow_long=True, or import Kraken's OHLCVT "
    "archive (krakked import)."
)

_LOST_IN_A_ROW: Final = 3
"""Pairs in a row that fail before a job over many pairs stops."""


class History(OHLCReader):
    """Closed candles of any pair: reading, planning, back-filling, repairing."""

    # --- planning ------------------------------------------------------------------------------

    async def plan_backfill(
        self, pair: str, timeframe: str, since: Time | None = None, *, force: bool = False
    ) -> BackfillPlan:
        """Say what `backfill_ohlc` would do; see `Kraken.plan_backfill`."""
        target = await self._listed(pair, timeframe)
        plan, _calls = await self._plan(target, since, force=force)
        return plan

    async def _plan(
        self, target: Target, since: Time | None, *, force: bool
    ) -> tuple[BackfillPlan, int]:
        now_s = await self._tail.server_now_s()
        step_s = target.step_s
        reach_s = reach_start(now_s, step_s)
        coverage = await self._coverage(target)
        known = [] if force else known_ranges(coverage, now_s, step_s)
        vain = await self._unavailable(target) if since is None and not force else ()
        asked = union([*known, *vain])
        since_s = await self._first_wanted(target, since, asked, now_s, force=force)
        steps = [
            PlanStep(origin=BackfillOrigin.STORED, start_s=a, end_s=b)
            for a, b in intersect(known, (since_s, int(now_s)))
        ]
        calls = 0
        left_out: list[Range] = []
        missing = missing_ranges(asked, since_s, now_s, step_s)
        for start_s, end_s in reversed(missing):
            if end_s > reach_s:
                start = max(start_s, reach_s)
                step = PlanStep(
                    origin=BackfillOrigin.OHLC,
                    start_s=start,
                    end_s=end_s,
                    calls=1,
                    bytes=OHLC_BYTES,
                )
                # One call gives all 720, so several stretches within reach cost one.
                known_step = next((s for s in steps if s.origin is BackfillOrigin.OHLC), None)
                steps.append(step if known_step is None else _free(step))
            if start_s >= reach_s or not _from_trades(target):
                continue
            end = min(end_s, reach_s)
            # Continuing from the last bar may be long, and that is said; an old hole may not.
            old_hole = since is None and (start_s, end_s) != missing[-1]
            spent = calls + sum(step.calls for step in steps)
            if old_hole and spent >= MAX_CALLS:
                left_out.append((start_s, end))
                continue
            trades, counting = await count_trades(self._rest, target, start_s, end)
            calls += counting
            step = PlanStep(
                origin=BackfillOrigin.TRADES,
                start_s=start_s,
                end_s=end,
                calls=pages_of(trades),
                trades=trades,
                bytes=max(1, trades) * PAGE_BYTES // PAGE_ROWS,
            )
            if old_hole and spent + counting + step.calls > MAX_CALLS:
                left_out.append((start_s, end))
            else:
                steps.append(step)
        spacing_s = self._rest.reachability().limiter.public_spacing_s
        plan = BackfillPlan(
            pair=target.pair,
            timeframe=target.timeframe,
            since_s=since_s,
            until_s=int(now_s),
            steps=tuple(sorted(steps, key=lambda step: step.start_s)),
            minutes=sum(step.calls for step in steps) * spacing_s / 60,
            left_out=tuple(reversed(left_out)),
        )
        return plan, calls

    async def _first_wanted(
        self,
        target: Target,
        since: Time | None,
        asked: Sequence[Range],
        now_s: float,
        *,
        force: bool,
    ) -> int:
        """Return the open time to begin at; `asked` need not be asked for again."""
        step_s = target.step_s
        if since is not None:
            return -(-unix_seconds(since, "since", now_s=now_s) // step_s) * step_s
        reach_s = reach_start(now_s, step_s)
        first_s, last_s = await run_blocking(self._clock, self._stored_span, target, int(now_s))
        if first_s is None or last_s is None or force:
            return reach_s
        if not _from_trades(target):
            first_s = max(first_s, reach_s)
        holes = missing_ranges(asked, first_s, now_s, step_s)
        return holes[0][0] if holes else last_s

    def _stored_span(self, target: Target, now_s: int) -> tuple[int | None, int | None]:
        """Return the open times of the oldest and the newest stored bar before now."""
        key = (target.pair, target.timeframe)
        first_s = self._store.first_stored(*key)
        newest = times(self._store.get_columns(*key, lookback=1, until=now_s))
        return (None, None) if first_s is None or not newest else (first_s, newest[-1])

    async def _unavailable(self, target: Target) -> tuple[Range, ...]:
        """Return what was asked for in vain, which is not asked for again unless told."""
        return await run_blocking(
            self._clock, self._store.unavailable, target.pair, target.timeframe
        )

    async def _coverage(self, target: Target) -> tuple[CoverageRange, ...]:
        return await run_blocking(self._clock, self._store.coverage, target.pair, target.timeframe)

    # --- back-filling --------------------------------------------------------------------------

    async def backfill_ohlc(
        self,
        pair: str,
        timeframe: str,
        since: Time | None = None,
        *,
        allow_long: bool = False,
        force: bool = False,
        progress: ProgressCallback | None = None,
        pause: Pause | None = None,
        archive: str | Path | None = None,
    ) -> BackfillReport:
        """Put closed candles into the store; see `Kraken.backfill_ohlc`."""
        target = await self._listed(pair, timeframe)
        began = trio.current_time()
        bars, refused = 0, self._tail.refused
        if archive is not None:
            bars += await self._import(target, path_of(archive, "archive"))
        plan, planned = await self._plan(target, since, force=force)
        if plan.calls > MAX_CALLS and not allow_long:
            raise BackfillTooLargeError(
                f"{plan.text()} That is more than {MAX_CALLS:,} calls. Pass allow_long=True, take "
                "a later `since`, or import Kraken's OHLCVT archive (krakked import).",
                plan=plan,
            )
        job = Job(target, plan, progress, pause or Pause(), force=force)
        job.calls, job.bars = planned, bars
        if allow_long:
            plan = msgspec.structs.replace(plan, left_out=())
        job.settled += plan.left_out
        if since is None and not force:
            job.settled += await self._unavailable(target)
        missing: list[MissingRange] = []
        for _ in range(_ROUNDS):
            if not await self._round(job, plan.since_s, missing):
                break
        if missing:
            await run_blocking(
                self._clock,
                self._store.mark_unavailable,
                *(target.pair, timeframe, [(gap.start_s, gap.end_s) for gap in missing]),
            )
        missing += [
            MissingRange(start_s=start_s, end_s=end_s, why=_TOO_LONG)
            for start_s, end_s in plan.left_out
        ]
        now_s = await self._tail.server_now_s()
        covered = confirmed_ranges(await self._coverage(target))
        return BackfillReport(
            pair=target.pair,
            timeframe=timeframe,
            bars=job.bars,
            calls=job.calls,
            trades=job.trades,
            covered=tuple(intersect(covered, (plan.since_s, int(now_s)))),
            missing=tuple(missing),
            refused=self._tail.refused - refused,
            elapsed_s=trio.current_time() - began,
        )

    async def _import(self, target: Target, archive: Path) -> int:
        store = self._store
        if not isinstance(store, OHLCStore):  # which files are done is kept beside its candles
            raise StoreError("An archive is imported into an OHLCStore; this is another store.")
        now_s = await self._tail.server_now_s()
        return await run_blocking(
            self._clock,
            lambda: import_series(
                store,
                archive,
                *(target.pair, target.timeframe),
                canonical=self._canonical,
                now_s=now_s,
            ),
        )

    def _canonical(self, name: str) -> str | None:
        try:
            return self._table().resolve(name)
        except UnknownPairError:
            return None

    async def _round(self, job: Job, since_s: int, missing: list[MissingRange]) -> bool:
        """Fetch what is missing: the tail first, so that it is there while the tape is read."""
        target, step_s = job.target, job.target.step_s
        now_s = await self._tail.server_now_s()
        coverage = await self._coverage(target)
        known = known_ranges(coverage, now_s, step_s)
        wanted = self._wanted(job, known, since_s, now_s)
        if not wanted:
            return False
        reach_s = reach_start(now_s, step_s)
        oldest_in_reach = next((r for r in wanted if r[1] > reach_s), None)
        if oldest_in_reach is not None:
            await job.pause.passage()
            # What may have been revised comes along: the call is made anyway.
            unsettled = intersect(unsettled_ranges(coverage), (reach_s, int(now_s)))
            start_s = min(start for start, _ in [oldest_in_reach, *unsettled])
            since = None if start_s <= reach_s else ohlc_since(start_s, step_s)
            closed, stored = await self._tail.fetch(target, since)
            job.calls, job.bars = job.calls + 1, job.bars + stored
            job.settled += closed.covered
            job.tell()
        walked = False
        known = confirmed_ranges(await self._coverage(target))
        # Trades need a while until none of before can come any more.
        traded_s = now_s - SETTLE_NS / NS
        for start_s, end_s in self._wanted(job, known, since_s, traded_s):
            end_s = end_s // step_s * step_s  # noqa: PLW2901 - whole candles only
            if not _from_trades(target):
                why = "OHLC has no older ones, and weekly candles are not built from trades."
                missing.append(MissingRange(start_s=start_s, end_s=end_s, why=why))
                job.settled.append((start_s, end_s))
                continue
            walk = TapeWalk(self._rest, self._store, self._clock, target, (start_s, end_s))
            result = await walk.run(job.pause.passage, job.watch())
            missing += result.missing
            job.settled.append((start_s, end_s))
            walked = True
        return walked

    @staticmethod
    def _wanted(job: Job, known: Sequence[Range], since_s: int, now_s: float) -> list[Range]:
        """Return what is not known and was not walked over in this job."""
        settled = job.settled if job.force else [*known, *job.settled]
        return missing_ranges(union(settled), since_s, now_s, job.target.step_s)

    async def backfill_pairs(
        self,
        pairs: Iterable[str],
        timeframe: str,
        *,
        force: bool = False,
        progress: ProgressCallback | None = None,
        pause: Pause | None = None,
    ) -> tuple[list[BackfillReport], list[BackfillFailure]]:
        """Bring many pairs up to date in one timeframe; see `Kraken.backfill_pairs`."""
        targets = [await self._listed(pair, timeframe) for pair in one_or_many(pairs)]
        pause = pause or Pause()
        began = trio.current_time()
        reports: list[BackfillReport] = []
        failures: list[BackfillFailure] = []
        lost = 0
        for done, target in enumerate(targets, start=1):
            await pause.passage()
            try:
                reports.append(await self.backfill_ohlc(target.pair, timeframe, force=force))
                lost = 0
            except (NetworkError, ApiError, BackfillTooLargeError) as error:
                lost = lost + 1 if isinstance(error, NetworkError) else 0
                failures.append(BackfillFailure(pair=target.pair, error=error))
                if lost >= _LOST_IN_A_ROW:
                    raise
            if progress is not None:
                elapsed_s = trio.current_time() - began
                progress(
                    BackfillProgress(
                        pair=target.pair,
                        timeframe=timeframe,
                        calls=done,
                        calls_expected=len(targets),
                        bars=sum(report.bars for report in reports),
                        fraction=done / len(targets),
                        eta_s=elapsed_s / done * (len(targets) - done),
                    )
                )
        return reports, failures

    # --- repairing -----------------------------------------------------------------------------

    async def repair(
        self,
        pair: str,
        timeframe: str,
        *,
        allow_long: bool = False,
        force: bool = False,
        progress: ProgressCallback | None = None,
    ) -> BackfillReport:
        """Fetch what is missing; see `Kraken.repair`."""
        target = await self._stored(pair, timeframe)
        holes = [g for g in await self.gaps(pair, timeframe) if g.kind is GapKind.MISSING]
        if not target.listed:
            return await self._nothing_fetched(target, holes)
        since_s = holes[0].start_s if holes else None
        report = await self.backfill_ohlc(
            target.pair, timeframe, since_s, allow_long=allow_long, force=force, progress=progress
        )
        told = {(m.start_s, m.end_s) for m in report.missing}
        left = [
            MissingRange(start_s=gap.start_s, end_s=gap.end_s, why="Kraken has no such candles.")
            for gap in await self.gaps(pair, timeframe)
            if gap.kind is GapKind.MISSING and (gap.start_s, gap.end_s) not in told
        ]
        return msgspec.structs.replace(report, missing=(*report.missing, *left))

    async def _nothing_fetched(self, target: Target, holes: Sequence[Gap]) -> BackfillReport:
        why = f"Kraken lists {target.pair} no more."
        return BackfillReport(
            pair=target.pair,
            timeframe=target.timeframe,
            bars=0,
            calls=0,
            trades=0,
            covered=tuple(confirmed_ranges(await self._coverage(target))),
            missing=tuple(
                MissingRange(start_s=gap.start_s, end_s=gap.end_s, why=why) for gap in holes
            ),
            elapsed_s=0.0,
        )


def _from_trades(target: Target) -> bool:
    return target.timeframe in TRADE_TIMEFRAMES


def _free(step: PlanStep) -> PlanStep:
    return msgspec.structs.replace(step, calls=0, bytes=0)
