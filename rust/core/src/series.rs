//! One live candle series: the newest candle of one symbol and interval, those that ended before it,
//! and when each is closed.
//!
//! The rules, each of them for a fault that was seen:
//!
//! * A row older than the present candle never moves it back.
//! * Within a candle trades only rise; with the same number of trades the later event wins.
//! * A candle is closed by evidence alone, never by a clock of ours: a newer candle, a later event of
//!   the same maker, or the gateway's word on a quiet connection. It is given out once, in order.
//! * The pair's ticker may object: while it shows a trade that the candle lacks, the candle waits for
//!   the row that brings it, and at last is given out as doubtful.
//! * A row that comes for a candle already given out is a correction, and told as such.
//! * When its connection ends or the series falls mute, the running candle is unconfirmed: trades may
//!   have been missed, so it is neither closed nor given out until a row tells its state.

use std::collections::VecDeque;

use crate::decimal::Decimal;
use crate::exact_sum::compare;
use crate::rows::CandleRow;
use crate::trade_marks::{Mark, TradeMarks, covers};

/// Ended candles that are remembered: rows for them may still come.
const KEPT_ENDED: usize = 6;

/// So long a candle waits for the row with the trade that its ticker showed.
const OBJECTION_NS: i64 = 20_000_000_000;

/// A series is mute when its ticker showed a trade so long ago and the maker is past it.
const MUTE_NS: i64 = 15_000_000_000;

/// The same where nothing on the connection tells how far the candle maker is: it may lag.
const MUTE_BLIND_NS: i64 = 21_000_000_000;

/// The maker is past a trade once it has told of one so much later.
const PAST_NS: i64 = 1_000_000_000;

/// A candle as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveCandle {
    /// Opening time, unix seconds.
    pub open_s: i64,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Newest price.
    pub close: Decimal,
    /// Volume-weighted average price.
    pub vwap: Option<Decimal>,
    /// Base units traded.
    pub volume: Decimal,
    /// Number of trades; 0 when Kraken left it out.
    pub trades: u64,
    /// Whether it is finished.
    pub closed: bool,
    /// Engine's time of the newest trade in it, unix nanoseconds; None when a snapshot told its state
    /// (a snapshot bears the gateway's time).
    pub event_ns: Option<i64>,
    /// Elapsed time of the newest row.
    pub updated_ns: i64,
    /// How long before it was made, as far as its event's time tells.
    pub late_ns: i64,
}

/// Why a candle is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A newer candle of the series began.
    Next,
    /// The candle maker told of a trade well after its end, of whatever pair.
    Watermark,
    /// Nothing came for long enough on a quiet connection; the gateway answered a ping after its end.
    Quiet,
    /// A snapshot has it, and a newer one.
    Snapshot,
    /// A row came for a candle given out before, or skipped.
    Late,
    /// It ended, but its ticker shows a trade that it lacks.
    Doubtful,
}

impl Evidence {
    /// Its name for Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Watermark => "watermark",
            Self::Quiet => "quiet",
            Self::Snapshot => "snapshot",
            Self::Late => "late",
            Self::Doubtful => "doubtful",
        }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOutcome {
    /// The series changed.
    Applied,
    /// The row was older than what is known; nothing changed.
    Late,
    /// A snapshot repeated what is known; nothing changed.
    Known,
    /// No candle begins then, or Kraken's clock is far from it.
    Refused,
}

/// A candle behind the newest one.
#[derive(Debug)]
struct Ended {
    candle: LiveCandle,
    evidence: Evidence,
    /// Elapsed time since which it might have been given out.
    since_ns: i64,
    given: bool,
}

/// A trade that the series owes: its ticker showed it.
#[derive(Clone, Copy, Debug)]
struct Owed(Mark);

/// One series.
#[derive(Debug)]
pub(crate) struct LiveSeries {
    pub(crate) interval_minutes: u32,
    pub(crate) current: Option<LiveCandle>,
    /// Candles before the current one, oldest first; those that wait are the newest of them.
    ended: VecDeque<Ended>,
    /// Opening time of the newest candle given out; `i64::MIN` before the first.
    given_to_s: i64,
    /// Elapsed time since which the present candle is held back by its ticker.
    objected_ns: Option<i64>,
    /// Connection that feeds the series.
    pub(crate) source: u64,
    unconfirmed: bool,
    /// Oldest candle that was not given out when the series was last put in doubt.
    doubt_from_s: Option<i64>,
    /// Elapsed time of the newest row of any kind.
    heard_ns: i64,
    /// Elapsed time since which the exchange owes us this series; None while it owes nothing.
    expected_ns: Option<i64>,
    owed: Option<Owed>,
    /// Opening time of the newest interval that was told as passed over.
    passed_to_s: i64,
    /// Trades that the rows told of so far, over all candles.
    pub(crate) traded: u64,
    /// Number of the newest change, for watchers.
    pub(crate) changed: u64,
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) source: u64,
    pub(crate) snapshot: bool,
    pub(crate) event_ns: Option<i64>,
    pub(crate) now_ns: i64,
    /// How long ago an update was made.
    pub(crate) late_ns: i64,
}

impl LiveSeries {
    pub(crate) fn new(interval_minutes: u32) -> Self {
        Self {
            interval_minutes,
            current: None,
            ended: VecDeque::new(),
            given_to_s: i64::MIN,
            objected_ns: None,
            source: 0,
            unconfirmed: false,
            doubt_from_s: None,
            heard_ns: i64::MIN,
            expected_ns: None,
            owed: None,
            passed_to_s: i64::MIN,
            traded: 0,
            changed: 0,
        }
    }

    fn length_s(&self) -> i64 {
        i64::from(self.interval_minutes) * 60
    }

    /// Applies one row; candles that may go out because of it go to `out`.
    pub(crate) fn apply(
        &mut self,
        row: &CandleRow,
        origin: Origin,
        marks: &TradeMarks,
        mut out: impl FnMut(LiveCandle, Evidence),
    ) -> RowOutcome {
        let candle = new_candle(row, origin);
        let outcome = match self.current {
            Some(current) if row.open_s < current.open_s => {
                self.apply_past(candle, origin, &mut out)
            }
            Some(current) if row.open_s == current.open_s => {
                self.apply_present(candle, current, origin, &mut out)
            }
            None if row.open_s <= self.given_to_s => self.apply_past(candle, origin, &mut out),
            _ => {
                self.apply_newer(candle, origin);
                RowOutcome::Applied
            }
        };
        self.heard_ns = origin.now_ns;
        if outcome == RowOutcome::Applied {
            self.source = origin.source;
            if self.waits() {
                self.give(marks, origin.now_ns, &mut out);
            }
        }
        outcome
    }

    fn apply_newer(&mut self, candle: LiveCandle, origin: Origin) {
        if let Some(current) = self.current
            && current.open_s > self.given_to_s
            && !self.unconfirmed
        {
            self.ended.push_back(Ended {
                candle: current,
                evidence: if origin.snapshot {
                    Evidence::Snapshot
                } else {
                    Evidence::Next
                },
                since_ns: self.objected_ns.unwrap_or(origin.now_ns),
                given: false,
            });
        }
        if self.unconfirmed {
            // Left to the back-fill.
            self.traded = self
                .traded
                .saturating_sub(self.current.map_or(0, |it| it.trades));
        }
        self.traded += candle.trades;
        self.current = Some(candle);
        self.unconfirmed = false;
        self.objected_ns = None;
    }

    fn apply_present(
        &mut self,
        candle: LiveCandle,
        current: LiveCandle,
        origin: Origin,
        out: &mut impl FnMut(LiveCandle, Evidence),
    ) -> RowOutcome {
        // The same state told again by a new connection confirms that nothing was missed.
        let confirms = self.unconfirmed && candle.trades == current.trades;
        if is_older(&candle, &current) && !confirms {
            return ignored(origin);
        }
        let given = current.open_s <= self.given_to_s;
        let candle = LiveCandle {
            closed: current.closed,
            ..candle
        };
        let news = given && differs(&candle, &current);
        self.traded += candle.trades.saturating_sub(current.trades);
        self.current = Some(candle);
        self.unconfirmed = false;
        if given
            && let Some(ended) = self
                .ended
                .iter_mut()
                .find(|it| it.candle.open_s == candle.open_s)
        {
            ended.candle = candle;
        }
        if news {
            out(
                LiveCandle {
                    closed: true,
                    ..candle
                },
                Evidence::Late,
            );
        }
        RowOutcome::Applied
    }

    /// A row for a candle before the present one.
    fn apply_past(
        &mut self,
        candle: LiveCandle,
        origin: Origin,
        out: &mut impl FnMut(LiveCandle, Evidence),
    ) -> RowOutcome {
        let candle = LiveCandle {
            closed: true,
            ..candle
        };
        if let Some(ended) = self
            .ended
            .iter_mut()
            .find(|it| it.candle.open_s == candle.open_s)
        {
            if is_older(&candle, &ended.candle) {
                return ignored(origin);
            }
            let (given, news) = (ended.given, differs(&candle, &ended.candle));
            self.traded += candle.trades.saturating_sub(ended.candle.trades);
            ended.candle = candle;
            if given && news {
                out(candle, Evidence::Late);
            }
            return if given && !news {
                ignored(origin)
            } else {
                RowOutcome::Applied
            };
        }
        let remembered = self
            .ended
            .front()
            .is_some_and(|oldest| candle.open_s > oldest.candle.open_s);
        let given = candle.open_s <= self.given_to_s;
        if given && !remembered {
            return ignored(origin);
        }
        self.traded += candle.trades;
        // Skipped before: what nobody knew of, or what was in doubt when a newer one began.
        let at = self
            .ended
            .iter()
            .take_while(|it| it.candle.open_s < candle.open_s)
            .count();
        self.ended.insert(
            at,
            Ended {
                candle,
                evidence: if origin.snapshot {
                    Evidence::Snapshot
                } else {
                    Evidence::Next
                },
                since_ns: origin.now_ns,
                given,
            },
        );
        if given {
            out(candle, Evidence::Late);
        }
        RowOutcome::Applied
    }

    /// Whether an ended candle was not given out: those are the newest ones.
    #[inline]
    fn waits(&self) -> bool {
        self.ended.back().is_some_and(|it| !it.given)
    }

    /// Gives out, in order, what has ended and is not held back by its ticker.
    fn give(
        &mut self,
        marks: &TradeMarks,
        now_ns: i64,
        out: &mut impl FnMut(LiveCandle, Evidence),
    ) {
        for ended in self.ended.iter_mut().filter(|it| !it.given) {
            let mut evidence = ended.evidence;
            if marks.contradict(&ended.candle, self.interval_minutes) {
                if now_ns.saturating_sub(ended.since_ns) < OBJECTION_NS {
                    break;
                }
                evidence = Evidence::Doubtful;
            }
            ended.given = true;
            ended.candle.closed = true;
            self.given_to_s = ended.candle.open_s;
            out(ended.candle, evidence);
        }
        while self.ended.len() > KEPT_ENDED && self.ended.front().is_some_and(|it| it.given) {
            self.ended.pop_front();
        }
    }

    /// When the present candle ends, unix seconds; None when there is nothing that may be closed.
    pub(crate) fn end_s(&self) -> Option<i64> {
        self.current
            .filter(|candle| candle.open_s > self.given_to_s && !self.unconfirmed)
            .map(|candle| candle.open_s.saturating_add(self.length_s()))
    }

    /// Lets time pass: gives out what waited, and closes the present candle when there is evidence.
    pub(crate) fn tick(
        &mut self,
        evidence: Option<Evidence>,
        marks: &TradeMarks,
        now_ns: i64,
        mut out: impl FnMut(LiveCandle, Evidence),
    ) {
        self.give(marks, now_ns, &mut out);
        let (Some(evidence), Some(candle)) = (evidence, self.current) else {
            return;
        };
        if self.end_s().is_none() || self.waits() {
            return;
        }
        let mut why = evidence;
        if marks.contradict(&candle, self.interval_minutes) {
            let since_ns = *self.objected_ns.get_or_insert(now_ns);
            if now_ns.saturating_sub(since_ns) < OBJECTION_NS {
                return;
            }
            why = Evidence::Doubtful;
        }
        self.objected_ns = None;
        let closed = LiveCandle {
            closed: why != Evidence::Doubtful,
            ..candle
        };
        self.current = Some(closed);
        self.given_to_s = candle.open_s;
        self.ended.push_back(Ended {
            candle: closed,
            evidence: why,
            since_ns: now_ns,
            given: true,
        });
        out(
            LiveCandle {
                closed: true,
                ..candle
            },
            why,
        );
        self.give(marks, now_ns, &mut out);
    }

    /// The connection ended, or the series fell mute: what was not given out may lack trades.
    pub(crate) fn doubt(&mut self) {
        let present = self.current.filter(|it| it.open_s > self.given_to_s);
        let waiting = self.ended.iter().filter(|it| !it.given);
        let oldest = waiting
            .map(|it| it.candle.open_s)
            .chain(present.map(|it| it.open_s))
            .chain(self.doubt_from_s)
            .min();
        self.doubt_from_s = oldest;
        let waiting = self.ended.iter().filter(|it| !it.given);
        let told = waiting.map(|it| it.candle.trades).sum();
        self.traded = self.traded.saturating_sub(told);
        self.ended.retain(|it| it.given);
        self.unconfirmed = present.is_some();
        self.objected_ns = None;
        self.expected_ns = None;
        self.owed = None;
    }

    /// The oldest candle that was in doubt since the last call, opening time in unix seconds.
    pub(crate) fn take_doubt(&mut self) -> Option<i64> {
        self.doubt_from_s.take()
    }

    /// The exchange promised rows from now on; None: it owes none.
    pub(crate) fn expect(&mut self, since_ns: Option<i64>) {
        self.expected_ns = since_ns;
        self.owed = None;
    }

    /// Whether the series brings nothing of trades that its ticker shows; told once.
    ///
    /// `told_ns`: how far its candle maker is, by the newest event on its connection.
    pub(crate) fn fell_mute(&mut self, newest: Option<Mark>, told_ns: i64, now_ns: i64) -> bool {
        let (Some(expected_ns), Some(newest)) = (self.expected_ns, newest) else {
            return false;
        };
        if let Some(Owed(mark)) = self.owed
            && (self.heard_ns >= mark.arrived_ns
                || self.current.is_some_and(|it| covers(&it, mark)))
        {
            self.owed = None;
        }
        let Some(Owed(mark)) = self.owed else {
            let covered = self.current.is_some_and(|it| covers(&it, newest));
            if newest.arrived_ns > expected_ns && !covered {
                self.owed = Some(Owed(newest));
            }
            return false;
        };
        let past = told_ns >= mark.stamp_ns.saturating_add(PAST_NS);
        let patience_ns = if past { MUTE_NS } else { MUTE_BLIND_NS };
        let mute = now_ns.saturating_sub(mark.arrived_ns) >= patience_ns;
        if mute {
            self.expected_ns = None;
        }
        mute
    }

    /// The interval before the present candle in which the ticker showed a trade and no candle came,
    /// by its opening time; told once, and only after its row has had its time.
    pub(crate) fn passed_over(&mut self, marks: &TradeMarks, now_ns: i64) -> Option<i64> {
        let (expected_ns, current) = (self.expected_ns?, self.current?);
        let length_ns = self.length_s() * 1_000_000_000;
        for mark in marks.iter() {
            let open_s = mark.stamp_ns.div_euclid(length_ns) * self.length_s();
            if open_s >= current.open_s
                || open_s <= self.passed_to_s
                || mark.arrived_ns <= expected_ns
                || now_ns.saturating_sub(mark.arrived_ns) < OBJECTION_NS
                || self.ended.iter().any(|it| it.candle.open_s == open_s)
            {
                continue;
            }
            self.passed_to_s = open_s;
            return Some(open_s);
        }
        None
    }

    /// Drops the newest candle. What was given out as closed stays remembered.
    pub(crate) fn clear(&mut self) {
        self.current = None;
        self.ended.clear();
        self.traded = 0;
        self.unconfirmed = false;
        self.doubt_from_s = None;
        self.objected_ns = None;
        self.expected_ns = None;
        self.owed = None;
    }
}

fn ignored(origin: Origin) -> RowOutcome {
    if origin.snapshot {
        RowOutcome::Known
    } else {
        RowOutcome::Late
    }
}

fn new_candle(row: &CandleRow, origin: Origin) -> LiveCandle {
    LiveCandle {
        open_s: row.open_s,
        open: row.open,
        high: row.high,
        low: row.low,
        close: row.close,
        vwap: row.vwap,
        volume: row.volume,
        trades: row.trades,
        closed: false,
        event_ns: origin.event_ns.filter(|_| !origin.snapshot),
        updated_ns: origin.now_ns,
        late_ns: origin.late_ns,
    }
}

/// Whether `new` tells an earlier state of the same candle than `known`, or the very same event.
fn is_older(new: &LiveCandle, known: &LiveCandle) -> bool {
    if new.trades != 0 && known.trades != 0 && new.trades != known.trades {
        return new.trades < known.trades;
    }
    match (new.event_ns, known.event_ns) {
        (Some(new), Some(known)) => new <= known,
        _ => false,
    }
}

/// Whether two states of a candle say something different of the market.
fn differs(new: &LiveCandle, known: &LiveCandle) -> bool {
    let unequal = |a: Decimal, b: Decimal| a != b && compare(a, b).is_ne();
    new.trades != known.trades
        || unequal(new.open, known.open)
        || unequal(new.high, known.high)
        || unequal(new.low, known.low)
        || unequal(new.close, known.close)
        || unequal(new.volume, known.volume)
}
