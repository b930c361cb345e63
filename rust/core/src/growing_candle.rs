//! One candle out of trades.

use crate::decimal::Decimal;
use crate::exact_sum::{Sum, compare, nearest_f64, power_of_ten, product, raise, scaled_f64};
use std::cmp::Ordering;

/// One trade.
#[derive(Clone, Copy, Debug)]
pub struct Trade {
    /// Unix time in nanoseconds.
    pub time_ns: i64,
    /// Quote per base.
    pub price: Decimal,
    /// Base units.
    pub volume: Decimal,
    /// Kraken's number of the trade within its pair; None where the source has none (trades CSV),
    /// and then the order of arrival stands in for it.
    pub id: Option<u64>,
}

/// A finished candle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// Open time, unix seconds.
    pub time_s: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Turnover over volume; NaN when the volume is zero.
    pub vwap: f64,
    /// Base units.
    pub volume: f64,
    /// Number of trades.
    pub count: i64,
}

/// A candle that may still grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growing {
    pub(crate) time_s: i64,
    open: Decimal,
    open_key: u64,
    close: Decimal,
    close_key: u64,
    high: Decimal,
    low: Decimal,
    volume: Sum,
    turnover: Sum,
    count: i64,
}

impl Growing {
    pub(crate) fn new(time_s: i64, price: Decimal, key: u64) -> Self {
        Self {
            time_s,
            open: price,
            open_key: key,
            close: price,
            close_key: key,
            high: price,
            low: price,
            volume: Sum::default(),
            turnover: Sum::default(),
            count: 0,
        }
    }

    /// Adds a trade, or changes nothing and gives None when a sum would not fit.
    pub(crate) fn add(&mut self, trade: &Trade, key: u64) -> Option<()> {
        let (price, volume) = (trade.price, trade.volume);
        let turnover = self.turnover.plus(
            product(price.magnitude(), volume.magnitude())?,
            u32::from(price.scale()) + u32::from(volume.scale()),
        )?;
        self.volume = self
            .volume
            .plus(volume.magnitude(), u32::from(volume.scale()))?;
        self.turnover = turnover;
        if key < self.open_key {
            (self.open, self.open_key) = (price, key);
        }
        if key >= self.close_key {
            (self.close, self.close_key) = (price, key);
        }
        if compare(price, self.high) == Ordering::Greater {
            self.high = price;
        }
        if compare(price, self.low) == Ordering::Less {
            self.low = price;
        }
        self.count += 1;
        Some(())
    }

    pub(crate) fn finish(&self) -> Bar {
        let volume = self.volume;
        Bar {
            time_s: self.time_s,
            open: self.open.to_f64(),
            high: self.high.to_f64(),
            low: self.low.to_f64(),
            close: self.close.to_f64(),
            vwap: self.vwap(),
            volume: scaled_f64(volume.magnitude, volume.scale),
            count: self.count,
        }
    }

    fn vwap(&self) -> f64 {
        let (turnover, volume) = (self.turnover, self.volume);
        // turnover / volume, with the difference of their scales moved below the line.
        let digits = turnover.scale.saturating_sub(volume.scale);
        match raise(volume.magnitude, digits) {
            Some(denominator) => nearest_f64(turnover.magnitude, denominator),
            // More than 38 digits below the line: no price has them, and two roundings will do.
            None => nearest_f64(turnover.magnitude, volume.magnitude) / power_of_ten(digits),
        }
    }
}
