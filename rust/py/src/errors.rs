//! How refusals of the core reach Python.

use krakked_core::nonce::NonceExhausted;
use krakked_core::sign::SecretError;
use pyo3::PyErr;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};

/// A bad secret: `ValueError` with a fixed text.
pub(crate) fn secret(error: SecretError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// No nonce is left: `OverflowError`.
pub(crate) fn nonce(error: NonceExhausted) -> PyErr {
    PyOverflowError::new_err(error.to_string())
}

/// What copying, pickling or looking into a [`crate::signer::Signer`] gives.
pub(crate) fn keeps_its_secret() -> PyErr {
    PyTypeError::new_err("a Signer cannot be copied, pickled or looked into")
}
