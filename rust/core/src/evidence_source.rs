//! What one connection tells of the exchange's candle maker: how far it is, and how late its rows come.

use crate::series::Evidence;

/// Least and longest time a candle waits for late rows after its end.
const GRACE_NS: i64 = 1_000_000_000;
const GRACE_AT_MOST_NS: i64 = 15_000_000_000;

/// The same on a quiet connection, where the gateway's clock and not the engine's has to tell: the two
/// may differ, and nothing shows it.
const QUIET_GRACE_NS: i64 = 4_000_000_000;

/// Rows may come so many times later than the worst of the last ten minutes.
const GRACE_FACTOR: i64 = 3;

const MINUTES: usize = 10;
const MINUTE_NS: i64 = 60_000_000_000;

/// A connection without candle updates for so long is quiet: only a ping can tell.
const QUIET_NS: i64 = 5_000_000_000;

/// One connection. Stamps are Kraken's (unix nanoseconds), `now_ns` is our elapsed clock.
#[derive(Debug)]
pub(crate) struct EvidenceSource {
    /// Newest engine stamp of an ohlc update, of whatever symbol.
    pub(crate) watermark_ns: i64,
    /// The gateway's time at which it received the newest ping that was answered.
    pub(crate) pong_ns: i64,
    /// Elapsed time of the newest ohlc update.
    updated_ns: i64,
    /// Worst lag of each of the last minutes.
    worst_ns: [i64; MINUTES],
    minute: i64,
    /// Worst lag since the last tick; thrown away when we did not read in time.
    fresh_ns: i64,
    /// How far the engine's clock seems ahead of the gateway's: rows seem to come before their time.
    skew_ns: i64,
    /// Least lag of each of the last minutes; `i64::MAX` where no row came.
    least_ns: [i64; MINUTES],
    /// Least lag since the last tick.
    fresh_least_ns: i64,
}

impl Default for EvidenceSource {
    fn default() -> Self {
        Self {
            watermark_ns: i64::MIN,
            pong_ns: i64::MIN,
            updated_ns: i64::MIN,
            worst_ns: [0; MINUTES],
            minute: 0,
            fresh_ns: 0,
            skew_ns: 0,
            least_ns: [i64::MAX; MINUTES],
            fresh_least_ns: i64::MAX,
        }
    }
}

impl EvidenceSource {
    /// Notes an ohlc update; `server_ns` is the gateway's time now, as far as it is known.
    #[inline]
    pub(crate) fn update(&mut self, event_ns: i64, server_ns: Option<i64>, now_ns: i64) {
        self.watermark_ns = self.watermark_ns.max(event_ns);
        self.updated_ns = now_ns;
        if let Some(server_ns) = server_ns {
            let lag_ns = server_ns.saturating_sub(event_ns);
            self.fresh_ns = self.fresh_ns.max(lag_ns);
            self.fresh_least_ns = self.fresh_least_ns.min(lag_ns);
            self.skew_ns = self
                .skew_ns
                .max(lag_ns.saturating_neg().min(GRACE_AT_MOST_NS));
        }
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now_ns: i64, held_up: bool) {
        let minute = now_ns.div_euclid(MINUTE_NS);
        let passed = usize::try_from(minute.saturating_sub(self.minute)).unwrap_or(MINUTES);
        for _ in 0..passed.min(MINUTES) {
            self.worst_ns.rotate_right(1);
            self.worst_ns[0] = 0;
            self.least_ns.rotate_right(1);
            self.least_ns[0] = i64::MAX;
        }
        self.minute = minute;
        if !held_up {
            self.worst_ns[0] = self.worst_ns[0].max(self.fresh_ns);
        }
        self.fresh_ns = 0;
        self.least_ns[0] = self.least_ns[0].min(self.fresh_least_ns);
        self.fresh_least_ns = i64::MAX;
    }

    /// Worst lag of rows in the last ten minutes.
    pub(crate) fn worst_lag_ns(&self) -> i64 {
        self.worst_ns.iter().copied().fold(self.fresh_ns, i64::max)
    }

    /// What every row of the last ten minutes lags by: how far the gateway's clock is ahead of the
    /// engine's, or how late all rows come. None: no row came.
    pub(crate) fn least_lag_ns(&self) -> Option<i64> {
        let least = self.least_ns.iter().copied().fold(i64::MAX, i64::min);
        let far = if least < GRACE_NS { 0 } else { least }; // less is the way here
        (least < i64::MAX).then_some(far)
    }

    /// How long after its end a candle may still miss rows.
    pub(crate) fn grace_ns(&self) -> i64 {
        self.worst_lag_ns()
            .saturating_mul(GRACE_FACTOR)
            .clamp(GRACE_NS, GRACE_AT_MOST_NS)
    }

    fn due_ns(&self, end_ns: i64) -> i64 {
        end_ns.saturating_add(self.grace_ns())
    }

    /// Whether a candle that ends then is over, and by what.
    ///
    /// `behind_ns`: how far the candle maker is behind the gateway's clock.
    pub(crate) fn evidence(&self, end_ns: i64, behind_ns: i64, now_ns: i64) -> Option<Evidence> {
        let due_ns = self.due_ns(end_ns);
        if self.watermark_ns >= due_ns {
            return Some(Evidence::Watermark);
        }
        let answered = self.pong_ns >= self.quiet_due_ns(end_ns, behind_ns);
        (answered && self.is_quiet(now_ns)).then_some(Evidence::Quiet)
    }

    /// Whether only the answer to a ping sent now could close a candle that ends then.
    pub(crate) fn wants_pong(
        &self,
        end_ns: i64,
        behind_ns: i64,
        server_ns: Option<i64>,
        now_ns: i64,
    ) -> bool {
        let due_ns = self.quiet_due_ns(end_ns, behind_ns);
        self.is_quiet(now_ns) && server_ns.is_some_and(|server_ns| server_ns >= due_ns)
    }

    fn quiet_due_ns(&self, end_ns: i64, behind_ns: i64) -> i64 {
        let grace_ns = self.grace_ns().max(QUIET_GRACE_NS);
        end_ns
            .saturating_add(grace_ns + self.skew_ns)
            .saturating_add(behind_ns)
    }

    /// While rows come, the maker itself will tell when it is past the end.
    fn is_quiet(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.updated_ns) >= QUIET_NS
    }
}
