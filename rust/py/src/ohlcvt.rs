//! `OhlcvtParser`: one file of Kraken's OHLCVT archive, from bytes to columns.

use std::sync::Mutex;

use krakked_core::ohlcvt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::columns::{bad_lines, float64, int64};
use crate::lock::lock;

/// One file of Kraken's OHLCVT archive.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct OhlcvtParser {
    inner: Mutex<ohlcvt::OhlcvtParser>,
}

#[pymethods]
impl OhlcvtParser {
    #[new]
    #[pyo3(signature = (interval_minutes, *, earliest_s=0, now_s=i64::MAX, silence_s=i64::MAX))]
    fn new(interval_minutes: u32, earliest_s: i64, now_s: i64, silence_s: i64) -> PyResult<Self> {
        if interval_minutes == 0 {
            return Err(PyValueError::new_err("interval_minutes must be positive"));
        }
        Ok(Self {
            inner: Mutex::new(ohlcvt::OhlcvtParser::new(
                interval_minutes,
                earliest_s,
                now_s,
                silence_s,
            )),
        })
    }

    #[pyo3(signature = (piece, *, is_last=false))]
    fn feed(&self, py: Python<'_>, piece: &[u8], is_last: bool) {
        py.detach(|| {
            let mut parser = lock(&self.inner);
            parser.feed(piece);
            if is_last {
                parser.finish();
            }
        });
    }

    fn bad_lines(&self) -> (u64, Vec<(u64, &'static str)>) {
        bad_lines(lock(&self.inner).bad())
    }

    fn take_doubts(&self) -> Vec<(i64, i64)> {
        lock(&self.inner).take_doubts()
    }

    fn take_silences(&self) -> Vec<(i64, i64)> {
        lock(&self.inner).take_silences()
    }

    #[getter]
    fn in_order(&self) -> bool {
        lock(&self.inner).in_order()
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
