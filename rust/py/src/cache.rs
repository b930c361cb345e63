//! `MarketCache`.

use std::sync::{Arc, Mutex};

use krakked_core::cache;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::lock::lock;
use crate::rows::{ClosedCandle, ExactCandle, ExactTicker, LiveCandle, Ticker};

/// Latest ticker and live candles of every symbol.
///
/// No Python object is made or dropped while the lock is held: that could run other Python code,
/// which could come back for the lock.
#[pyclass(frozen, module = "krakked._core")]
#[derive(Default)]
pub(crate) struct MarketCache(Arc<Mutex<cache::Cache>>);

type NamedChanges = (Vec<String>, Vec<(String, u32)>);

impl MarketCache {
    pub(crate) fn share(&self) -> Arc<Mutex<cache::Cache>> {
        self.0.clone()
    }

    fn with<T>(&self, work: impl FnOnce(&mut cache::Cache) -> T) -> T {
        work(&mut lock(&self.0))
    }
}

#[pymethods]
impl MarketCache {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn ticker(&self, symbol: &str) -> Option<Ticker> {
        self.with(|cache| cache.ticker(symbol)).map(Ticker::from)
    }

    fn ticker_exact(&self, symbol: &str) -> Option<ExactTicker> {
        self.with(|cache| cache.ticker(symbol))
            .map(ExactTicker::from)
    }

    fn candle(&self, symbol: &str, interval_minutes: u32) -> Option<LiveCandle> {
        self.with(|cache| cache.candle(symbol, interval_minutes))
            .map(LiveCandle::from)
    }

    fn candle_exact(&self, symbol: &str, interval_minutes: u32) -> Option<ExactCandle> {
        self.with(|cache| cache.candle(symbol, interval_minutes))
            .map(ExactCandle::from)
    }

    fn updated_ns(&self, symbol: &str) -> Option<i64> {
        self.with(|cache| cache.ticker(symbol))
            .map(|ticker| ticker.updated_ns)
    }

    fn want(&self, symbol: &str) {
        self.with(|cache| cache.want(symbol));
    }

    #[pyo3(signature = (now_ns, *, held_up = false))]
    fn close_due(&self, now_ns: i64, held_up: bool) -> Vec<u64> {
        self.with(|cache| cache.close_due(now_ns, held_up))
    }

    fn server_ns(&self, now_ns: i64) -> Option<i64> {
        self.with(|cache| cache.server_ns(now_ns))
    }

    fn expect_ticker(&self, symbol: &str, since_ns: Option<i64>) {
        self.with(|cache| cache.expect_ticker(symbol, since_ns));
    }

    fn expect_candles(&self, symbol: &str, interval_minutes: u32, since_ns: Option<i64>) {
        self.with(|cache| cache.expect_candles(symbol, interval_minutes, since_ns));
    }

    fn take_mute(&self, now_ns: i64) -> NamedChanges {
        named(&self.with(|cache| cache.take_mute(now_ns)))
    }

    fn traded(&self, symbol: &str, interval_minutes: u32) -> Option<u64> {
        self.with(|cache| cache.traded(symbol, interval_minutes))
    }

    fn take_passed_over(&self, now_ns: i64) -> Vec<(String, u32, i64)> {
        let passed = self.with(|cache| cache.take_passed_over(now_ns));
        passed
            .into_iter()
            .map(|(symbol, minutes, open_s)| (symbol.to_string(), minutes, open_s))
            .collect()
    }

    fn doubt(&self, symbol: &str, interval_minutes: u32) {
        self.with(|cache| cache.doubt(symbol, interval_minutes));
    }

    fn take_doubt(&self, symbol: &str, interval_minutes: u32) -> Option<i64> {
        self.with(|cache| cache.take_doubt(symbol, interval_minutes))
    }

    fn take_closed(&self) -> Vec<ClosedCandle> {
        let closed = self.with(cache::Cache::take_closed);
        closed.iter().map(ClosedCandle::from).collect()
    }

    fn take_changed(&self, watcher: u32) -> PyResult<NamedChanges> {
        let changes = self
            .with(|cache| cache.take_changed(watcher))
            .ok_or_else(|| PyKeyError::new_err("no such watcher"))?;
        Ok(named(&changes))
    }

    fn add_watcher(&self) -> u32 {
        self.with(cache::Cache::add_watcher)
    }

    fn remove_watcher(&self, watcher: u32) {
        self.with(|cache| cache.remove_watcher(watcher));
    }

    fn forget(&self, symbol: &str) {
        self.with(|cache| cache.forget(symbol));
    }

    fn clear_candles(&self, symbol: &str, interval_minutes: u32) {
        self.with(|cache| cache.clear_candles(symbol, interval_minutes));
    }
}

fn named((tickers, candles): &cache::ChangedSet) -> NamedChanges {
    (
        tickers.iter().map(ToString::to_string).collect(),
        candles
            .iter()
            .map(|(symbol, minutes)| (symbol.to_string(), *minutes))
            .collect(),
    )
}
