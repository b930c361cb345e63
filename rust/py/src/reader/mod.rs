//! `SocketReader`: a socket read by a thread of its own, from bytes to the cache, without Python.
//!
//! The thread (`thread.rs`) owns the socket and the TLS session. What it and the event loop share is
//! here: an inbox and an outbox (their rules are in `krakked_core`), and a pair of sockets to wake
//! each other. The thread never takes the interpreter's lock and holds no Python object.

mod sys;
mod thread;
mod tls;
pub(crate) mod trust;
pub(crate) mod wake;

use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use krakked_core::connection;
use krakked_core::inbox::{End, Inbox, Taken};
use krakked_core::outbox::Outbox;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use self::thread::Worker;
use self::trust::TlsTrust;
use self::wake::Link;
use crate::buffer::BytesLike;
use crate::cache::SharedCache;
use crate::lock::{FairLock, lock};
use crate::owner::Owner;
use crate::tap::FrameTap;

/// What a reader's thread needs; rustls' handshake is the deepest of it.
const STACK_BYTES: usize = 512 << 10;

/// What the thread and the event loop share.
struct Shared {
    inbox: Mutex<Inbox>,
    outbox: Mutex<Outbox>,
    connection: Arc<FairLock<connection::FrameTap>>,
    cache: Arc<SharedCache>,
    closing: AtomicBool,
    /// The thread does nothing more.
    finished: AtomicBool,
    received_bytes: AtomicU64,
    last_bytes_ns: AtomicI64,
}

/// A socket that a thread of its own reads; `_core.pyi` says more.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct SocketReader {
    owner: Owner,
    shared: Arc<Shared>,
    /// None once closed: the descriptors are gone.
    link: Mutex<Option<Arc<Link>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SocketReader {
    fn link(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone()
    }

    fn poke(&self) {
        if let Some(link) = self.link() {
            link.poke();
        }
    }

    /// Tells the thread to go; it goes at its next look.
    fn dismiss(&self) -> Option<JoinHandle<()>> {
        self.shared.closing.store(true, Ordering::SeqCst);
        if let Some(link) = lock(&self.link).take() {
            link.poke();
        }
        lock(&self.thread).take()
    }
}

#[pymethods]
impl SocketReader {
    #[new]
    #[pyo3(signature = (tap, descriptor, *, trust = None, host = None))]
    fn new(
        tap: &FrameTap,
        descriptor: i32,
        trust: Option<&TlsTrust>,
        host: Option<&str>,
    ) -> PyResult<Self> {
        if descriptor < 0 {
            return Err(PyValueError::new_err("no descriptor"));
        }
        // SAFETY: the caller gives its descriptor away (`socket.detach`); it is closed here.
        let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let owner = Owner::new("socket reader");
        let (connection, cache) = tap.share()?;
        let session = match (trust, host) {
            (Some(trust), Some(host)) => Some(trust.session(host)?),
            (None, _) => None,
            (Some(_), None) => return Err(PyValueError::new_err("TLS wants the host's name")),
        };
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            outbox: Mutex::default(),
            connection,
            cache,
            closing: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            received_bytes: AtomicU64::new(0),
            last_bytes_ns: AtomicI64::new(sys::elapsed_ns()),
        });
        let link = Arc::new(Link::new()?);
        let worker = Worker::new(shared.clone(), link.clone(), socket, session);
        let builder = std::thread::Builder::new()
            .name("krakked-reader".into())
            .stack_size(STACK_BYTES);
        let thread = sys::spawn_without_signals(builder, move || worker.work())?;
        Ok(Self {
            owner,
            shared,
            link: Mutex::new(Some(link)),
            thread: Mutex::new(Some(thread)),
        })
    }

    #[getter]
    fn descriptor(&self) -> PyResult<i32> {
        self.owner.check()?;
        let link = self.link();
        link.map(|link| link.event_loop_descriptor())
            .ok_or_else(|| PyOSError::new_err("closed"))
    }

    fn clear(&self) -> PyResult<()> {
        self.owner.check()?;
        if let Some(link) = self.link() {
            link.clear();
        }
        Ok(())
    }

    fn open_or_arm(&self) -> PyResult<Option<bool>> {
        self.owner.check()?;
        Ok(lock(&self.shared.inbox).open_or_arm())
    }

    #[pyo3(signature = (max_bytes = None))]
    fn take_or_arm<'py>(
        &self,
        py: Python<'py>,
        max_bytes: Option<usize>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.owner.check()?;
        let (taken, room) = {
            let mut inbox = lock(&self.shared.inbox);
            let was_full = !inbox.has_room();
            let taken = inbox.take_or_arm(max_bytes.unwrap_or(usize::MAX));
            (taken, was_full && inbox.has_room())
        };
        if room {
            self.poke();
        }
        Ok(match taken {
            Taken::Bytes(bytes) => Some(PyBytes::new(py, &bytes).into_any()),
            Taken::End => Some(PyBytes::new(py, b"").into_any()),
            Taken::Notice => Some(true.into_pyobject(py)?.to_owned().into_any()),
            Taken::Nothing => None,
        })
    }

    #[pyo3(signature = (data, start = 0))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn send(&self, data: BytesLike<'_>, start: usize) -> PyResult<usize> {
        self.owner.check()?;
        let left = data.as_slice().get(start..).unwrap_or_default();
        let count = lock(&self.shared.outbox).offer(left);
        self.poke();
        Ok(count)
    }

    fn room_or_arm(&self) -> PyResult<bool> {
        self.owner.check()?;
        Ok(lock(&self.shared.outbox).room_or_arm())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.owner.check()?;
        if let Some(thread) = self.dismiss() {
            // It never waits but for the socket and for us, so this takes no longer than a chunk.
            py.detach(|| drop(thread.join()));
        }
        Ok(())
    }

    #[getter]
    fn end(&self) -> PyResult<Option<(&'static str, String)>> {
        self.owner.check()?;
        let inbox = lock(&self.shared.inbox);
        Ok(inbox
            .reason()
            .map(|end: &End| (end.kind(), end.to_string())))
    }

    #[getter]
    fn finished(&self) -> bool {
        self.shared.finished.load(Ordering::SeqCst)
    }

    #[getter]
    fn received_bytes(&self) -> u64 {
        self.shared.received_bytes.load(Ordering::Relaxed)
    }

    #[getter]
    fn last_bytes_ns(&self) -> i64 {
        self.shared.last_bytes_ns.load(Ordering::Relaxed)
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        if self.owner.is_here() {
            drop(self.dismiss());
        } else if let Ok(thread) = self.thread.get_mut() {
            // A forked child has no such thread: nothing to dismiss, and no lock to touch.
            std::mem::forget(thread.take());
        }
    }
}
