//! `FrameTap` and `FrameSplitter`.

use std::sync::{Arc, Mutex};

use krakked_core::cache::Cache;
use krakked_core::connection;
use krakked_core::frame;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::buffer::{BytesLike, TextOrBytes};
use crate::cache::MarketCache;
use crate::events::event_tuple;
use crate::lock::lock;

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
    cache: Arc<Mutex<Cache>>,
    connection: Mutex<connection::FrameTap>,
}

impl FrameTap {
    fn with<T>(&self, work: impl FnOnce(&mut connection::FrameTap, &mut Cache) -> T) -> T {
        let mut connection = lock(&self.connection);
        work(&mut connection, &mut lock(&self.cache))
    }
}

#[pymethods]
impl FrameTap {
    #[new]
    #[pyo3(signature = (cache, *, max_message_bytes = MAX_MESSAGE_BYTES))]
    fn new(cache: &MarketCache, max_message_bytes: usize) -> Self {
        let cache = cache.share();
        let connection = connection::FrameTap::new(&mut lock(&cache), max_message_bytes);
        Self {
            cache,
            connection: Mutex::new(connection),
        }
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
    ) -> Bound<'py, PyBytes> {
        let bytes = data.as_slice();
        let mut forward = Vec::new();
        let mut feed = || self.with(|it, cache| it.receive(cache, bytes, now_ns, &mut forward));
        if bytes.len() >= DETACH_BYTES {
            py.detach(feed);
        } else {
            feed();
        }
        PyBytes::new(py, &forward)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn apply_message(&self, message: TextOrBytes<'_>, now_ns: i64) {
        self.with(|it, cache| it.apply_message(cache, message.as_slice(), now_ns));
    }

    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let events = lock(&self.connection).take_events();
        events
            .into_iter()
            .map(|event| event_tuple(py, event))
            .collect()
    }

    fn end(&self) {
        self.with(connection::FrameTap::end);
    }

    #[getter]
    fn connection(&self) -> u64 {
        lock(&self.connection).id()
    }

    #[getter]
    fn mid_frame(&self) -> bool {
        lock(&self.connection).mid_frame()
    }

    #[getter]
    fn lag_ns(&self) -> Option<(i64, i64)> {
        self.with(|it, cache| cache.lag_ns(it.id()))
    }

    #[getter]
    fn events_pending(&self) -> bool {
        lock(&self.connection).events_pending()
    }

    #[getter]
    fn last_frame_ns(&self) -> i64 {
        lock(&self.connection).last_frame_ns()
    }

    #[getter]
    fn last_data_ns(&self) -> i64 {
        lock(&self.connection).last_data_ns()
    }

    #[getter]
    fn malformed_in_a_row(&self) -> u64 {
        lock(&self.connection).malformed_in_a_row()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (frames, counts) = lock(&self.connection).counts();
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
        self.end();
    }
}

/// The tap without a cache: gives the texts themselves.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct FrameSplitter(Mutex<frame::FrameSplitter>);

#[pymethods]
impl FrameSplitter {
    #[new]
    #[pyo3(signature = (*, max_message_bytes = MAX_MESSAGE_BYTES))]
    fn new(max_message_bytes: usize) -> Self {
        Self(Mutex::new(frame::FrameSplitter::new(max_message_bytes)))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted arguments are owned"
    )]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        data: BytesLike<'py>,
    ) -> (Vec<String>, Bound<'py, PyBytes>) {
        let (mut texts, mut forward) = (Vec::new(), Vec::new());
        lock(&self.0).receive(data.as_slice(), &mut forward, &mut |text| {
            texts.push(text.to_owned());
        });
        (texts, PyBytes::new(py, &forward))
    }

    #[getter]
    fn surrendered(&self) -> bool {
        lock(&self.0).surrendered()
    }
}
