//! Columns out of Rust: little-endian int64 and float64 `bytes`, ready for Arrow or numpy.

use krakked_core::csv_lines::BadLines;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// One int64 column of `rows`.
pub(crate) fn int64<'py, T>(
    py: Python<'py>,
    rows: &[T],
    value: impl Fn(&T) -> i64,
) -> PyResult<Bound<'py, PyBytes>> {
    eight_byte_column(py, rows, |row| value(row).to_le_bytes())
}

/// One float64 column of `rows`.
pub(crate) fn float64<'py, T>(
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

/// The lines of a CSV file that were left out: how many, and (number, problem) of the first ones.
pub(crate) fn bad_lines(bad: &BadLines) -> (u64, Vec<(u64, &'static str)>) {
    let first = bad.first.iter().map(|line| (line.line, line.problem));
    (bad.count, first.collect())
}
