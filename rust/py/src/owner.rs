//! The process that made an object, and nobody else, may use it.
//!
//! A fork copies locks in whatever state they are, held by threads that the child does not have. So
//! every binding with a lock asks here first, before it touches the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Counts forks from here on; called once, when the module is loaded.
pub(crate) fn watch_forks() {
    #[cfg(unix)]
    {
        extern "C" fn forked() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: the handler touches one atomic, and lives as long as the process: a Python
        // extension is never unloaded.
        ONCE.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(forked));
        });
    }
}

/// Remembers the process in which it was made.
pub(crate) struct Owner {
    what: &'static str,
    pid: u32,
    generation: u64,
}

impl Owner {
    /// This process; `what` belongs to it, for the error.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            pid: std::process::id(),
            generation: GENERATION.load(Ordering::Relaxed),
        }
    }

    /// Whether this is still the process that made it.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        GENERATION.load(Ordering::Relaxed) == self.generation
    }

    /// Refuses a forked child: `ForkedProcessError`.
    #[inline]
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.is_here() {
            Ok(())
        } else {
            Err(Python::attach(|py| self.refusal(py)))
        }
    }

    #[cold]
    fn refusal(&self, py: Python<'_>) -> PyErr {
        let text = format!(
            "The {} was opened by process {} and cannot be used in its forked child {}. Open it \
             anew in the child, or start the child with the multiprocessing method 'spawn'.",
            self.what,
            self.pid,
            std::process::id()
        );
        let error = || {
            let fields = PyDict::new(py);
            fields.set_item("owner_pid", self.pid)?;
            let class = py
                .import("krakked._errors")?
                .getattr("ForkedProcessError")?;
            class.call((text,), Some(&fields))
        };
        error().map_or_else(|failure| failure, PyErr::from_value)
    }
}
