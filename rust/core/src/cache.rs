//! The live cache: newest ticker and newest candles of every symbol, shared by the connections of a
//! feed. Bounded by the number of symbols; readers and watchers never slow an update down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::decimal::Decimal;
use crate::rows::{CandleRow, TICKER_VALUES, TickerRow};
use crate::series::{Candle, Origin, Outcome, Series};

/// How many symbols are kept. Kraken lists about 1,450; what comes beyond this is ignored.
pub const MAX_SYMBOLS: usize = 16_384;

/// How many candle series one symbol may have. Kraken has nine intervals.
const MAX_SERIES: usize = 16;

/// Longest symbol kept, bytes. Kraken's longest has about 15.
const MAX_SYMBOL_BYTES: usize = 64;

/// Newest ticker of one symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticker {
    /// Exact numbers by [`crate::rows::TICKER_VALUE_NAMES`].
    pub values: [Option<Decimal>; TICKER_VALUES],
    /// Trades in 24 hours.
    pub trades: Option<u64>,
    /// Kraken's time of the update, unix nanoseconds.
    pub exchange_ns: Option<i64>,
    /// Elapsed time at which it came.
    pub updated_ns: i64,
}

/// A candle that is finished.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedCandle {
    /// Symbol.
    pub symbol: Arc<str>,
    /// Length.
    pub interval_minutes: u32,
    /// Final state.
    pub candle: Candle,
}

/// What changed for a watcher: symbols with a new ticker, and (symbol, minutes) of candles.
pub type Changes = (Vec<Arc<str>>, Vec<(Arc<str>, u32)>);

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    index: HashMap<Arc<str>, u32, RandomState>,
    names: Vec<Arc<str>>,
    tickers: Vec<Option<Ticker>>,
    /// Number of the newest ticker change of each symbol; apart from the tickers, to be searched fast.
    ticker_changed: Vec<u64>,
    series: Vec<Vec<Series>>,
    closed: Vec<ClosedCandle>,
    /// Number of the newest change of all.
    changes: u64,
    watchers: BTreeMap<u32, u64>,
    next_watcher: u32,
    /// Elapsed time of the newest frame of each open connection.
    heard: BTreeMap<u64, i64>,
    next_connection: u64,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // --- feeding -----------------------------------------------------------------------------

    /// Registers a connection; its number tells whose word a candle rests on.
    pub(crate) fn connect(&mut self) -> u64 {
        self.next_connection += 1;
        self.heard.insert(self.next_connection, i64::MIN);
        self.next_connection
    }

    /// A connection ended: its running candles are unconfirmed until another one tells their state.
    pub(crate) fn disconnect(&mut self, connection: u64) {
        if self.heard.remove(&connection).is_some() {
            for series in self.series.iter_mut().flatten() {
                if series.source == connection {
                    series.doubt();
                }
            }
        }
    }

    pub(crate) fn hear(&mut self, connection: u64, now_ns: i64) {
        if let Some(heard) = self.heard.get_mut(&connection) {
            *heard = now_ns;
        }
    }

    /// The number of a symbol, given on first sight; None when there is no room.
    #[inline]
    pub(crate) fn slot(&mut self, symbol: &str) -> Option<u32> {
        if let Some(&slot) = self.index.get(symbol) {
            return Some(slot);
        }
        self.new_slot(symbol)
    }

    #[cold]
    fn new_slot(&mut self, symbol: &str) -> Option<u32> {
        if self.names.len() >= MAX_SYMBOLS || symbol.len() > MAX_SYMBOL_BYTES {
            return None;
        }
        let slot = u32::try_from(self.names.len()).ok()?;
        let name: Arc<str> = Arc::from(symbol);
        self.index.insert(name.clone(), slot);
        self.names.push(name);
        self.tickers.push(None);
        self.ticker_changed.push(0);
        self.series.push(Vec::new());
        Some(slot)
    }

    pub(crate) fn name(&self, slot: u32) -> Arc<str> {
        self.names[slot as usize].clone()
    }

    /// Applies a ticker row; false when it is older than what is known. A snapshot always counts.
    #[inline]
    pub(crate) fn apply_ticker(
        &mut self,
        slot: u32,
        row: &TickerRow,
        snapshot: bool,
        now_ns: i64,
    ) -> bool {
        let at = slot as usize;
        let known = &mut self.tickers[at];
        if !snapshot
            && let (
                Some(Ticker {
                    exchange_ns: Some(known),
                    ..
                }),
                Some(new),
            ) = (&known, row.exchange_ns)
            && new < *known
        {
            return false;
        }
        *known = Some(Ticker {
            values: row.values,
            trades: row.trades,
            exchange_ns: row.exchange_ns,
            updated_ns: now_ns,
        });
        self.changes += 1;
        self.ticker_changed[at] = self.changes;
        true
    }

    /// Applies a candle row; None when there is no room for its series.
    pub(crate) fn apply_candle(
        &mut self,
        slot: u32,
        row: &CandleRow,
        origin: Origin,
    ) -> Option<Outcome> {
        let all = &mut self.series[slot as usize];
        let at = if let Some(at) = all
            .iter()
            .position(|it| it.interval_minutes == row.interval_minutes)
        {
            at
        } else if all.len() < MAX_SERIES {
            all.push(Series::new(row.interval_minutes));
            all.len() - 1
        } else {
            return None;
        };
        let series = &mut all[at];
        let (name, queue) = (&self.names[slot as usize], &mut self.closed);
        let outcome = series.apply(row, origin, |candle| {
            queue.push(ClosedCandle {
                symbol: name.clone(),
                interval_minutes: row.interval_minutes,
                candle,
            });
        });
        if outcome == Outcome::Applied {
            self.changes += 1;
            series.changed = self.changes;
        }
        Some(outcome)
    }

    // --- closing -----------------------------------------------------------------------------

    /// Closes running candles whose end plus `grace_s` the wall clock has passed; gives how many.
    ///
    /// With `now_ns`, the elapsed time that belongs to `wall_s`, a candle is closed only when its
    /// connection was heard since then: bytes come in order, so nothing of the candle can be missing.
    /// A connection that hangs closes nothing.
    pub fn close_due(&mut self, wall_s: f64, grace_s: f64, now_ns: Option<i64>) -> usize {
        let mut due = Vec::new();
        for (slot, all) in self.series.iter().enumerate() {
            for (at, series) in all.iter().enumerate() {
                let Some(end_s) = series.end_s() else {
                    continue;
                };
                #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
                let over_s = wall_s - (end_s as f64 + grace_s);
                if over_s >= 0.0 && self.was_heard(series.source, over_s, now_ns) {
                    due.push((end_s, slot, at));
                }
            }
        }
        due.sort_unstable();
        for &(_, slot, at) in &due {
            let series = &mut self.series[slot][at];
            if let Some(candle) = series.close() {
                self.changes += 1;
                series.changed = self.changes;
                self.closed.push(ClosedCandle {
                    symbol: self.names[slot].clone(),
                    interval_minutes: series.interval_minutes,
                    candle,
                });
            }
        }
        due.len()
    }

    fn was_heard(&self, connection: u64, over_s: f64, now_ns: Option<i64>) -> bool {
        let (Some(now_ns), Some(&heard)) = (now_ns, self.heard.get(&connection)) else {
            return now_ns.is_none();
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, which is as good"
        )]
        let since_due = (over_s * 1e9) as i64;
        heard >= now_ns.saturating_sub(since_due)
    }

    /// Takes the closed candles; of one series in order, each exactly once.
    pub fn take_closed(&mut self) -> Vec<ClosedCandle> {
        std::mem::take(&mut self.closed)
    }

    // --- reading -----------------------------------------------------------------------------

    /// Newest ticker.
    #[must_use]
    pub fn ticker(&self, symbol: &str) -> Option<Ticker> {
        self.tickers[*self.index.get(symbol)? as usize]
    }

    /// Newest candle.
    #[must_use]
    pub fn candle(&self, symbol: &str, interval_minutes: u32) -> Option<Candle> {
        let all = &self.series[*self.index.get(symbol)? as usize];
        all.iter()
            .find(|it| it.interval_minutes == interval_minutes)?
            .current
    }

    /// How many symbols have a ticker at or after `since_ns`.
    #[must_use]
    pub fn count_updated_since(&self, since_ns: i64) -> usize {
        self.tickers
            .iter()
            .flatten()
            .filter(|ticker| ticker.updated_ns >= since_ns)
            .count()
    }

    // --- watching ----------------------------------------------------------------------------

    /// Registers a watcher, who sees changes from now on.
    pub fn add_watcher(&mut self) -> u32 {
        self.next_watcher = self.next_watcher.wrapping_add(1);
        self.watchers.insert(self.next_watcher, self.changes);
        self.next_watcher
    }

    /// Forgets a watcher.
    pub fn remove_watcher(&mut self, watcher: u32) {
        self.watchers.remove(&watcher);
    }

    /// What changed since the watcher's last call, each once, the longest unchanged first. None: no
    /// such watcher.
    ///
    /// Changes are numbered, so an update costs the same with a thousand watchers as with none.
    pub fn take_changed(&mut self, watcher: u32) -> Option<Changes> {
        let seen = self.watchers.get_mut(&watcher)?;
        let since = std::mem::replace(seen, self.changes);
        if since == self.changes {
            return Some(Changes::default());
        }
        let mut tickers: Vec<(u64, usize)> = Vec::new();
        for (slot, &changed) in self.ticker_changed.iter().enumerate() {
            if changed > since {
                tickers.push((changed, slot));
            }
        }
        let mut candles = Vec::new();
        for (slot, all) in self.series.iter().enumerate() {
            for series in all {
                if series.changed > since {
                    candles.push((series.changed, slot, series.interval_minutes));
                }
            }
        }
        tickers.sort_unstable();
        candles.sort_unstable();
        let name = |slot: usize| self.names[slot].clone();
        Some((
            tickers.into_iter().map(|(_, slot)| name(slot)).collect(),
            candles
                .into_iter()
                .map(|(_, slot, minutes)| (name(slot), minutes))
                .collect(),
        ))
    }

    // --- forgetting --------------------------------------------------------------------------

    /// Drops ticker and candles of a symbol. Which candles were given out stays remembered.
    pub fn forget(&mut self, symbol: &str) {
        if let Some(&slot) = self.index.get(symbol) {
            self.tickers[slot as usize] = None;
            self.series[slot as usize]
                .iter_mut()
                .for_each(Series::clear);
        }
    }

    /// Drops the newest candle of one series.
    pub fn clear_candles(&mut self, symbol: &str, interval_minutes: u32) {
        if let Some(&slot) = self.index.get(symbol) {
            let all = self.series[slot as usize].iter_mut();
            all.filter(|it| it.interval_minutes == interval_minutes)
                .for_each(Series::clear);
        }
    }
}
