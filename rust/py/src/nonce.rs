//! `NonceSequence`.

use std::sync::Mutex;

use krakked_core::nonce;
use pyo3::prelude::*;

use crate::errors;
use crate::lock::lock;

/// Strictly rising nonces: max(last + 1, now).
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct NonceSequence(Mutex<nonce::NonceSequence>);

impl NonceSequence {
    fn with<T>(&self, work: impl FnOnce(&mut nonce::NonceSequence) -> T) -> T {
        work(&mut lock(&self.0))
    }
}

#[pymethods]
impl NonceSequence {
    #[new]
    #[pyo3(signature = (last = 0))]
    fn new(last: u64) -> Self {
        Self(Mutex::new(nonce::NonceSequence::new(last)))
    }

    fn next(&self, now_ns: u64) -> PyResult<u64> {
        self.with(|sequence| sequence.next(now_ns))
            .map_err(errors::nonce)
    }

    #[getter]
    fn last(&self) -> u64 {
        self.with(|sequence| sequence.last())
    }
}
