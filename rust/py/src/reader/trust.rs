//! `TlsTrust`: whom a reader's TLS trusts, parsed once.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::tls::Session;
use crate::owner::Owner;

/// Certificates of authorities, ready for any number of connections.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct TlsTrust {
    /// rustls keeps tickets of sessions behind a lock.
    owner: Owner,
    config: Arc<ClientConfig>,
    roots: usize,
}

impl TlsTrust {
    /// A session with the server of that name, which its certificate must bear.
    pub(super) fn session(&self, host: &str) -> PyResult<Session> {
        self.owner.check()?;
        let refused = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(&error))?;
        let connection = UnbufferedClientConnection::new(self.config.clone(), name)
            .map_err(|error| refused(&error))?;
        Ok(Session::new(connection))
    }
}

#[pymethods]
impl TlsTrust {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "a list arrives by value")]
    fn new(py: Python<'_>, roots: Vec<Vec<u8>>) -> PyResult<Self> {
        py.detach(|| {
            let mut store = RootCertStore::empty();
            // What cannot be an authority is left out, as OpenSSL leaves it out.
            let ders = roots.iter().map(|der| CertificateDer::from(der.as_slice()));
            let (count, _) = store.add_parsable_certificates(ders);
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(store)
                .with_no_client_auth();
            Ok(Self {
                owner: Owner::new("TLS trust"),
                config: Arc::new(config),
                roots: count,
            })
        })
        .map_err(|error: rustls::Error| PyValueError::new_err(error.to_string()))
    }

    #[getter]
    fn roots(&self) -> usize {
        self.roots
    }
}
