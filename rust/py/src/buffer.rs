//! Turns any bytes-like object into a slice, once, without a copy for `bytes`.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};

/// Bytes borrowed from Python, or copied where they could change under us.
pub(crate) enum BytesLike<'py> {
    /// A `bytes` object, which never changes.
    Bytes(Bound<'py, PyBytes>),
    /// A copy of a `bytearray`, `memoryview` or the like.
    Copied(Vec<u8>),
}

impl BytesLike<'_> {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for BytesLike<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.to_owned()));
        }
        if let Ok(bytes) = object.cast::<PyByteArray>() {
            return Ok(Self::Copied(bytes.to_vec()));
        }
        if object.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "expected bytes, not str; encode it first",
            ));
        }
        let buffer = PyBuffer::<u8>::get(&object)
            .map_err(|_| PyTypeError::new_err("expected bytes, bytearray or memoryview"))?;
        Ok(Self::Copied(buffer.to_vec(object.py())?))
    }
}

/// A `str` as UTF-8, or any bytes-like object.
pub(crate) enum TextOrBytes<'py> {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(BytesLike<'py>),
}

impl TextOrBytes<'_> {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes.as_slice(),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for TextOrBytes<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(text) => Ok(Self::Text(text.extract()?)),
            Err(_) => Ok(Self::Bytes(object.extract()?)),
        }
    }
}
