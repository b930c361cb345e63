//! `Signer`.

use krakked_core::sign;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use zeroize::Zeroizing;

use crate::buffer::TextOrBytes;
use crate::errors;

/// An API secret that signs and tells nothing else.
#[pyclass(frozen, module = "krakked")]
pub(crate) struct Signer(sign::Signer);

#[pymethods]
impl Signer {
    /// The argument is taken apart by hand: an automatic conversion would quote the secret in its
    /// error.
    #[new]
    fn new(secret: &Bound<'_, PyAny>) -> PyResult<Self> {
        let signer = if let Ok(text) = secret.cast::<PyString>() {
            let text = text.to_cow().map(|text| Zeroizing::new(text.into_owned()));
            let text =
                text.map_err(|_| PyValueError::new_err(sign::SecretError::NotBase64.to_string()))?;
            sign::Signer::new(text.as_bytes())
        } else if let Ok(bytes) = secret.cast::<PyBytes>() {
            sign::Signer::new(bytes.as_bytes())
        } else if let Ok(bytes) = secret.cast::<PyByteArray>() {
            sign::Signer::new(&Zeroizing::new(bytes.to_vec()))
        } else {
            return Err(PyTypeError::new_err(
                "the secret must be str, bytes or bytearray",
            ));
        };
        signer.map(Self).map_err(errors::secret)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn sign(&self, path: &str, nonce: Nonce, body: TextOrBytes<'_>) -> String {
        self.0.sign(path, &nonce.0, body.as_slice())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn sign_form<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        nonce: u64,
        params: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let nonce = nonce.to_string();
        let mut body = sign::Form::new(&nonce);
        for (name, value) in &params {
            body.push(&name.to_cow()?, &value.to_cow()?);
        }
        let body = body.as_str().as_bytes();
        Ok((PyBytes::new(py, body), self.0.sign(path, &nonce, body)))
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __repr__(&self) -> &'static str {
        "Signer(***)"
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __reduce__(&self) -> PyResult<()> {
        Err(errors::keeps_its_secret())
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(errors::keeps_its_secret())
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __getstate__(&self) -> PyResult<()> {
        Err(errors::keeps_its_secret())
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __copy__(&self) -> PyResult<()> {
        Err(errors::keeps_its_secret())
    }

    #[expect(clippy::unused_self, reason = "a Python method")]
    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(errors::keeps_its_secret())
    }
}

/// A nonce as text, given as int or str.
struct Nonce(String);

impl<'py> FromPyObject<'_, 'py> for Nonce {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Self(text.extract()?));
        }
        Ok(Self(object.extract::<u64>()?.to_string()))
    }
}
