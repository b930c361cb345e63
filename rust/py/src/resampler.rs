//! `Resampler`: shorter candles, column by column, to longer ones.

use krakked_core::resampler::{self, OutOfOrder, Row};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyBytesMethods, PyDict};

use crate::columns::{float64, int64};
use crate::lock::OwnedLock;

/// Puts rows together between edges.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct Resampler {
    inner: OwnedLock<Option<resampler::Resampler>>,
}

#[pymethods]
impl Resampler {
    #[new]
    fn new(edges: Vec<i64>) -> Self {
        Self {
            inner: OwnedLock::new("resampler", Some(resampler::Resampler::new(edges))),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands them over")]
    fn feed(
        &self,
        py: Python<'_>,
        columns: [Bound<'_, PyBytes>; 8],
        source: &[u8],
    ) -> PyResult<()> {
        let rows = source.len();
        let columns = columns.each_ref().map(PyBytesMethods::as_bytes);
        if columns.iter().any(|column| column.len() != rows * 8) {
            return Err(PyValueError::new_err("the columns differ in length"));
        }
        py.detach(|| {
            let mut inner = self.inner.lock()?;
            let resampler = inner
                .as_mut()
                .ok_or_else(|| PyValueError::new_err("it has given its candles already"))?;
            // Cut to one length, so that no access needs a check of its own.
            let [time, open, high, low, close, vwap, volume, count] =
                columns.map(|column| &column.as_chunks::<8>().0[..rows]);
            for at in 0..rows {
                let row = Row {
                    open_s: i64::from_le_bytes(time[at]),
                    open: f64::from_le_bytes(open[at]),
                    high: f64::from_le_bytes(high[at]),
                    low: f64::from_le_bytes(low[at]),
                    close: f64::from_le_bytes(close[at]),
                    vwap: f64::from_le_bytes(vwap[at]),
                    volume: f64::from_le_bytes(volume[at]),
                    count: i64::from_le_bytes(count[at]),
                    source: i8::from_le_bytes([source[at]]),
                };
                resampler.push(&row).map_err(|OutOfOrder| {
                    PyValueError::new_err("rows must come oldest first, between the edges")
                })?;
            }
            Ok(())
        })
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let made = self
            .inner
            .lock()?
            .take()
            .ok_or_else(|| PyValueError::new_err("it has given its candles already"))?
            .finish();
        let columns = PyDict::new(py);
        columns.set_item("time", int64(py, &made, |it| it.open_s)?)?;
        columns.set_item("open", float64(py, &made, |it| it.open)?)?;
        columns.set_item("high", float64(py, &made, |it| it.high)?)?;
        columns.set_item("low", float64(py, &made, |it| it.low)?)?;
        columns.set_item("close", float64(py, &made, |it| it.close)?)?;
        columns.set_item("vwap", float64(py, &made, |it| it.vwap)?)?;
        columns.set_item("volume", float64(py, &made, |it| it.volume)?)?;
        columns.set_item("count", int64(py, &made, |it| it.count)?)?;
        columns.set_item("source", int64(py, &made, |it| i64::from(it.source))?)?;
        columns.set_item("end", int64(py, &made, |it| it.end_s)?)?;
        columns.set_item("rows", int64(py, &made, |it| it.rows)?)?;
        Ok(columns)
    }
}
