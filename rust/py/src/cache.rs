//! `MarketCache`.

use std::sync::{Arc, Mutex, PoisonError};

use krakked_core::cache;
use krakked_core::decimal::Decimal;
use krakked_core::rows::TICKER_VALUE_NAMES;
use krakked_core::series::Candle;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Latest ticker and live candles of every symbol.
///
/// No Python object is made or dropped while the lock is held: that could run other Python code,
/// which could come back for the lock.
#[pyclass(frozen, module = "krakked._core")]
#[derive(Default)]
pub(crate) struct MarketCache(Arc<Mutex<cache::Cache>>);

/// How exact numbers become Python objects.
trait Number {
    fn object(py: Python<'_>, number: Decimal) -> PyResult<Bound<'_, PyAny>>;
}

struct Float;
struct Exact;

impl Number for Float {
    fn object(py: Python<'_>, number: Decimal) -> PyResult<Bound<'_, PyAny>> {
        number.to_f64().into_bound_py_any(py)
    }
}

impl Number for Exact {
    fn object(py: Python<'_>, number: Decimal) -> PyResult<Bound<'_, PyAny>> {
        number.to_string().into_bound_py_any(py)
    }
}

pub(crate) type Row<'py> = Option<Bound<'py, PyTuple>>;
type ClosedRow = (
    String,
    u32,
    i64,
    f64,
    f64,
    f64,
    f64,
    Option<f64>,
    f64,
    u64,
    &'static str,
);
type Changes = (Vec<String>, Vec<(String, u32)>);

impl MarketCache {
    pub(crate) fn share(&self) -> Arc<Mutex<cache::Cache>> {
        self.0.clone()
    }

    fn with<T>(&self, work: impl FnOnce(&mut cache::Cache) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ticker_row<'py, N: Number>(&self, py: Python<'py>, symbol: &str) -> PyResult<Row<'py>> {
        let Some(ticker) = self.with(|cache| cache.ticker(symbol)) else {
            return Ok(None);
        };
        let mut row = Vec::with_capacity(TICKER_VALUE_NAMES.len() + 3);
        for value in ticker.values {
            row.push(
                value
                    .map(|it| N::object(py, it))
                    .transpose()?
                    .into_bound_py_any(py)?,
            );
        }
        row.push(ticker.trades.into_bound_py_any(py)?);
        row.push(ticker.exchange_ns.into_bound_py_any(py)?);
        row.push(ticker.updated_ns.into_bound_py_any(py)?);
        PyTuple::new(py, row).map(Some)
    }

    fn candle_row<'py, N: Number>(
        &self,
        py: Python<'py>,
        symbol: &str,
        minutes: u32,
    ) -> PyResult<Row<'py>> {
        let Some(candle) = self.with(|cache| cache.candle(symbol, minutes)) else {
            return Ok(None);
        };
        let vwap = candle.vwap.map(|it| N::object(py, it)).transpose()?;
        (
            candle.open_s,
            N::object(py, candle.open)?,
            N::object(py, candle.high)?,
            N::object(py, candle.low)?,
            N::object(py, candle.close)?,
            vwap,
            N::object(py, candle.volume)?,
            candle.trades,
            candle.closed,
            candle.updated_ns,
        )
            .into_pyobject(py)
            .map(Some)
    }
}

#[pymethods]
impl MarketCache {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn ticker<'py>(&self, py: Python<'py>, symbol: &str) -> PyResult<Row<'py>> {
        self.ticker_row::<Float>(py, symbol)
    }

    fn ticker_exact<'py>(&self, py: Python<'py>, symbol: &str) -> PyResult<Row<'py>> {
        self.ticker_row::<Exact>(py, symbol)
    }

    fn candle<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        interval_minutes: u32,
    ) -> PyResult<Row<'py>> {
        self.candle_row::<Float>(py, symbol, interval_minutes)
    }

    fn candle_exact<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        interval_minutes: u32,
    ) -> PyResult<Row<'py>> {
        self.candle_row::<Exact>(py, symbol, interval_minutes)
    }

    fn updated_ns(&self, symbol: &str) -> Option<i64> {
        self.with(|cache| cache.ticker(symbol))
            .map(|ticker| ticker.updated_ns)
    }

    fn count_updated_since(&self, since_ns: i64) -> usize {
        self.with(|cache| cache.count_updated_since(since_ns))
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

    fn take_mute(&self, now_ns: i64) -> Changes {
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

    fn take_closed(&self) -> Vec<ClosedRow> {
        let closed = self.with(cache::Cache::take_closed);
        closed.iter().map(closed_row).collect()
    }

    fn take_changed(&self, watcher: u32) -> PyResult<Changes> {
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

fn named((tickers, candles): &cache::Changes) -> Changes {
    (
        tickers.iter().map(ToString::to_string).collect(),
        candles
            .iter()
            .map(|(symbol, minutes)| (symbol.to_string(), *minutes))
            .collect(),
    )
}

fn closed_row(closed: &cache::ClosedCandle) -> ClosedRow {
    let Candle {
        open_s,
        open,
        high,
        low,
        close,
        vwap,
        volume,
        trades,
        ..
    } = closed.candle;
    (
        closed.symbol.to_string(),
        closed.interval_minutes,
        open_s,
        open.to_f64(),
        high.to_f64(),
        low.to_f64(),
        close.to_f64(),
        vwap.map(Decimal::to_f64),
        volume.to_f64(),
        trades,
        closed.evidence.name(),
    )
}

/// `TICKER_FIELDS`.
pub(crate) fn ticker_fields(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let rest = ["trades", "exchange_ns", "updated_ns"];
    PyTuple::new(
        py,
        TICKER_VALUE_NAMES
            .into_iter()
            .chain(rest)
            .collect::<Vec<_>>(),
    )
}

/// `CANDLE_FIELDS`.
pub(crate) fn candle_fields(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(
        py,
        [
            "open_s",
            "open",
            "high",
            "low",
            "close",
            "vwap",
            "volume",
            "trades",
            "closed",
            "updated_ns",
        ],
    )
}
