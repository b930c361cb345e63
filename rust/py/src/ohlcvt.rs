//! `OhlcvtParser`: one file of Kraken's OHLCVT archive, from bytes to columns.

use krakked_core::ohlcvt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::columns::{bad_lines, float64, int64};
use crate::lock::OwnedLock;

/// One file of Kraken's OHLCVT archive.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct OhlcvtParser {
    inner: OwnedLock<ohlcvt::OhlcvtParser>,
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
            inner: OwnedLock::new(
                "archive parser",
                ohlcvt::OhlcvtParser::new(interval_minutes, earliest_s, now_s, silence_s),
            ),
        })
    }

    #[pyo3(signature = (piece, *, is_last=false))]
    fn feed(&self, py: Python<'_>, piece: &[u8], is_last: bool) -> PyResult<()> {
        py.detach(|| {
            let mut parser = self.inner.lock()?;
            parser.feed(piece);
            if is_last {
                parser.finish();
            }
            Ok(())
        })
    }

    fn bad_lines(&self) -> PyResult<(u64, Vec<(u64, &'static str)>)> {
        Ok(bad_lines(self.inner.lock()?.bad()))
    }

    fn take_doubts(&self) -> PyResult<Vec<(i64, i64)>> {
        Ok(self.inner.lock()?.take_doubts())
    }

    fn take_silences(&self) -> PyResult<Vec<(i64, i64)>> {
        Ok(self.inner.lock()?.take_silences())
    }

    #[getter]
    fn in_order(&self) -> PyResult<bool> {
        Ok(self.inner.lock()?.in_order())
    }

    #[pyo3(signature = (before_s=None))]
    fn take<'py>(&self, py: Python<'py>, before_s: Option<i64>) -> PyResult<Bound<'py, PyDict>> {
        let taken = py.detach(|| Ok::<_, PyErr>(self.inner.lock()?.take(before_s)))?;
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
    fn rows(&self) -> PyResult<usize> {
        Ok(self.inner.lock()?.rows())
    }

    #[getter]
    fn last_s(&self) -> PyResult<Option<i64>> {
        Ok(self.inner.lock()?.last_s())
    }
}
