//! One live candle series: the newest candle of one symbol and interval, and when it is closed.
//!
//! The rules, each of them for a fault that was seen:
//!
//! * A row older than the present candle, or of a candle already closed, never moves it back.
//! * Within a candle trades only rise; with the same number of trades the later event wins.
//! * A candle is closed by a newer one or by the clock, and given out exactly once, in order.
//! * When its connection ends, the running candle is unconfirmed: trades may have been missed, so it
//!   is neither closed nor given out until a row of a new connection tells its state.

use crate::decimal::Decimal;
use crate::rows::CandleRow;

/// A candle as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candle {
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
    /// Kraken's time of the newest event in it, unix nanoseconds.
    pub event_ns: Option<i64>,
    /// Elapsed time of the newest row.
    pub updated_ns: i64,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The series changed.
    Applied,
    /// The row was older than what is known; nothing changed.
    Late,
    /// A snapshot repeated what is known; nothing changed.
    Known,
}

/// One series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) interval_minutes: u32,
    pub(crate) current: Option<Candle>,
    /// Opening time of the newest candle given out as closed; `i64::MIN` before the first.
    last_closed_s: i64,
    /// Connection that feeds the series.
    pub(crate) source: u64,
    unconfirmed: bool,
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
}

impl Series {
    pub(crate) fn new(interval_minutes: u32) -> Self {
        Self {
            interval_minutes,
            current: None,
            last_closed_s: i64::MIN,
            source: 0,
            unconfirmed: false,
            changed: 0,
        }
    }

    /// Applies one row; candles that are finished by it go to `close`.
    pub(crate) fn apply(
        &mut self,
        row: &CandleRow,
        origin: Origin,
        mut close: impl FnMut(Candle),
    ) -> Outcome {
        let ignored = if origin.snapshot {
            Outcome::Known
        } else {
            Outcome::Late
        };
        if row.open_s <= self.last_closed_s {
            return ignored;
        }
        let candle = new_candle(row, origin);
        if let Some(current) = &self.current {
            if row.open_s < current.open_s {
                if !origin.snapshot {
                    return Outcome::Late;
                }
                // A finished candle that was missed while the connection was down.
                self.last_closed_s = row.open_s;
                close(Candle {
                    closed: true,
                    ..candle
                });
                return Outcome::Applied;
            }
            if row.open_s == current.open_s {
                if is_older(&candle, current) {
                    return ignored;
                }
            } else if !current.closed && !self.unconfirmed {
                self.last_closed_s = current.open_s;
                close(Candle {
                    closed: true,
                    ..*current
                });
            }
        }
        self.current = Some(candle);
        self.source = origin.source;
        self.unconfirmed = false;
        Outcome::Applied
    }

    /// When the running candle ends, unix seconds; None when there is nothing that may be closed.
    pub(crate) fn end_s(&self) -> Option<i64> {
        self.current
            .filter(|candle| !candle.closed && !self.unconfirmed)
            .map(|candle| {
                candle
                    .open_s
                    .saturating_add(i64::from(self.interval_minutes) * 60)
            })
    }

    /// Closes the running candle by the clock.
    pub(crate) fn close(&mut self) -> Option<Candle> {
        let candle = self.current.as_mut()?;
        candle.closed = true;
        self.last_closed_s = candle.open_s;
        Some(*candle)
    }

    /// The connection ended: the running candle may lack trades.
    pub(crate) fn doubt(&mut self) {
        self.unconfirmed = self.current.is_some_and(|candle| !candle.closed);
    }

    /// Drops the newest candle. What was given out as closed stays remembered.
    pub(crate) fn clear(&mut self) {
        self.current = None;
        self.unconfirmed = false;
    }
}

fn new_candle(row: &CandleRow, origin: Origin) -> Candle {
    Candle {
        open_s: row.open_s,
        open: row.open,
        high: row.high,
        low: row.low,
        close: row.close,
        vwap: row.vwap,
        volume: row.volume,
        trades: row.trades,
        closed: false,
        event_ns: origin.event_ns,
        updated_ns: origin.now_ns,
    }
}

/// Whether `new` tells an earlier state of the same candle than `known`, or the very same event.
fn is_older(new: &Candle, known: &Candle) -> bool {
    if new.trades != 0 && known.trades != 0 && new.trades != known.trades {
        return new.trades < known.trades;
    }
    match (new.event_ns, known.event_ns) {
        (Some(new), Some(known)) => new <= known,
        _ => false,
    }
}
