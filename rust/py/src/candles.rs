//! `CandleBuilder` and `OhlcvtParser`: history from bytes to columns. Columns leave as little-endian
//! int64 and float64 `bytes`, ready for Arrow or numpy.

use std::sync::{Mutex, MutexGuard, PoisonError};

use krakked_core::candles::{self, Outcome, Trade, TradeError};
use krakked_core::decimal::Decimal;
use krakked_core::ohlcvt;
use krakked_core::trades::{read_csv_line, read_reply};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trade_error(error: TradeError, at: &str) -> PyErr {
    PyValueError::new_err(match error {
        TradeError::Late => format!("{at}: the trade belongs to a candle that was taken already"),
        TradeError::Negative => format!("{at}: a price, volume or time is negative"),
        TradeError::TooWide => format!("{at}: the sums do not fit 128 bits"),
    })
}

/// Candles of one or several intervals, out of trades.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct CandleBuilder {
    inner: Mutex<Tape>,
}

struct Tape {
    builder: candles::CandleBuilder,
    /// The unfinished line at the end of the last piece of CSV.
    rest: Vec<u8>,
    lines: u64,
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

impl Tape {
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
                Ok(Outcome::Counted) => page.counted += 1,
                Ok(Outcome::Known) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        })
        .map_err(|malformed| format!("byte {}: expected {}", malformed.at, malformed.expected))?;
        match failure {
            Some(error) => Err(trade_error(error, "page").to_string()),
            None => Ok((page, last)),
        }
    }

    fn add_csv(&mut self, piece: &[u8], is_last: bool) -> Result<u64, (String, u64)> {
        let mut counted = 0;
        let mut pieces = piece.split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(part) = pieces.next() {
            let ends = part.ends_with(b"\n") || (is_last && pieces.peek().is_none());
            if !ends {
                self.rest.extend_from_slice(part);
                break;
            }
            if self.rest.is_empty() {
                counted += self.add_line(part)?;
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(part);
                counted += self.add_line(&line)?;
            }
        }
        if is_last && !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            counted += self.add_line(&line)?;
        }
        Ok(counted)
    }

    #[inline]
    fn add_line(&mut self, line: &[u8]) -> Result<u64, (String, u64)> {
        self.lines += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(0);
        }
        let trade = read_csv_line(line)
            .map_err(|malformed| (format!("expected {}", malformed.expected), self.lines))?;
        match self.builder.add(&trade) {
            Ok(_) => Ok(1),
            Err(TradeError::Late) => Err(("the time goes back too far".to_owned(), self.lines)),
            Err(error) => Err((format!("{error:?}"), self.lines)),
        }
    }
}

#[pymethods]
impl CandleBuilder {
    #[new]
    fn new(intervals_minutes: Vec<u32>) -> PyResult<Self> {
        if intervals_minutes.is_empty() || intervals_minutes.contains(&0) {
            return Err(PyValueError::new_err("intervals_minutes must be positive"));
        }
        let builder = candles::CandleBuilder::new(&intervals_minutes);
        Ok(Self {
            inner: Mutex::new(Tape {
                builder,
                rest: Vec::new(),
                lines: 0,
            }),
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
        match lock(&self.inner).builder.add(&trade) {
            Ok(outcome) => Ok(outcome == Outcome::Counted),
            Err(error) => Err(trade_error(error, "trade")),
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
            .detach(|| lock(&self.inner).add_page(reply, start_ns, end_ns))
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
        py.detach(|| lock(&self.inner).add_csv(piece, is_last))
            .map_err(PyValueError::new_err)
    }

    #[pyo3(signature = (interval_minutes, before_s=None))]
    fn take<'py>(
        &self,
        py: Python<'py>,
        interval_minutes: u32,
        before_s: Option<i64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let taken = py.detach(|| lock(&self.inner).builder.take(interval_minutes, before_s));
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

    fn pending(&self, interval_minutes: u32) -> usize {
        lock(&self.inner).builder.pending(interval_minutes)
    }

    fn newest_s(&self, interval_minutes: u32) -> Option<i64> {
        lock(&self.inner).builder.newest_s(interval_minutes)
    }

    fn holes(&self) -> Vec<(u64, u64)> {
        lock(&self.inner).builder.holes()
    }

    #[getter]
    fn last_id(&self) -> Option<u64> {
        lock(&self.inner).builder.last_id()
    }
}

/// One file of Kraken's OHLCVT archive.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct OhlcvtParser {
    inner: Mutex<ohlcvt::OhlcvtParser>,
}

#[pymethods]
impl OhlcvtParser {
    #[new]
    fn new(interval_minutes: u32) -> PyResult<Self> {
        if interval_minutes == 0 {
            return Err(PyValueError::new_err("interval_minutes must be positive"));
        }
        Ok(Self {
            inner: Mutex::new(ohlcvt::OhlcvtParser::new(interval_minutes)),
        })
    }

    #[pyo3(signature = (piece, *, is_last=false))]
    fn feed(&self, py: Python<'_>, piece: &[u8], is_last: bool) -> PyResult<()> {
        py.detach(|| {
            let mut parser = lock(&self.inner);
            parser.feed(piece)?;
            if is_last { parser.finish() } else { Ok(()) }
        })
        .map_err(|bad: ohlcvt::BadLine| PyValueError::new_err((bad.problem, bad.line)))
    }

    #[pyo3(signature = (before_s=None))]
    fn take<'py>(&self, py: Python<'py>, before_s: Option<i64>) -> PyResult<Bound<'py, PyDict>> {
        let taken = py.detach(|| lock(&self.inner).take(before_s));
        let columns = PyDict::new(py);
        columns.set_item("time", int64(py, &taken.time, |&v| v)?)?;
        columns.set_item("open", float64(py, &taken.open, |&v| v)?)?;
        columns.set_item("high", float64(py, &taken.high, |&v| v)?)?;
        columns.set_item("low", float64(py, &taken.low, |&v| v)?)?;
        columns.set_item("close", float64(py, &taken.close, |&v| v)?)?;
        columns.set_item("volume", float64(py, &taken.volume, |&v| v)?)?;
        columns.set_item("count", int64(py, &taken.count, |&v| v)?)?;
        Ok(columns)
    }

    #[getter]
    fn rows(&self) -> usize {
        lock(&self.inner).rows()
    }

    #[getter]
    fn last_s(&self) -> Option<i64> {
        lock(&self.inner).last_s()
    }
}

fn int64<'py, T>(
    py: Python<'py>,
    rows: &[T],
    value: impl Fn(&T) -> i64,
) -> PyResult<Bound<'py, PyBytes>> {
    eight_byte_column(py, rows, |row| value(row).to_le_bytes())
}

fn float64<'py, T>(
    py: Python<'py>,
    rows: &[T],
    value: impl Fn(&T) -> f64,
) -> PyResult<Bound<'py, PyBytes>> {
    eight_byte_column(py, rows, |row| value(row).to_le_bytes())
}

fn eight_byte_column<'py, T>(
    py: Python<'py>,
    rows: &[T],
    value: impl Fn(&T) -> [u8; 8],
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, rows.len() * 8, |bytes| {
        for (row, place) in rows.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&value(row));
        }
        Ok(())
    })
}
