//! `FrameTap` and `FrameSplitter`.

use std::sync::Arc;

use krakked_core::cache::Cache;
use krakked_core::connection;
use krakked_core::frame;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::buffer::{BytesLike, TextOrBytes};
use crate::cache::{MarketCache, SharedCache};
use crate::events::WireEvent;
use crate::lock::{FairLock, OwnedLock};
use crate::owner::Owner;

/// Cap of a message: the whole instrument snapshot (about 0.6 MB) fits with room to spare.
const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Chunks from here on are worked on without the interpreter. One of 64 KiB takes about 40 us, a
/// hundredth of the time that taking the interpreter back may cost when another thread computes.
const DETACH_BYTES: usize = 1 << 20;

/// One connection's way from received bytes to the cache.
///
/// The connection is always locked before the cache, and no Python object is made meanwhile.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct FrameTap {
    owner: Owner,
    cache: Arc<SharedCache>,
    connection: Arc<FairLock<connection::FrameTap>>,
}

impl FrameTap {
    /// What a reader's thread needs; refuses a forked child.
    #[cfg(unix)]
    pub(crate) fn share(
        &self,
    ) -> PyResult<(Arc<FairLock<connection::FrameTap>>, Arc<SharedCache>)> {
        self.owner.check()?;
        Ok((self.connection.clone(), self.cache.clone()))
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut connection::FrameTap, &mut Cache) -> T + Send,
    ) -> PyResult<T> {
        self.owner.check()?;
        Ok(self.connection.with(py, |connection| {
            work(connection, &mut self.cache.lock.lock())
        }))
    }

    fn look<T: Send>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&mut connection::FrameTap) -> T + Send,
    ) -> PyResult<T> {
        self.owner.check()?;
        Ok(self.connection.with(py, look))
    }
}

#[pymethods]
impl FrameTap {
    #[new]
    #[pyo3(signature = (cache, *, max_message_bytes = MAX_MESSAGE_BYTES))]
    fn new(py: Python<'_>, cache: &MarketCache, max_message_bytes: usize) -> PyResult<Self> {
        let cache = cache.share()?;
        let connection = cache.lock.with(py, |cache| {
            connection::FrameTap::new(cache, max_message_bytes)
        });
        Ok(Self {
            owner: Owner::new("frame tap"),
            cache,
            connection: Arc::new(FairLock::new(connection)),
        })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        data: BytesLike<'py>,
        now_ns: i64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.owner.check()?;
        let bytes = data.as_slice();
        let mut forward = Vec::new();
        let mut feed = || {
            let mut connection = self.connection.lock();
            let mut cache = self.cache.lock.lock();
            connection.receive(&mut cache, bytes, now_ns, &mut forward);
        };
        if bytes.len() >= DETACH_BYTES {
            py.detach(feed);
        } else {
            feed();
        }
        Ok(PyBytes::new(py, &forward))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn apply_message(&self, py: Python<'_>, message: TextOrBytes<'_>, now_ns: i64) -> PyResult<()> {
        let bytes = message.as_slice();
        self.with(py, |it, cache| it.apply_message(cache, bytes, now_ns))
    }

    fn take_events(&self, py: Python<'_>) -> PyResult<Vec<WireEvent>> {
        let events = self.look(py, connection::FrameTap::take_events)?;
        Ok(events.into_iter().map(WireEvent::from).collect())
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, connection::FrameTap::end)
    }

    #[getter]
    fn connection(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |it| it.id())
    }

    #[getter]
    fn mid_frame(&self, py: Python<'_>) -> PyResult<bool> {
        self.look(py, |it| it.mid_frame())
    }

    #[getter]
    fn lag_ns(&self, py: Python<'_>) -> PyResult<Option<(i64, i64)>> {
        self.with(py, |it, cache| cache.lag_ns(it.id()))
    }

    #[getter]
    fn events_pending(&self, py: Python<'_>) -> PyResult<bool> {
        self.look(py, |it| it.events_pending())
    }

    #[getter]
    fn last_frame_ns(&self, py: Python<'_>) -> PyResult<i64> {
        self.look(py, |it| it.last_frame_ns())
    }

    #[getter]
    fn last_data_ns(&self, py: Python<'_>) -> PyResult<i64> {
        self.look(py, |it| it.last_data_ns())
    }

    #[getter]
    fn malformed_in_a_row(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, |it| it.malformed_in_a_row())
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (frames, counts) = self.look(py, |it| it.counts())?;
        let statistics = PyDict::new(py);
        for (name, count) in [
            ("frames", frames.tapped + frames.forwarded),
            ("messages", counts.messages),
            ("bytes", frames.bytes),
            ("tapped", frames.tapped),
            ("forwarded", frames.forwarded),
            ("tickers", counts.tickers),
            ("candles", counts.candles),
            ("heartbeats", counts.heartbeats),
            ("malformed", counts.malformed),
            ("refused", counts.refused),
            ("ignored", counts.ignored),
            ("late", counts.late),
            ("events_dropped", counts.events_dropped),
        ] {
            statistics.set_item(name, count)?;
        }
        Ok(statistics)
    }
}

impl Drop for FrameTap {
    fn drop(&mut self) {
        if self.owner.is_here() {
            let mut connection = self.connection.lock();
            connection.end(&mut self.cache.lock.lock());
        }
    }
}

/// The tap without a cache: gives the texts themselves.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct FrameSplitter(OwnedLock<frame::FrameSplitter>);

#[pymethods]
impl FrameSplitter {
    #[new]
    #[pyo3(signature = (*, max_message_bytes = MAX_MESSAGE_BYTES))]
    fn new(max_message_bytes: usize) -> Self {
        Self(OwnedLock::new(
            "frame splitter",
            frame::FrameSplitter::new(max_message_bytes),
        ))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        data: BytesLike<'py>,
    ) -> PyResult<(Vec<String>, Bound<'py, PyBytes>)> {
        let (mut texts, mut forward) = (Vec::new(), Vec::new());
        self.0
            .lock()?
            .receive(data.as_slice(), &mut forward, &mut |text| {
                texts.push(text.to_owned());
            });
        Ok((texts, PyBytes::new(py, &forward)))
    }

    #[getter]
    fn surrendered(&self) -> PyResult<bool> {
        Ok(self.0.lock()?.surrendered())
    }
}
