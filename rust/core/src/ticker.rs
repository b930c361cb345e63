//! A symbol's ticker: the newest one, how late it came, and which trades it has shown or owes.

use crate::decimal::Decimal;
use crate::rows::{TICKER_VALUES, TickerRow};
use crate::trade_marks::{Mark, TradeMarks};

/// A ticker is mute when a candle row told of a trade so long ago and no ticker came since.
const MUTE_NS: i64 = 15_000_000_000;

/// Candle rows may come so much later than the ticker of the same trade; where a ticker bears no time
/// only its arrival can tell whether it showed that trade.
const AHEAD_NS: i64 = 25_000_000_000;

/// Newest ticker of one symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticker {
    /// Exact numbers by [`crate::rows::TICKER_VALUE_NAMES`].
    pub values: [Option<Decimal>; TICKER_VALUES],
    /// Trades in 24 hours.
    pub trades: Option<u64>,
    /// Kraken's time of the update, unix nanoseconds.
    pub exchange_ns: Option<i64>,
    /// Elapsed time at which it came.
    pub updated_ns: i64,
    /// How long before it was made, as far as its own time tells.
    pub late_ns: i64,
}

/// How late the tickers of one connection come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickerLate {
    late_ns: i64,
    told_ns: i64,
}

impl TickerLate {
    /// One came so late by its own time.
    pub(crate) fn note(&mut self, late_ns: i64, now_ns: i64) {
        (self.late_ns, self.told_ns) = (late_ns, now_ns);
    }

    /// How late one is that comes now and does not tell it.
    pub(crate) fn at(self, now_ns: i64) -> i64 {
        let holds = now_ns.saturating_sub(self.told_ns) < LATE_HOLDS_NS;
        if holds { self.late_ns } else { 0 }
    }
}

impl Default for TickerLate {
    fn default() -> Self {
        Self {
            late_ns: 0,
            told_ns: i64::MIN,
        }
    }
}

/// What one ticker told of its connection holds so long for those that do not tell it themselves.
const LATE_HOLDS_NS: i64 = 60_000_000_000;

/// What the ticker of a symbol has shown, and what it owes.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    pub(crate) marks: TradeMarks,
    /// Elapsed time since which the exchange owes us this ticker; None while it owes nothing.
    expected_ns: Option<i64>,
    /// A trade that a candle row told of and the ticker has not shown: its time where the row bore
    /// one, and when the row came.
    owed: Option<Mark>,
    /// The ticker missed trades: the next row proves none, it only tells how things stand.
    pub(crate) gap: bool,
}

impl Witness {
    /// The exchange acknowledged the ticker, or owes it no more.
    pub(crate) fn expect(&mut self, since_ns: Option<i64>) {
        self.expected_ns = since_ns;
        self.owed = None;
        self.gap |= since_ns.is_none();
    }

    /// A ticker row came: what it shows is owed no more.
    pub(crate) fn showed(&mut self, row: &TickerRow, snapshot: bool) {
        let shows = |owed: Mark| {
            let shown = row.exchange_ns.map(|shown_ns| shown_ns / 1_000);
            snapshot || shown.is_none_or(|shown| shown >= owed.stamp_ns / 1_000)
        };
        if self.owed.is_some_and(shows) {
            self.owed = None;
        }
        self.gap = false;
    }

    /// A candle row told of a trade; `ticker` is the newest one.
    pub(crate) fn told(&mut self, ticker: Option<&Ticker>, event_ns: Option<i64>, now_ns: i64) {
        let shown = ticker.is_some_and(|ticker| match (ticker.exchange_ns, event_ns) {
            (Some(shown_ns), Some(event_ns)) => shown_ns / 1_000 >= event_ns / 1_000,
            _ => now_ns - ticker.updated_ns < AHEAD_NS,
        });
        if !shown && self.owed.is_none() {
            self.owed = Some(Mark {
                stamp_ns: event_ns.unwrap_or(i64::MIN),
                arrived_ns: now_ns,
            });
        }
    }

    /// Whether the ticker fell mute; told once.
    pub(crate) fn fell_mute(&mut self, now_ns: i64) -> bool {
        let (Some(expected_ns), Some(owed)) = (self.expected_ns, self.owed) else {
            return false;
        };
        if now_ns.saturating_sub(owed.arrived_ns.max(expected_ns)) < MUTE_NS {
            return false;
        }
        self.expected_ns = None;
        self.gap = true;
        true
    }
}
