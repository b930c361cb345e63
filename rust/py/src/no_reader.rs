//! In the place of `reader` where there is none yet (Windows): Python reads the sockets there.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

fn none() -> PyErr {
    PyOSError::new_err("sockets are not read in Rust on this system")
}

/// A socket that a thread of its own reads: not here.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct SocketReader;

#[pymethods]
impl SocketReader {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(
        _arguments: &Bound<'_, pyo3::types::PyTuple>,
        _options: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Self> {
        Err(none())
    }
}

/// Whom a reader's TLS trusts: not here.
pub(crate) mod trust {
    use pyo3::prelude::*;

    /// Certificates of authorities: not here.
    #[pyclass(frozen, module = "krakked._core")]
    pub(crate) struct TlsTrust;

    #[pymethods]
    impl TlsTrust {
        #[new]
        fn new(_roots: Vec<Vec<u8>>) -> PyResult<Self> {
            Err(super::none())
        }
    }
}
