//! `MarketCache`.

use std::sync::Arc;
#[cfg(unix)]
use std::sync::Mutex;

use krakked_core::board::Board;
use krakked_core::cache;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::lock::FairLock;
#[cfg(unix)]
use crate::lock::lock;
use crate::owner::Owner;
#[cfg(unix)]
use crate::reader::wake::Wake;
use crate::rows::{ClosedCandle, ExactCandle, ExactTicker, LiveCandle, Ticker};

/// What readers' threads share with a `MarketCache`.
#[derive(Default)]
pub(crate) struct SharedCache {
    pub(crate) lock: FairLock<cache::Cache>,
    /// What wakes a listener; there from `listen` to `unlisten`.
    #[cfg(unix)]
    bell: Mutex<Option<Arc<Wake>>>,
}

#[cfg(unix)]
impl SharedCache {
    pub(crate) fn bell(&self) -> Option<Arc<Wake>> {
        lock(&self.bell).clone()
    }
}

/// Latest ticker and live candles of every symbol.
///
/// Ticker and candle are read from the board, which nobody holds for long. No Python object is made
/// or dropped while a lock is held: that could run other Python code, which could come back for it.
#[pyclass(frozen, module = "krakked._core")]
pub(crate) struct MarketCache {
    owner: Owner,
    shared: Arc<SharedCache>,
    board: Arc<Board>,
}

type NamedChanges = (Vec<String>, Vec<(String, u32)>);

impl MarketCache {
    /// Refuses a forked child.
    pub(crate) fn share(&self) -> PyResult<Arc<SharedCache>> {
        self.owner.check()?;
        Ok(self.shared.clone())
    }

    fn board(&self) -> PyResult<&Board> {
        self.owner.check()?;
        Ok(&self.board)
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut cache::Cache) -> T + Send,
    ) -> PyResult<T> {
        self.owner.check()?;
        Ok(self.shared.lock.with(py, work))
    }
}

#[pymethods]
impl MarketCache {
    #[new]
    fn new() -> Self {
        let shared = Arc::<SharedCache>::default();
        let board = shared.lock.lock().board();
        Self {
            owner: Owner::new("live cache"),
            shared,
            board,
        }
    }

    fn ticker(&self, symbol: &str) -> PyResult<Option<Ticker>> {
        Ok(self.board()?.ticker(symbol).map(Ticker::from))
    }

    fn ticker_exact(&self, symbol: &str) -> PyResult<Option<ExactTicker>> {
        Ok(self.board()?.ticker(symbol).map(ExactTicker::from))
    }

    fn candle(&self, symbol: &str, interval_minutes: u32) -> PyResult<Option<LiveCandle>> {
        let candle = self.board()?.candle(symbol, interval_minutes);
        Ok(candle.map(LiveCandle::from))
    }

    fn candle_exact(&self, symbol: &str, interval_minutes: u32) -> PyResult<Option<ExactCandle>> {
        let candle = self.board()?.candle(symbol, interval_minutes);
        Ok(candle.map(ExactCandle::from))
    }

    fn updated_ns(&self, symbol: &str) -> PyResult<Option<i64>> {
        Ok(self.board()?.ticker(symbol).map(|it| it.updated_ns))
    }

    fn learn_wall(&self, py: Python<'_>, wall_ns: i64, now_ns: i64) -> PyResult<()> {
        self.with(py, |cache| cache.learn_wall(wall_ns, now_ns))
    }

    fn want(&self, py: Python<'_>, symbol: &str) -> PyResult<()> {
        self.with(py, |cache| cache.want(symbol))
    }

    #[pyo3(signature = (now_ns, *, held_up = false))]
    fn close_due(&self, py: Python<'_>, now_ns: i64, held_up: bool) -> PyResult<Vec<u64>> {
        self.with(py, |cache| cache.close_due(now_ns, held_up))
    }

    fn server_ns(&self, py: Python<'_>, now_ns: i64) -> PyResult<Option<i64>> {
        self.with(py, |cache| cache.server_ns(now_ns))
    }

    fn expect_ticker(&self, py: Python<'_>, symbol: &str, since_ns: Option<i64>) -> PyResult<()> {
        self.with(py, |cache| cache.expect_ticker(symbol, since_ns))
    }

    fn expect_candles(
        &self,
        py: Python<'_>,
        symbol: &str,
        interval_minutes: u32,
        since_ns: Option<i64>,
    ) -> PyResult<()> {
        self.with(py, |cache| {
            cache.expect_candles(symbol, interval_minutes, since_ns);
        })
    }

    fn take_mute(&self, py: Python<'_>, now_ns: i64) -> PyResult<NamedChanges> {
        Ok(named(&self.with(py, |cache| cache.take_mute(now_ns))?))
    }

    fn traded(&self, py: Python<'_>, symbol: &str, interval_minutes: u32) -> PyResult<Option<u64>> {
        self.with(py, |cache| cache.traded(symbol, interval_minutes))
    }

    fn take_passed_over(&self, py: Python<'_>, now_ns: i64) -> PyResult<Vec<(String, u32, i64)>> {
        let passed = self.with(py, |cache| cache.take_passed_over(now_ns))?;
        Ok(passed
            .into_iter()
            .map(|(symbol, minutes, open_s)| (symbol.to_string(), minutes, open_s))
            .collect())
    }

    fn doubt(&self, py: Python<'_>, symbol: &str, interval_minutes: u32) -> PyResult<()> {
        self.with(py, |cache| cache.doubt(symbol, interval_minutes))
    }

    fn take_doubt(
        &self,
        py: Python<'_>,
        symbol: &str,
        interval_minutes: u32,
    ) -> PyResult<Option<i64>> {
        self.with(py, |cache| cache.take_doubt(symbol, interval_minutes))
    }

    fn take_closed(&self, py: Python<'_>) -> PyResult<Vec<ClosedCandle>> {
        let closed = self.with(py, cache::Cache::take_closed)?;
        Ok(closed.iter().map(ClosedCandle::from).collect())
    }

    #[pyo3(signature = (watcher, *, arm = false))]
    fn take_changed(&self, py: Python<'_>, watcher: u32, arm: bool) -> PyResult<NamedChanges> {
        let changes = self
            .with(py, |cache| cache.take_changed(watcher, arm))?
            .ok_or_else(|| PyKeyError::new_err("no such watcher"))?;
        Ok(named(&changes))
    }

    #[pyo3(signature = (*, everything = false))]
    fn add_watcher(&self, py: Python<'_>, everything: bool) -> PyResult<u32> {
        self.with(py, |cache| cache.add_watcher(everything))
    }

    fn remove_watcher(&self, py: Python<'_>, watcher: u32) -> PyResult<()> {
        self.with(py, |cache| cache.remove_watcher(watcher))
    }

    fn forget(&self, py: Python<'_>, symbol: &str) -> PyResult<()> {
        self.with(py, |cache| cache.forget(symbol))
    }

    fn clear_candles(&self, py: Python<'_>, symbol: &str, interval_minutes: u32) -> PyResult<()> {
        self.with(py, |cache| cache.clear_candles(symbol, interval_minutes))
    }

    #[cfg(unix)]
    fn listen(&self, py: Python<'_>, conflate_ns: i64) -> PyResult<i32> {
        self.with(py, |cache| cache.conflate(conflate_ns))?;
        let mut bell = lock(&self.shared.bell);
        let wake = match &*bell {
            Some(wake) => wake,
            None => bell.insert(Arc::new(Wake::new()?)),
        };
        Ok(wake.descriptor())
    }

    #[cfg(unix)]
    fn unlisten(&self) -> PyResult<()> {
        self.owner.check()?;
        lock(&self.shared.bell).take();
        Ok(())
    }

    #[cfg(unix)]
    fn wake(&self) -> PyResult<()> {
        self.owner.check()?;
        self.shared.bell().inspect(|it| it.ring());
        Ok(())
    }

    #[cfg(unix)]
    fn heard(&self) -> PyResult<()> {
        self.owner.check()?;
        self.shared.bell().inspect(|it| it.clear());
        Ok(())
    }
}

fn named((tickers, candles): &cache::ChangedSet) -> NamedChanges {
    (
        tickers.iter().map(ToString::to_string).collect(),
        candles
            .iter()
            .map(|(symbol, minutes)| (symbol.to_string(), *minutes))
            .collect(),
    )
}
