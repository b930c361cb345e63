//! What readers see: the newest ticker and candles of every symbol, each behind a lock of its own that
//! the writer holds for the copy of one row. So a read never waits for a chunk to be decoded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use foldhash::fast::RandomState;

use crate::series::LiveCandle;
use crate::ticker::Ticker;

/// All symbols' places.
#[derive(Debug, Default)]
pub struct Board {
    places: RwLock<HashMap<Arc<str>, Arc<Place>, RandomState>>,
}

/// One symbol's place.
#[derive(Debug, Default)]
pub(crate) struct Place {
    ticker: Mutex<Option<Ticker>>,
    /// By length in minutes.
    candles: Mutex<Vec<(u32, Option<LiveCandle>)>>,
}

impl Board {
    /// Newest ticker.
    #[must_use]
    pub fn ticker(&self, symbol: &str) -> Option<Ticker> {
        *held(&self.place(symbol)?.ticker)
    }

    /// Newest candle.
    #[must_use]
    pub fn candle(&self, symbol: &str, interval_minutes: u32) -> Option<LiveCandle> {
        let place = self.place(symbol)?;
        let candles = held(&place.candles);
        let mut all = candles.iter();
        all.find(|(minutes, _)| *minutes == interval_minutes)?.1
    }

    pub(crate) fn add(&self, symbol: Arc<str>) -> Arc<Place> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.entry(symbol).or_default().clone()
    }

    fn place(&self, symbol: &str) -> Option<Arc<Place>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(symbol).cloned()
    }
}

impl Place {
    /// For the writer, who keeps it no longer than it takes to compare and replace a row.
    #[inline]
    pub(crate) fn ticker(&self) -> MutexGuard<'_, Option<Ticker>> {
        held(&self.ticker)
    }

    pub(crate) fn set_candle(&self, interval_minutes: u32, candle: Option<LiveCandle>) {
        let mut candles = held(&self.candles);
        let mut all = candles.iter_mut();
        match all.find(|(minutes, _)| *minutes == interval_minutes) {
            Some(known) => known.1 = candle,
            None => candles.push((interval_minutes, candle)),
        }
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
