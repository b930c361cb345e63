//! The live cache: newest ticker and newest candles of every symbol, shared by the connections of a
//! feed. Bounded by the number of symbols; readers and watchers never slow an update down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::bell::{Bell, Ring};
use crate::board::{Board, Place};
use crate::evidence_source::EvidenceSource;
use crate::rows::{CandleRow, TickerRow};
use crate::series::{Evidence, LiveCandle, LiveSeries, Origin, RowOutcome};
use crate::stamped_clock::StampedClock;
use crate::ticker::{Ticker, TickerLate, Witness};
use crate::trade_marks::{Mark, proves_trade};

/// How many symbols are kept. Kraken lists about 1,450; what comes beyond this is ignored.
pub const MAX_SYMBOLS: usize = 16_384;

/// How many candle series one symbol may have. Kraken has nine intervals.
const MAX_SERIES: usize = 16;

/// Longest symbol kept, bytes. Kraken's longest has about 15.
const MAX_SYMBOL_BYTES: usize = 64;

/// Candles that open at multiples of their length, up to a day; longer ones have their own calendar.
const ALIGNED_MINUTES: u32 = 1_440;

/// A candle that is finished, or a correction of one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedCandle {
    /// Symbol.
    pub symbol: Arc<str>,
    /// Length.
    pub interval_minutes: u32,
    /// Final state, as far as it is known.
    pub candle: LiveCandle,
    /// Why it is given out.
    pub evidence: Evidence,
}

/// What changed for a watcher: symbols with a new ticker, and (symbol, minutes) of candles.
pub type ChangedSet = (Vec<Arc<str>>, Vec<(Arc<str>, u32)>);

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    index: HashMap<Arc<str>, u32, RandomState>,
    names: Vec<Arc<str>>,
    /// Whether only symbols that are wanted are in the index.
    choosy: bool,
    /// Slots of symbols that are wanted no more.
    parked: HashMap<Arc<str>, u32, RandomState>,
    /// The newest tickers and candles, where readers find them without waiting for us.
    board: Arc<Board>,
    places: Vec<Arc<Place>>,
    witnesses: Vec<Witness>,
    /// Number of the newest ticker change of each symbol; apart from the tickers, to be searched fast.
    ticker_changed: Vec<u64>,
    series: Vec<Vec<LiveSeries>>,
    closed: Vec<ClosedCandle>,
    /// Number of the newest change of all.
    changes: u64,
    bell: Bell,
    watchers: BTreeMap<u32, u64>,
    next_watcher: u32,
    clock: StampedClock,
    /// What is known of each open connection.
    sources: BTreeMap<u64, EvidenceSource>,
    next_connection: u64,
    /// How far the candle maker is behind the gateways' clock, as last seen on any connection.
    behind_ns: i64,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where readers look; shared, and never slow.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    // --- feeding -----------------------------------------------------------------------------

    /// Registers a connection; its number tells whose word a candle rests on.
    pub(crate) fn connect(&mut self) -> u64 {
        self.next_connection += 1;
        self.sources
            .insert(self.next_connection, EvidenceSource::default());
        self.next_connection
    }

    /// A connection ended: its running candles are unconfirmed until another one tells their state.
    pub(crate) fn disconnect(&mut self, connection: u64) {
        if self.sources.remove(&connection).is_some() {
            for series in self.series.iter_mut().flatten() {
                if series.source == connection {
                    series.doubt();
                }
            }
        }
    }

    /// Takes in the time of an answer of the exchange.
    pub(crate) fn learn_time(&mut self, told_ns: i64, now_ns: i64) {
        self.clock.learn(told_ns, now_ns);
    }

    /// A ping was answered: by then its gateway had this time.
    pub(crate) fn pong(&mut self, connection: u64, told_ns: i64) {
        if let Some(source) = self.sources.get_mut(&connection) {
            source.pong_ns = source.pong_ns.max(told_ns);
        }
    }

    /// An ohlc update came, of whatever symbol: how far the candle maker is. False: no such time.
    #[inline]
    pub(crate) fn progress(&mut self, connection: u64, event_ns: i64, now_ns: i64) -> bool {
        if !self.clock.admits(event_ns, now_ns) {
            return false;
        }
        let server_ns = self.clock.at(now_ns);
        if let Some(source) = self.sources.get_mut(&connection) {
            source.update(event_ns, server_ns, now_ns);
        }
        true
    }

    /// Takes in what this machine's wall clock shows.
    pub fn learn_wall(&mut self, wall_ns: i64, now_ns: i64) {
        self.clock.learn_wall(wall_ns, now_ns);
    }

    /// How long ago something with this stamp was made; 0 while no clock tells.
    pub(crate) fn age_ns(&self, stamp_ns: i64, now_ns: i64) -> i64 {
        self.clock.age_ns(stamp_ns, now_ns)
    }

    /// The time that Kraken's candle maker has at least, unix nanoseconds; None before the first
    /// answer that bore a time.
    #[must_use]
    pub fn server_ns(&self, now_ns: i64) -> Option<i64> {
        Some(self.clock.at(now_ns)?.saturating_sub(self.behind_ns))
    }

    /// Worst lag of a connection's candle rows in ten minutes, and the time a candle waits for them.
    #[must_use]
    pub fn lag_ns(&self, connection: u64) -> Option<(i64, i64)> {
        let source = self.sources.get(&connection)?;
        Some((source.worst_lag_ns(), source.grace_ns()))
    }

    /// From the first call on only symbols that were asked for have a place here.
    pub fn want(&mut self, symbol: &str) {
        self.choosy = true;
        if let Some((name, slot)) = self.parked.remove_entry(symbol) {
            self.index.insert(name, slot);
        } else if !self.index.contains_key(symbol) {
            self.new_slot(symbol);
        }
    }

    /// The number of a symbol, given on first sight; None when nobody wants it or there is no room.
    #[inline]
    pub(crate) fn slot(&mut self, symbol: &str) -> Option<u32> {
        if let Some(&slot) = self.index.get(symbol) {
            return Some(slot);
        }
        if self.choosy {
            return None;
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
        self.places.push(self.board.add(name.clone()));
        self.names.push(name);
        self.witnesses.push(Witness::default());
        self.ticker_changed.push(0);
        self.series.push(Vec::new());
        Some(slot)
    }

    pub(crate) fn name(&self, slot: u32) -> Arc<str> {
        self.names[slot as usize].clone()
    }

    /// Applies a ticker row. None moves the price back, a snapshot neither: what a lagging gateway
    /// tells of the present is the past.
    #[inline]
    pub(crate) fn apply_ticker(
        &mut self,
        slot: u32,
        row: &TickerRow,
        snapshot: bool,
        late: &mut TickerLate,
        now_ns: i64,
    ) -> RowOutcome {
        let at = slot as usize;
        if let Some(stamp_ns) = row.exchange_ns
            && !self.clock.admits(stamp_ns, now_ns)
        {
            return RowOutcome::Refused;
        }
        let mut shown = self.places[at].ticker();
        let known_ns = shown.as_ref().and_then(|known| known.exchange_ns);
        // A snapshot is made when asked and bears the time of what it tells. Kraken's documentation
        // does not say whether an update without a trade bears a time of its own.
        if let Some(new_ns) = row.exchange_ns
            && !snapshot
            && known_ns.is_none_or(|known_ns| new_ns > known_ns)
        {
            late.note(self.clock.age_ns(new_ns, now_ns), now_ns);
        }
        if let Some(known) = &*shown
            && let (Some(known_ns), Some(new_ns)) = (known.exchange_ns, row.exchange_ns)
        {
            // What was taken in before Kraken's clock was known may be no time at all.
            if new_ns < known_ns && !self.clock.is_ahead(known_ns, now_ns) {
                return RowOutcome::Late;
            }
            let witness = &mut self.witnesses[at];
            if !snapshot && proves_trade(&known.values, known.trades, row) && !witness.gap {
                witness.marks.add(Mark {
                    stamp_ns: new_ns,
                    arrived_ns: now_ns,
                });
            }
        }
        let witness = &mut self.witnesses[at];
        witness.showed(row, snapshot);
        *shown = Some(Ticker {
            values: row.values,
            trades: row.trades,
            exchange_ns: row.exchange_ns,
            updated_ns: now_ns,
            late_ns: late.at(now_ns),
        });
        drop(shown);
        self.changes += 1;
        self.ticker_changed[at] = self.changes;
        RowOutcome::Applied
    }

    /// Applies a candle row; None when there is no room for its series.
    pub(crate) fn apply_candle(
        &mut self,
        slot: u32,
        row: &CandleRow,
        origin: Origin,
    ) -> Option<RowOutcome> {
        let length_s = i64::from(row.interval_minutes) * 60;
        let off_grid = row.interval_minutes <= ALIGNED_MINUTES && row.open_s % length_s != 0;
        let open_ns = row.open_s.saturating_mul(1_000_000_000);
        if off_grid || self.clock.is_ahead(open_ns, origin.now_ns) {
            return Some(RowOutcome::Refused);
        }
        let at = self.series_at(slot, row.interval_minutes)?;
        let series = &mut self.series[slot as usize][at];
        if series.current.is_some_and(|it| {
            let known_ns = it.open_s.saturating_mul(1_000_000_000);
            self.clock.is_ahead(known_ns, origin.now_ns)
        }) {
            series.clear(); // taken in before Kraken's clock was known
        }
        let (name, queue) = (&self.names[slot as usize], &mut self.closed);
        let witness = &mut self.witnesses[slot as usize];
        let outcome = series.apply(row, origin, &witness.marks, |candle, evidence| {
            queue.push(ClosedCandle {
                symbol: name.clone(),
                interval_minutes: row.interval_minutes,
                candle,
                evidence,
            });
        });
        self.places[slot as usize].set_candle(row.interval_minutes, series.current);
        if outcome == RowOutcome::Applied {
            self.changes += 1;
            series.changed = self.changes;
            if !origin.snapshot {
                let ticker = self.places[slot as usize].ticker();
                witness.told(ticker.as_ref(), origin.event_ns, origin.now_ns);
            }
        }
        Some(outcome)
    }

    fn series_at(&mut self, slot: u32, interval_minutes: u32) -> Option<usize> {
        let all = &mut self.series[slot as usize];
        let known = all
            .iter()
            .position(|it| it.interval_minutes == interval_minutes);
        if known.is_none() && all.len() < MAX_SERIES {
            all.push(LiveSeries::new(interval_minutes));
            return Some(all.len() - 1);
        }
        known
    }

    // --- closing -----------------------------------------------------------------------------

    /// Closes what there is evidence for; gives the connections whose quiet a ping would have to
    /// prove.
    ///
    /// `held_up`: this program was not reading for a while, so rows look later than they were.
    pub fn close_due(&mut self, now_ns: i64, held_up: bool) -> Vec<u64> {
        for source in self.sources.values_mut() {
            source.tick(now_ns, held_up);
        }
        if let Some(behind_ns) = self
            .sources
            .values()
            .filter_map(EvidenceSource::least_lag_ns)
            .min()
        {
            self.behind_ns = behind_ns;
        }
        let behind_ns = self.behind_ns;
        let server_ns = self.clock.at(now_ns);
        let mut unproven = Vec::new();
        for (slot, all) in self.series.iter_mut().enumerate() {
            for series in all {
                let connection = self.sources.get(&series.source);
                let evidence = match (connection, series.end_s()) {
                    (Some(source), Some(end_s)) => {
                        let over_ns = end_s.saturating_mul(1_000_000_000);
                        let found = source.evidence(over_ns, behind_ns, now_ns);
                        if found.is_none()
                            && source.wants_pong(over_ns, behind_ns, server_ns, now_ns)
                            && !unproven.contains(&series.source)
                        {
                            unproven.push(series.source);
                        }
                        found
                    }
                    _ => None,
                };
                let (name, queue) = (&self.names[slot], &mut self.closed);
                let (minutes, before) = (series.interval_minutes, queue.len());
                let marks = &self.witnesses[slot].marks;
                series.tick(evidence, marks, now_ns, |candle, evidence| {
                    queue.push(ClosedCandle {
                        symbol: name.clone(),
                        interval_minutes: minutes,
                        candle,
                        evidence,
                    });
                });
                if queue.len() > before {
                    self.places[slot].set_candle(minutes, series.current);
                    self.changes += 1;
                    series.changed = self.changes;
                }
            }
        }
        unproven
    }

    /// The exchange acknowledged a candle series, or owes it no more.
    pub fn expect_candles(&mut self, symbol: &str, interval_minutes: u32, since_ns: Option<i64>) {
        if let Some(slot) = self.slot(symbol)
            && let Some(at) = self.series_at(slot, interval_minutes)
        {
            self.series[slot as usize][at].expect(since_ns);
        }
    }

    /// The exchange acknowledged a ticker, or owes it no more.
    pub fn expect_ticker(&mut self, symbol: &str, since_ns: Option<i64>) {
        if let Some(slot) = self.slot(symbol) {
            self.witnesses[slot as usize].expect(since_ns);
        }
    }

    /// Gives what has fallen mute while the other channel of its symbol flows, each told once:
    /// symbols of tickers, and (symbol, minutes) of candles.
    pub fn take_mute(&mut self, now_ns: i64) -> ChangedSet {
        let (mut tickers, mut candles) = ChangedSet::default();
        for (slot, witness) in self.witnesses.iter_mut().enumerate() {
            if witness.fell_mute(now_ns) {
                tickers.push(self.names[slot].clone());
            }
            for series in &mut self.series[slot] {
                let told_ns = self
                    .sources
                    .get(&series.source)
                    .map_or(i64::MIN, |it| it.watermark_ns);
                if series.fell_mute(witness.marks.newest(), told_ns, now_ns) {
                    candles.push((self.names[slot].clone(), series.interval_minutes));
                }
            }
        }
        (tickers, candles)
    }

    /// Gives intervals for which a ticker showed a trade and no candle came: symbol, minutes, opening
    /// time. Each is told once.
    pub fn take_passed_over(&mut self, now_ns: i64) -> Vec<(Arc<str>, u32, i64)> {
        let mut passed = Vec::new();
        for (slot, all) in self.series.iter_mut().enumerate() {
            for series in all {
                if let Some(open_s) = series.passed_over(&self.witnesses[slot].marks, now_ns) {
                    passed.push((self.names[slot].clone(), series.interval_minutes, open_s));
                }
            }
        }
        passed
    }

    /// A series missed rows: what it did not give out is unconfirmed until a row tells its state.
    pub fn doubt(&mut self, symbol: &str, interval_minutes: u32) {
        if let Some(series) = self.series_of(symbol, interval_minutes) {
            series.doubt();
        }
    }

    /// The oldest candle of a series that was in doubt since the last call, by its opening time.
    pub fn take_doubt(&mut self, symbol: &str, interval_minutes: u32) -> Option<i64> {
        self.series_of(symbol, interval_minutes)?.take_doubt()
    }

    fn series_of(&mut self, symbol: &str, interval_minutes: u32) -> Option<&mut LiveSeries> {
        let slot = *self.index.get(symbol)?;
        let mut all = self.series[slot as usize].iter_mut();
        all.find(|it| it.interval_minutes == interval_minutes)
    }

    /// Whether closed candles wait to be taken.
    #[must_use]
    pub fn closed_pending(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Takes the closed candles; of one series in order, each exactly once.
    pub fn take_closed(&mut self) -> Vec<ClosedCandle> {
        std::mem::take(&mut self.closed)
    }

    // --- reading -----------------------------------------------------------------------------

    /// Newest ticker.
    #[must_use]
    pub fn ticker(&self, symbol: &str) -> Option<Ticker> {
        self.board.ticker(symbol)
    }

    /// Newest candle.
    #[must_use]
    pub fn candle(&self, symbol: &str, interval_minutes: u32) -> Option<LiveCandle> {
        self.board.candle(symbol, interval_minutes)
    }

    /// How many trades the rows of a series have told of so far; only differences mean anything.
    #[must_use]
    pub fn traded(&self, symbol: &str, interval_minutes: u32) -> Option<u64> {
        let all = &self.series[*self.index.get(symbol)? as usize];
        let series = all
            .iter()
            .find(|it| it.interval_minutes == interval_minutes)?;
        Some(series.traded)
    }

    // --- watching ----------------------------------------------------------------------------

    /// Registers a watcher, who sees changes from now on, or first how everything stands.
    pub fn add_watcher(&mut self, everything: bool) -> u32 {
        self.next_watcher = self.next_watcher.wrapping_add(1);
        let since = if everything { 0 } else { self.changes };
        self.watchers.insert(self.next_watcher, since);
        self.next_watcher
    }

    /// Forgets a watcher.
    pub fn remove_watcher(&mut self, watcher: u32) {
        self.watchers.remove(&watcher);
    }

    /// What changed since the watcher's last call, each once, the longest unchanged first. None: no
    /// such watcher.
    ///
    /// `arm`: whoever finds nothing is about to sleep, and the bell is to wake it.
    ///
    /// Changes are numbered, so an update costs the same with a thousand watchers as with none.
    pub fn take_changed(&mut self, watcher: u32, arm: bool) -> Option<ChangedSet> {
        let seen = self.watchers.get_mut(&watcher)?;
        let since = std::mem::replace(seen, self.changes);
        if since == self.changes {
            if arm {
                self.bell.arm(self.changes);
            }
            return Some(ChangedSet::default());
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
        if arm && tickers.is_empty() && candles.is_empty() {
            self.bell.arm(self.changes);
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

    /// Two wakings of listeners are at least so far apart.
    pub fn conflate(&mut self, nanoseconds: i64) {
        self.bell.conflate(nanoseconds);
    }

    /// Whether listeners are to be woken for what changed.
    #[inline]
    pub fn ring(&mut self, now_ns: i64) -> Ring {
        self.bell.look(self.changes, now_ns)
    }

    // --- forgetting --------------------------------------------------------------------------

    /// Drops ticker and candles of a symbol, which is wanted no more. Which candles were given out
    /// stays remembered.
    pub fn forget(&mut self, symbol: &str) {
        if let Some(&slot) = self.index.get(symbol) {
            if self.choosy
                && let Some((name, slot)) = self.index.remove_entry(symbol)
            {
                self.parked.insert(name, slot);
            }
            *self.places[slot as usize].ticker() = None;
            self.witnesses[slot as usize] = Witness::default();
            for series in &mut self.series[slot as usize] {
                series.clear();
                self.places[slot as usize].set_candle(series.interval_minutes, None);
            }
        }
    }

    /// Drops the newest candle of one series.
    pub fn clear_candles(&mut self, symbol: &str, interval_minutes: u32) {
        if let Some(&slot) = self.index.get(symbol) {
            let all = self.series[slot as usize].iter_mut();
            for series in all.filter(|it| it.interval_minutes == interval_minutes) {
                series.clear();
                self.places[slot as usize].set_candle(interval_minutes, None);
            }
        }
    }
}
