//! Candles out of trades, exactly: prices keep their digits, volume and turnover are summed as
//! integers, and only the finished candle is rounded, once, to the nearest double.
//!
//! What decides is the trade's id, not the order of arrival: an id counts once, the lowest id of an
//! interval opens it and the highest closes it, so pages may overlap or come in any order. Memory is
//! bounded by the candles not taken yet and the holes in the ids, never by the length of the tape.

use crate::growing_candle::Growing;
pub use crate::growing_candle::{Bar, Trade};
use crate::id_ranges::IdRanges;

const NS_PER_MINUTE: i64 = 60_000_000_000;
const SECONDS_PER_MINUTE: i64 = 60;
const NS_PER_SECOND: i64 = 1_000_000_000;

/// Why a trade is refused. Nothing of it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeError {
    /// Its candle was taken already.
    Late,
    /// A negative price, volume or time.
    Negative,
    /// The sums do not fit 128 bits.
    TooWide,
}

/// What became of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeOutcome {
    /// Counted.
    Counted,
    /// Its id was counted before.
    Known,
}

/// Candles of one interval, oldest first.
#[derive(Debug)]
struct TradeSeries {
    minutes: u32,
    interval_ns: i64,
    growing: Vec<Growing>,
    /// Trades before this are late: their candles were taken.
    late_before_ns: i64,
}

impl TradeSeries {
    fn new(minutes: u32) -> Self {
        Self {
            minutes,
            interval_ns: i64::from(minutes) * NS_PER_MINUTE,
            growing: Vec::new(),
            late_before_ns: 0,
        }
    }

    fn open_s(&self, time_ns: i64) -> i64 {
        time_ns.div_euclid(self.interval_ns) * i64::from(self.minutes) * SECONDS_PER_MINUTE
    }

    #[inline]
    fn add(&mut self, trade: &Trade, key: u64) -> Result<(), TradeError> {
        // Same candle as the trade before, nearly always: no division then.
        if let Some(last) = self.growing.last_mut() {
            let into = trade.time_ns - last.time_s * NS_PER_SECOND;
            if (0..self.interval_ns).contains(&into) {
                return last.add(trade, key).ok_or(TradeError::TooWide);
            }
        }
        let time_s = self.open_s(trade.time_ns);
        let at = match self.growing.last() {
            Some(last) if last.time_s > time_s => {
                match self
                    .growing
                    .binary_search_by_key(&time_s, |growing| growing.time_s)
                {
                    Ok(at) => {
                        return self.growing[at].add(trade, key).ok_or(TradeError::TooWide);
                    }
                    Err(at) => at,
                }
            }
            _ => self.growing.len(),
        };
        let mut growing = Growing::new(time_s, trade.price, key);
        growing.add(trade, key).ok_or(TradeError::TooWide)?;
        self.growing.insert(at, growing);
        Ok(())
    }
}

/// Builds candles of one or several intervals from one tape.
#[derive(Debug)]
pub struct CandleBuilder {
    series: Vec<TradeSeries>,
    ids: IdRanges,
    arrivals: u64,
}

impl CandleBuilder {
    /// Starts with nothing. Intervals are whole minutes since the epoch; zero is left out.
    #[must_use]
    pub fn new(intervals_minutes: &[u32]) -> Self {
        let mut minutes: Vec<u32> = intervals_minutes
            .iter()
            .copied()
            .filter(|&m| m > 0)
            .collect();
        // The longest first: its sums are the widest, so what does not fit is refused before
        // anything was counted.
        minutes.sort_unstable_by(|a, b| b.cmp(a));
        minutes.dedup();
        let series = minutes.into_iter().map(TradeSeries::new).collect();
        Self {
            series,
            ids: IdRanges::default(),
            arrivals: 0,
        }
    }

    /// Counts a trade into every interval, or into none of them.
    #[inline]
    pub fn add(&mut self, trade: &Trade) -> Result<TradeOutcome, TradeError> {
        if trade.price.is_negative() || trade.volume.is_negative() || trade.time_ns < 0 {
            return Err(TradeError::Negative);
        }
        if let Some(id) = trade.id
            && self.ids.contains(id)
        {
            return Ok(TradeOutcome::Known);
        }
        if self
            .series
            .iter()
            .any(|series| trade.time_ns < series.late_before_ns)
        {
            return Err(TradeError::Late);
        }
        let key = trade.id.unwrap_or(self.arrivals);
        for series in &mut self.series {
            series.add(trade, key)?;
        }
        match trade.id {
            Some(id) => self.ids.insert(id),
            None => self.arrivals += 1,
        }
        Ok(TradeOutcome::Counted)
    }

    /// Notes the id of a trade that is not wanted in any candle (it lies outside the range asked
    /// for), so that it leaves no hole.
    pub fn note(&mut self, id: u64) {
        if !self.ids.contains(id) {
            self.ids.insert(id);
        }
    }

    /// Takes the candles of an interval that open before `before_s`, oldest first; all of them with
    /// None. Trades of a candle that could have been taken are late from now on.
    pub fn take(&mut self, interval_minutes: u32, before_s: Option<i64>) -> Vec<Bar> {
        let Some(series) = self
            .series
            .iter_mut()
            .find(|s| s.minutes == interval_minutes)
        else {
            return Vec::new();
        };
        let length = i64::from(series.minutes) * SECONDS_PER_MINUTE;
        let until_s = match (before_s, series.growing.last()) {
            (Some(before_s), _) => before_s,
            (None, Some(last)) => last.time_s + length,
            (None, None) => return Vec::new(),
        };
        // The candle that holds `until_s` stays open unless it opens before; then it was taken whole.
        let whole_s = until_s.div_euclid(length) * length;
        let end_s = if whole_s < until_s {
            whole_s.saturating_add(length)
        } else {
            whole_s
        };
        series.late_before_ns = series
            .late_before_ns
            .max(end_s.saturating_mul(NS_PER_SECOND));
        let count = series
            .growing
            .partition_point(|growing| growing.time_s < until_s);
        series
            .growing
            .drain(..count)
            .map(|growing| growing.finish())
            .collect()
    }

    /// How many candles of an interval have not been taken.
    #[must_use]
    pub fn pending(&self, interval_minutes: u32) -> usize {
        self.series
            .iter()
            .find(|series| series.minutes == interval_minutes)
            .map_or(0, |series| series.growing.len())
    }

    /// Open time of the newest candle of an interval that was not taken.
    #[must_use]
    pub fn newest_s(&self, interval_minutes: u32) -> Option<i64> {
        let series = self
            .series
            .iter()
            .find(|series| series.minutes == interval_minutes)?;
        series.growing.last().map(|growing| growing.time_s)
    }

    /// The highest id seen.
    #[must_use]
    pub fn last_id(&self) -> Option<u64> {
        self.ids.ranges.last().map(|&(_, high)| high)
    }

    /// Ids that were never seen although lower and higher ones were: first and last of each run.
    #[must_use]
    pub fn holes(&self) -> Vec<(u64, u64)> {
        self.ids
            .ranges
            .windows(2)
            .map(|pair| (pair[0].1 + 1, pair[1].0 - 1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use proptest::prelude::*;

    fn trade(time_s: i64, price: &str, volume: &str, id: u64) -> Trade {
        Trade {
            time_ns: time_s * 1_000_000_000,
            price: Decimal::parse(price).unwrap(),
            volume: Decimal::parse(volume).unwrap(),
            id: Some(id),
        }
    }

    #[test]
    fn one_candle() {
        let mut builder = CandleBuilder::new(&[1]);
        for (price, volume, id) in [("10.5", "2", 7), ("12", "1.0", 8), ("9.25", "1", 9)] {
            assert_eq!(
                builder.add(&trade(61, price, volume, id)),
                Ok(TradeOutcome::Counted)
            );
        }
        let candle = builder.take(1, None)[0];
        assert_eq!(
            candle,
            Bar {
                time_s: 60,
                open: 10.5,
                high: 12.0,
                low: 9.25,
                close: 9.25,
                vwap: 42.25 / 4.0,
                volume: 4.0,
                count: 3,
            }
        );
        assert!(builder.holes().is_empty());
        assert_eq!(builder.last_id(), Some(9));
    }

    #[test]
    fn a_tie_is_ordered_by_id_and_an_id_counts_once() {
        let mut builder = CandleBuilder::new(&[1]);
        builder.add(&trade(1, "3", "1", 12)).unwrap();
        builder.add(&trade(1, "1", "1", 10)).unwrap();
        builder.add(&trade(1, "2", "1", 11)).unwrap();
        assert_eq!(
            builder.add(&trade(1, "9", "1", 11)),
            Ok(TradeOutcome::Known)
        );
        let candle = builder.take(1, None)[0];
        assert_eq!(
            (candle.open, candle.close, candle.high, candle.count),
            (1.0, 3.0, 3.0, 3)
        );
    }

    #[test]
    fn a_trade_of_a_taken_candle_is_late_and_leaves_no_trace() {
        let mut builder = CandleBuilder::new(&[1, 5]);
        builder.add(&trade(30, "1", "1", 1)).unwrap();
        builder.add(&trade(90, "1", "1", 3)).unwrap();
        assert_eq!(builder.take(1, Some(60)).len(), 1);
        assert_eq!(builder.add(&trade(59, "1", "1", 2)), Err(TradeError::Late));
        assert_eq!(builder.take(5, None)[0].count, 2);
        assert_eq!(builder.holes(), [(2, 2)]);
        builder.note(2);
        assert!(builder.holes().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut builder = CandleBuilder::new(&[1]);
        let wide = "79228162514264337593543950335";
        assert_eq!(
            builder.add(&trade(1, wide, wide, 1)),
            Err(TradeError::TooWide)
        );
        assert_eq!(
            builder.add(&trade(1, "-1", "1", 1)),
            Err(TradeError::Negative)
        );
    }

    #[test]
    fn a_candle_without_volume_has_no_vwap() {
        let mut builder = CandleBuilder::new(&[1]);
        builder.add(&trade(1, "5", "0.00000000", 1)).unwrap();
        let candle = builder.take(1, None)[0];
        assert!(candle.vwap.is_nan());
        assert_eq!((candle.volume, candle.count), (0.0, 1));
    }

    proptest! {
        #[test]
        fn order_of_arrival_never_matters(
            tape in prop::collection::vec((0_i64..600, 1_u32..2000, 1_u32..2000), 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            let mut times: Vec<i64> = tape.iter().map(|t| t.0).collect();
            times.sort_unstable();
            let trades: Vec<Trade> = tape.iter().zip(&times).zip(1..).map(|((t, &time), id)| {
                trade(time, &format!("{}.{:02}", t.1 / 100, t.1 % 100), &t.2.to_string(), id)
            }).collect();
            let mut straight = CandleBuilder::new(&[1, 5]);
            for each in &trades {
                straight.add(each).unwrap();
            }
            let mut shuffled = CandleBuilder::new(&[1, 5]);
            for index in order {
                shuffled.add(index.get(&trades)).unwrap();
            }
            for each in trades.iter().rev() {
                shuffled.add(each).unwrap();
            }
            for minutes in [1, 5] {
                prop_assert_eq!(straight.take(minutes, None), shuffled.take(minutes, None));
            }
            prop_assert!(shuffled.holes().is_empty());
        }
    }
}
