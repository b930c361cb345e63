//! When a pair traded, as its own ticker shows it: the witness against candles that lack trades.
//!
//! A ticker update bears the engine's time of the trade that caused it, to the microsecond the same
//! as the ohlc update of that trade (recorded 2026-09-25). Volume falls when old trades leave the 24
//! hours, so only a rise, or another last price, is a trade for certain.

use std::cmp::Ordering;

use crate::decimal::Decimal;
use crate::exact_sum::compare;
use crate::rows::{LAST, TickerRow, VOLUME};
use crate::series::LiveCandle;

/// Minutes with trades that are remembered.
const KEPT: usize = 4;

const MINUTE_NS: i64 = 60_000_000_000;

/// One trade that the ticker showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Engine's time, unix nanoseconds.
    pub(crate) stamp_ns: i64,
    /// Elapsed time at which the ticker came.
    pub(crate) arrived_ns: i64,
}

/// The newest trade of each of the newest minutes that had any, newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct TradeMarks {
    marks: Vec<Mark>,
}

impl TradeMarks {
    /// The newest trade of all.
    pub(crate) fn newest(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter()
    }

    pub(crate) fn add(&mut self, mark: Mark) {
        match self.marks.last_mut() {
            Some(last) if mark.stamp_ns / MINUTE_NS < last.stamp_ns / MINUTE_NS => {}
            Some(last) if mark.stamp_ns / MINUTE_NS == last.stamp_ns / MINUTE_NS => {
                if mark.stamp_ns > last.stamp_ns {
                    *last = mark;
                }
            }
            _ => {
                if self.marks.len() == KEPT {
                    self.marks.remove(0);
                }
                self.marks.push(mark);
            }
        }
    }

    /// Whether the ticker showed a trade of this candle's time that the candle lacks.
    pub(crate) fn contradict(&self, candle: &LiveCandle, interval_minutes: u32) -> bool {
        let begin_ns = candle.open_s.saturating_mul(1_000_000_000);
        let end_ns = begin_ns.saturating_add(i64::from(interval_minutes) * MINUTE_NS);
        self.marks
            .iter()
            .rev()
            .find(|mark| mark.stamp_ns < end_ns)
            .is_some_and(|mark| mark.stamp_ns >= begin_ns && !covers(candle, *mark))
    }
}

/// Whether a candle's state was told with, or after, a trade that the ticker showed.
pub(crate) fn covers(candle: &LiveCandle, mark: Mark) -> bool {
    match candle.event_ns {
        Some(event_ns) => event_ns / 1_000 >= mark.stamp_ns / 1_000,
        // A snapshot's stamp is the gateway's, so only the order of arrival can tell.
        None => candle.updated_ns >= mark.arrived_ns,
    }
}

/// Whether one ticker row after another proves a trade in between.
#[inline]
pub(crate) fn proves_trade(
    known: &[Option<Decimal>],
    known_trades: Option<u64>,
    row: &TickerRow,
) -> bool {
    let rose = |known: Option<Decimal>, new: Option<Decimal>| match (known, new) {
        (Some(known), Some(new)) => known != new && compare(new, known) == Ordering::Greater,
        _ => false,
    };
    let differs = |known: Option<Decimal>, new: Option<Decimal>| match (known, new) {
        (Some(known), Some(new)) => known != new && compare(new, known) != Ordering::Equal,
        _ => false,
    };
    differs(known[LAST], row.values[LAST])
        || rose(known[VOLUME], row.values[VOLUME])
        || matches!((known_trades, row.trades), (Some(known), Some(new)) if new > known)
}
