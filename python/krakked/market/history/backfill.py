"""Closed candles on demand: from the store, topped up over REST, and for years back over Trades.

A thin shell around `plan` (what is missing and what it costs), `tail` (one OHLC call) and `deep`
(the walk over the trades). Everything it returns is closed and ordered oldest first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio

from krakked.errors import ApiError, BackfillTooLargeError, NetworkError
from krakked.market.history.archive_import import import_series
from krakked.market.history.deep import MissingRange, TapeWalk, Target, count_trades
from krakked.market.history.plan import (
    MAX_CALLS,
    OHLC_BYTES,
    PAGE_BYTES,
    PAGE_ROWS,
    BackfillPlan,
    Origin,
    PlanStep,
    confirmed_ranges,
    missing_ranges,
    ohlc_since,
    pages_of,
    reach_start,
)
from krakked.market.history.progress import BackfillProgress, Pause, ProgressCallback
from krakked.market.history.reading import OHLCReader
from krakked.market.history.report import BackfillFailure, BackfillReport, Job
from krakked.market.pairs import one_or_many
from krakked.market.store.coverage import GapKind, Range, intersect, union
from krakked.market.times import Time, unix_seconds
from krakked.network import run_blocking

_ROUNDS: Final = 3
"""A long walk lets the tail fall behind; so often the rest is looked at again."""

_LOST_IN_A_ROW: Final = 3
"""Pairs in a row that fail before a job over many pairs stops."""


class History(OHLCReader):
    """Closed candles of any pair: reading, planning, back-filling, repairing."""

    # --- planning ------------------------------------------------------------------------------

    async def plan_backfill(
        self, pair: str, timeframe: str, since: Time | None = None
    ) -> BackfillPlan:
        """Say what `backfill_ohlc` would do: sources, calls, minutes, bytes.

        Costs two or three calls itself when the range reaches further back than OHLC does: trades
        are counted by their ids.

        Args:
            pair: Any spelling.
            timeframe: Label such as ``1h``.
            since: First open time wanted, unix seconds or an aware datetime; 0 = from the listing;
                None = from the last stored bar, else the newest 720.

        Raises:
            UnknownPairError: No such pair; `UnknownTimeframeError` likewise.
            NetworkError: Kraken could not be reached; `ApiError` likewise.
        """
        plan, _calls = await self._plan(self.target(pair, timeframe), since)
        return plan

    async def _plan(self, target: Target, since: Time | None) -> tuple[BackfillPlan, int]:
        now_s = await self._tail.server_now_s()
        since_s = await self._first_wanted(target, since, now_s)
        covered = await self._covered(target)
        step_s = target.step_s
        reach_s = reach_start(now_s, step_s)
        steps = [
            PlanStep(origin=Origin.STORED, start_s=a, end_s=b)
            for a, b in intersect(covered, (since_s, int(now_s)))
        ]
        calls = 0
        for start_s, end_s in missing_ranges(covered, since_s, now_s, step_s):
            if end_s > reach_s:
                start = max(start_s, reach_s)
                step = PlanStep(
                    origin=Origin.OHLC, start_s=start, end_s=end_s, calls=1, bytes=OHLC_BYTES
                )
                # One call gives all 720, so several stretches within reach cost one.
                known = next((s for s in steps if s.origin is Origin.OHLC), None)
                steps.append(step if known is None else _free(step))
            if start_s < reach_s and _from_trades(target):
                end = min(end_s, reach_s)
                trades, asked = await count_trades(self._rest, target, start_s, end)
                calls += asked
                steps.append(
                    PlanStep(
                        origin=Origin.TRADES,
                        start_s=start_s,
                        end_s=end,
                        calls=pages_of(trades),
                        trades=trades,
                        bytes=max(1, trades) * PAGE_BYTES // PAGE_ROWS,
                    )
                )
        spacing_s = self._rest.reachability().limiter.public_spacing_s
        plan = BackfillPlan(
            pair=target.pair,
            timeframe=target.timeframe,
            since_s=since_s,
            until_s=int(now_s),
            steps=tuple(sorted(steps, key=lambda step: step.start_s)),
            minutes=sum(step.calls for step in steps) * spacing_s / 60,
        )
        return plan, calls

    async def _first_wanted(self, target: Target, since: Time | None, now_s: float) -> int:
        if since is not None:
            asked_s = unix_seconds(since, "since", now_s=now_s)
            return -(-asked_s // target.step_s) * target.step_s
        last_s = await run_blocking(
            self._clock, self._store.last_closed, target.pair, target.timeframe
        )
        return reach_start(now_s, target.step_s) if last_s is None else last_s

    async def _covered(self, target: Target) -> list[Range]:
        return confirmed_ranges(
            await run_blocking(self._clock, self._store.coverage, target.pair, target.timeframe)
        )

    # --- back-filling --------------------------------------------------------------------------

    async def backfill_ohlc(
        self,
        pair: str,
        timeframe: str,
        since: Time | None = None,
        *,
        allow_long: bool = False,
        progress: ProgressCallback | None = None,
        pause: Pause | None = None,
        archive: str | Path | None = None,
    ) -> BackfillReport:
        """Put closed candles into the store, from as few calls as possible.

        The newest 720 come from OHLC, older ones from the Trades endpoint (or from `archive`). What
        is stored already is not fetched again, so a job that was cancelled or killed goes on where
        it stopped when it is called again. Cancel it like any trio code.

        Args:
            pair: Any spelling.
            timeframe: Label such as ``1h``. ``1w`` has only OHLC.
            since: First open time wanted, unix seconds or an aware datetime; 0 = from the listing;
                None = from the last stored bar, else the newest 720.
            allow_long: Whether more than 2,000 calls are all right.
            progress: Told after every call.
            pause: A switch that holds the job between calls.
            archive: Kraken's OHLCVT download (zip or folder) to use for what it holds.

        Raises:
            UnknownPairError: No such pair; `UnknownTimeframeError` likewise.
            BackfillTooLargeError: It would take more than 2,000 calls; `plan` says how many.
            NetworkError: Kraken could not be reached; what was complete is stored.
            RateLimitError: Kraken refused; `ServiceError` likewise.
            ImportFormatError: The archive holds a malformed line.
            StoreError: The disk refused.
        """
        target = self.target(pair, timeframe)
        began = trio.current_time()
        bars = 0
        if archive is not None:
            bars += await run_blocking(
                self._clock, import_series, self._store, Path(archive), target.pair, timeframe
            )
        plan, planned = await self._plan(target, since)
        if plan.calls > MAX_CALLS and not allow_long:
            raise BackfillTooLargeError(
                f"{plan.text()} That is more than {MAX_CALLS:,} calls. Pass allow_long=True, take "
                "a later `since`, or import Kraken's OHLCVT archive (krakked import).",
                plan=plan,
            )
        job = Job(target, plan, progress, pause or Pause())
        job.calls, job.bars = planned, bars
        missing: list[MissingRange] = []
        for _ in range(_ROUNDS):
            if not await self._round(job, plan.since_s, missing):
                break
        now_s = await self._tail.server_now_s()
        covered = await self._covered(target)
        return BackfillReport(
            pair=target.pair,
            timeframe=timeframe,
            bars=job.bars,
            calls=job.calls,
            trades=job.trades,
            covered=tuple(intersect(covered, (plan.since_s, int(now_s)))),
            missing=tuple(missing),
            elapsed_s=trio.current_time() - began,
        )

    async def _round(self, job: Job, since_s: int, missing: list[MissingRange]) -> bool:
        """Fetch what is missing: the tail first, so that it is there while the tape is read."""
        target, step_s = job.target, job.target.step_s
        now_s = await self._tail.server_now_s()
        wanted = await self._wanted(job, since_s, now_s)
        if not wanted:
            return False
        reach_s = reach_start(now_s, step_s)
        oldest_in_reach = next((r for r in wanted if r[1] > reach_s), None)
        if oldest_in_reach is not None:
            await job.pause.passage()
            start_s = oldest_in_reach[0]
            since = None if start_s <= reach_s else ohlc_since(start_s, step_s)
            _closed, stored = await self._tail.fetch(target, since)
            job.calls, job.bars = job.calls + 1, job.bars + stored
            job.tell()
        walked = False
        for start_s, end_s in await self._wanted(job, since_s, now_s):
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

    async def _wanted(self, job: Job, since_s: int, now_s: float) -> list[Range]:
        """Give what is missing and was not walked over in this job."""
        known = union([*await self._covered(job.target), *job.settled])
        return missing_ranges(known, since_s, now_s, job.target.step_s)

    async def backfill_pairs(
        self,
        pairs: Iterable[str],
        timeframe: str,
        *,
        progress: ProgressCallback | None = None,
        pause: Pause | None = None,
    ) -> tuple[list[BackfillReport], list[BackfillFailure]]:
        """Bring many pairs up to date in one timeframe, one call a pair, at the limiter's pace.

        A pair that fails does not stop the others; three in a row that fail for want of a network
        do.

        Returns:
            The reports, and the failures.

        Raises:
            UnknownPairError: A name is unknown; nothing was fetched.
            NetworkError: Three pairs in a row could not be reached.
        """
        targets = [self.target(pair, timeframe) for pair in one_or_many(pairs)]
        pause = pause or Pause()
        began = trio.current_time()
        reports: list[BackfillReport] = []
        failures: list[BackfillFailure] = []
        lost = 0
        for done, target in enumerate(targets, start=1):
            await pause.passage()
            try:
                reports.append(await self.backfill_ohlc(target.pair, timeframe))
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
        progress: ProgressCallback | None = None,
    ) -> BackfillReport:
        """Fetch what `gaps` calls missing, as far as Kraken still has it; `missing` says the rest.

        Raises:
            BackfillTooLargeError: It would take more than 2,000 calls.
            NetworkError: Kraken could not be reached; otherwise as `backfill_ohlc`.
        """
        target = self.target(pair, timeframe)
        holes = [g for g in await self.gaps(pair, timeframe) if g.kind is GapKind.MISSING]
        since_s = holes[0].start_s if holes else None
        report = await self.backfill_ohlc(
            target.pair, timeframe, since_s, allow_long=allow_long, progress=progress
        )
        told = {(m.start_s, m.end_s) for m in report.missing}
        left = [
            MissingRange(start_s=gap.start_s, end_s=gap.end_s, why="Kraken has no such candles.")
            for gap in await self.gaps(pair, timeframe)
            if gap.kind is GapKind.MISSING and (gap.start_s, gap.end_s) not in told
        ]
        return msgspec.structs.replace(report, missing=(*report.missing, *left))


def _from_trades(target: Target) -> bool:
    # Weekly candles come from REST only: their alignment is unverified.
    return target.timeframe != "1w"


def _free(step: PlanStep) -> PlanStep:
    return msgspec.structs.replace(step, calls=0, bytes=0)
