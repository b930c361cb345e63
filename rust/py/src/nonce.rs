//! `NonceSequence`.

use krakked_core::nonce;
use pyo3::prelude::*;

use crate::errors;
use crate::lock::OwnedLock;

/// Strictly rising nonces: max(last + 1, now).
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct NonceSequence(OwnedLock<nonce::NonceSequence>);

#[pymethods]
impl NonceSequence {
    #[new]
    #[pyo3(signature = (last = 0))]
    fn new(last: u64) -> Self {
        Self(OwnedLock::new(
            "nonce sequence",
            nonce::NonceSequence::new(last),
        ))
    }

    fn next(&self, now_ns: u64) -> PyResult<u64> {
        self.0.lock()?.next(now_ns).map_err(errors::nonce)
    }

    #[getter]
    fn last(&self) -> PyResult<u64> {
        Ok(self.0.lock()?.last())
    }
}
