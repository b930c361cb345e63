//! Rows of the live cache as Python objects: every value under its name, as float or as wire digits.

use krakked_core::cache;
use krakked_core::decimal::Decimal;
use krakked_core::series;
use krakked_core::ticker;
use pyo3::prelude::*;

/// A ticker class whose numbers are of one type.
macro_rules! ticker {
    ($name:ident, $number:ty, $convert:expr) => {
        #[pyclass(frozen, get_all, eq, module = "krakked._core")]
        #[derive(PartialEq)]
        pub(crate) struct $name {
            bid: Option<$number>,
            bid_qty: Option<$number>,
            ask: Option<$number>,
            ask_qty: Option<$number>,
            last: Option<$number>,
            volume: Option<$number>,
            vwap: Option<$number>,
            low: Option<$number>,
            high: Option<$number>,
            change: Option<$number>,
            change_pct: Option<$number>,
            trades: Option<u64>,
            exchange_ns: Option<i64>,
            updated_ns: i64,
            late_ns: i64,
        }

        impl From<ticker::Ticker> for $name {
            fn from(ticker: ticker::Ticker) -> Self {
                // in the order of `TICKER_VALUE_NAMES`
                let [
                    bid,
                    bid_qty,
                    ask,
                    ask_qty,
                    last,
                    volume,
                    vwap,
                    low,
                    high,
                    change,
                    change_pct,
                ] = ticker.values.map(|value| value.map($convert));
                Self {
                    bid,
                    bid_qty,
                    ask,
                    ask_qty,
                    last,
                    volume,
                    vwap,
                    low,
                    high,
                    change,
                    change_pct,
                    trades: ticker.trades,
                    exchange_ns: ticker.exchange_ns,
                    updated_ns: ticker.updated_ns,
                    late_ns: ticker.late_ns,
                }
            }
        }
    };
}

/// A class of running candles whose numbers are of one type.
macro_rules! candle {
    ($name:ident, $number:ty, $convert:expr) => {
        #[pyclass(frozen, get_all, eq, module = "krakked._core")]
        #[derive(PartialEq)]
        pub(crate) struct $name {
            open_s: i64,
            open: $number,
            high: $number,
            low: $number,
            close: $number,
            vwap: Option<$number>,
            volume: $number,
            trades: u64,
            closed: bool,
            updated_ns: i64,
            late_ns: i64,
        }

        impl From<series::LiveCandle> for $name {
            fn from(candle: series::LiveCandle) -> Self {
                let number = $convert;
                Self {
                    open_s: candle.open_s,
                    open: number(candle.open),
                    high: number(candle.high),
                    low: number(candle.low),
                    close: number(candle.close),
                    vwap: candle.vwap.map(number),
                    volume: number(candle.volume),
                    trades: candle.trades,
                    closed: candle.closed,
                    updated_ns: candle.updated_ns,
                    late_ns: candle.late_ns,
                }
            }
        }
    };
}

ticker!(Ticker, f64, Decimal::to_f64);
ticker!(ExactTicker, String, |value: Decimal| value.to_string());
candle!(LiveCandle, f64, Decimal::to_f64);
candle!(ExactCandle, String, |value: Decimal| value.to_string());

/// A candle that is given out, and why.
#[pyclass(frozen, get_all, eq, module = "krakked._core")]
#[derive(PartialEq)]
pub(crate) struct ClosedCandle {
    symbol: String,
    interval_minutes: u32,
    open_s: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    vwap: Option<f64>,
    volume: f64,
    trades: u64,
    evidence: &'static str,
}

impl From<&cache::ClosedCandle> for ClosedCandle {
    fn from(closed: &cache::ClosedCandle) -> Self {
        let candle = closed.candle;
        Self {
            symbol: closed.symbol.to_string(),
            interval_minutes: closed.interval_minutes,
            open_s: candle.open_s,
            open: candle.open.to_f64(),
            high: candle.high.to_f64(),
            low: candle.low.to_f64(),
            close: candle.close.to_f64(),
            vwap: candle.vwap.map(Decimal::to_f64),
            volume: candle.volume.to_f64(),
            trades: candle.trades,
            evidence: closed.evidence.name(),
        }
    }
}
