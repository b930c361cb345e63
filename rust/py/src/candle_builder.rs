//! `CandleBuilder`: candles of one or several intervals, out of trades.

use krakked_core::candle_builder::{self, Trade, TradeError, TradeOutcome};
use krakked_core::decimal::Decimal;
use krakked_core::trades::read_reply;
use krakked_core::trades_csv::TradesCsv;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::columns::{bad_lines, float64, int64};
use crate::lock::OwnedLock;

fn refusal(error: TradeError) -> &'static str {
    match error {
        TradeError::Late => "the trade belongs to a candle that was taken already",
        TradeError::Negative => "a price, volume or time is negative",
        TradeError::TooWide => "the sums do not fit 128 bits",
    }
}

/// Candles of one or several intervals, out of trades.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct CandleBuilder {
    inner: OwnedLock<BuilderState>,
}

struct BuilderState {
    builder: candle_builder::CandleBuilder,
    csv: TradesCsv,
}

/// What one page brought.
#[derive(Default)]
struct Page {
    rows: u64,
    counted: u64,
    first: Option<(u64, i64)>,
    last: Option<(u64, i64)>,
}

impl Page {
    fn see(&mut self, trade: &Trade) {
        self.rows += 1;
        let Some(id) = trade.id else { return };
        if self.first.is_none_or(|(first, _)| id < first) {
            self.first = Some((id, trade.time_ns));
        }
        if self.last.is_none_or(|(last, _)| id > last) {
            self.last = Some((id, trade.time_ns));
        }
    }
}

type PageRow = (
    u64,
    u64,
    Option<u64>,
    Option<u64>,
    Option<i64>,
    Option<i64>,
    Option<u64>,
);

impl BuilderState {
    fn add_page(
        &mut self,
        reply: &[u8],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<(Page, Option<u64>), String> {
        let mut page = Page::default();
        let mut failure = None;
        let last = read_reply(reply, |trade| {
            page.see(trade);
            if !(start_ns..end_ns).contains(&trade.time_ns) {
                if let Some(id) = trade.id {
                    self.builder.note(id);
                }
                return;
            }
            match self.builder.add(trade) {
                Ok(TradeOutcome::Counted) => page.counted += 1,
                Ok(TradeOutcome::Known) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        })
        .map_err(|malformed| malformed.to_string())?;
        match failure {
            Some(error) => Err(refusal(error).to_owned()),
            None => Ok((page, last)),
        }
    }

    fn add_csv(&mut self, piece: &[u8], is_last: bool) -> u64 {
        let Self { builder, csv } = self;
        csv.feed(piece, is_last, |trade| {
            builder.add(&trade).map(drop).map_err(refusal)
        })
    }
}

#[pymethods]
impl CandleBuilder {
    #[new]
    #[pyo3(signature = (intervals_minutes, *, earliest_ns=i64::MIN, latest_ns=i64::MAX, silence_ns=i64::MAX))]
    #[expect(clippy::needless_pass_by_value, reason = "a list arrives by value")]
    fn new(
        intervals_minutes: Vec<u32>,
        earliest_ns: i64,
        latest_ns: i64,
        silence_ns: i64,
    ) -> PyResult<Self> {
        if intervals_minutes.is_empty() || intervals_minutes.contains(&0) {
            return Err(PyValueError::new_err("intervals_minutes must be positive"));
        }
        let builder = candle_builder::CandleBuilder::new(&intervals_minutes);
        Ok(Self {
            inner: OwnedLock::new(
                "candle builder",
                BuilderState {
                    builder,
                    csv: TradesCsv::new(earliest_ns, latest_ns, silence_ns),
                },
            ),
        })
    }

    #[pyo3(signature = (time_ns, price, volume, trade_id=None))]
    fn add(
        &self,
        time_ns: i64,
        price: &str,
        volume: &str,
        trade_id: Option<u64>,
    ) -> PyResult<bool> {
        let decimal = |text: &str| {
            Decimal::parse(text).map_err(|_| PyValueError::new_err("not a decimal number"))
        };
        let trade = Trade {
            time_ns,
            price: decimal(price)?,
            volume: decimal(volume)?,
            id: trade_id,
        };
        match self.inner.lock()?.builder.add(&trade) {
            Ok(outcome) => Ok(outcome == TradeOutcome::Counted),
            Err(error) => Err(PyValueError::new_err(refusal(error))),
        }
    }

    #[pyo3(signature = (reply, start_ns=0, end_ns=i64::MAX))]
    fn add_page(
        &self,
        py: Python<'_>,
        reply: &[u8],
        start_ns: i64,
        end_ns: i64,
    ) -> PyResult<PageRow> {
        let (page, last) = py
            .detach(|| Ok::<_, PyErr>(self.inner.lock()?.add_page(reply, start_ns, end_ns)))?
            .map_err(PyValueError::new_err)?;
        let (first_id, first_ns) = page.first.unzip();
        let (last_id, last_ns) = page.last.unzip();
        Ok((
            page.rows,
            page.counted,
            first_id,
            last_id,
            first_ns,
            last_ns,
            last,
        ))
    }

    #[pyo3(signature = (piece, *, is_last=false))]
    fn add_csv(&self, py: Python<'_>, piece: &[u8], is_last: bool) -> PyResult<u64> {
        py.detach(|| Ok(self.inner.lock()?.add_csv(piece, is_last)))
    }

    fn bad_lines(&self) -> PyResult<(u64, Vec<(u64, &'static str)>)> {
        Ok(bad_lines(self.inner.lock()?.csv.bad()))
    }

    fn take_doubts(&self) -> PyResult<Vec<(i64, i64)>> {
        Ok(self.inner.lock()?.csv.take_doubts())
    }

    fn take_silences(&self) -> PyResult<Vec<(i64, i64)>> {
        Ok(self.inner.lock()?.csv.take_silences())
    }

    #[pyo3(signature = (interval_minutes, before_s=None))]
    fn take<'py>(
        &self,
        py: Python<'py>,
        interval_minutes: u32,
        before_s: Option<i64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let taken = py.detach(|| {
            Ok::<_, PyErr>(self.inner.lock()?.builder.take(interval_minutes, before_s))
        })?;
        let columns = PyDict::new(py);
        columns.set_item("time", int64(py, &taken, |c| c.time_s)?)?;
        columns.set_item("open", float64(py, &taken, |c| c.open)?)?;
        columns.set_item("high", float64(py, &taken, |c| c.high)?)?;
        columns.set_item("low", float64(py, &taken, |c| c.low)?)?;
        columns.set_item("close", float64(py, &taken, |c| c.close)?)?;
        columns.set_item("vwap", float64(py, &taken, |c| c.vwap)?)?;
        columns.set_item("volume", float64(py, &taken, |c| c.volume)?)?;
        columns.set_item("count", int64(py, &taken, |c| c.count)?)?;
        Ok(columns)
    }

    fn pending(&self, interval_minutes: u32) -> PyResult<usize> {
        Ok(self.inner.lock()?.builder.pending(interval_minutes))
    }

    fn newest_s(&self, interval_minutes: u32) -> PyResult<Option<i64>> {
        Ok(self.inner.lock()?.builder.newest_s(interval_minutes))
    }

    fn holes(&self) -> PyResult<Vec<(u64, u64)>> {
        Ok(self.inner.lock()?.builder.holes())
    }

    #[getter]
    fn last_id(&self) -> PyResult<Option<u64>> {
        Ok(self.inner.lock()?.builder.last_id())
    }
}
