//! Candles out of trades, exactly: prices keep their digits, volume and turnover are summed as
//! integers, and only the finished candle is rounded, once, to the nearest double.
//!
//! What decides is the trade's id, not the order of arrival: an id counts once, the lowest id of an
//! interval opens it and the highest closes it, so pages may overlap or come in any order. Memory is
//! bounded by the candles not taken yet and the holes in the ids, never by the length of the tape.

use crate::decimal::Decimal;
use std::cmp::Ordering;

const NS_PER_MINUTE: i64 = 60_000_000_000;
const SECONDS_PER_MINUTE: i64 = 60;

/// One trade.
#[derive(Clone, Copy, Debug)]
pub struct Trade {
    /// Unix time in nanoseconds.
    pub time_ns: i64,
    /// Quote per base.
    pub price: Decimal,
    /// Base units.
    pub volume: Decimal,
    /// Kraken's number of the trade within its pair; None where the source has none (trades CSV),
    /// and then the order of arrival stands in for it.
    pub id: Option<u64>,
}

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
pub enum Outcome {
    /// Counted.
    Counted,
    /// Its id was counted before.
    Known,
}

/// A finished candle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candle {
    /// Open time, unix seconds.
    pub time_s: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Turnover over volume; NaN when the volume is zero.
    pub vwap: f64,
    /// Base units.
    pub volume: f64,
    /// Number of trades.
    pub count: i64,
}

/// An exact sum of non-negative decimals.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    magnitude: u128,
    scale: u32,
}

impl Sum {
    fn plus(self, magnitude: u128, scale: u32) -> Option<Self> {
        let (mine, theirs, scale) = match self.scale.cmp(&scale) {
            Ordering::Equal => (self.magnitude, magnitude, scale),
            Ordering::Less => (raise(self.magnitude, scale - self.scale)?, magnitude, scale),
            Ordering::Greater => (
                self.magnitude,
                raise(magnitude, self.scale - scale)?,
                self.scale,
            ),
        };
        Some(Self {
            magnitude: mine.checked_add(theirs)?,
            scale,
        })
    }
}

fn raise(magnitude: u128, digits: u32) -> Option<u128> {
    if magnitude == 0 {
        return Some(0);
    }
    10_u128.checked_pow(digits)?.checked_mul(magnitude)
}

/// Orders two non-negative decimals by value.
fn compare(left: Decimal, right: Decimal) -> Ordering {
    let (a, b) = (left.magnitude(), right.magnitude());
    match left.scale().cmp(&right.scale()) {
        Ordering::Equal => a.cmp(&b),
        // The side that does not fit when raised is the larger one: the other has 96 bits at most.
        Ordering::Less => raise(a, u32::from(right.scale() - left.scale()))
            .map_or(Ordering::Greater, |raised| raised.cmp(&b)),
        Ordering::Greater => raise(b, u32::from(left.scale() - right.scale()))
            .map_or(Ordering::Less, |raised| a.cmp(&raised)),
    }
}

/// The double nearest to `numerator / denominator`, ties to even.
fn nearest_f64(numerator: u128, denominator: u128) -> f64 {
    if denominator == 0 {
        return f64::NAN;
    }
    if numerator == 0 {
        return 0.0;
    }
    // 55 bits of quotient are 53 to keep, one to round by and one spare; the rest is only "sticky".
    let have = i64::from(denominator.leading_zeros()) - i64::from(numerator.leading_zeros());
    let shift = 55 - have;
    let (num, den) = if shift >= 0 {
        let Ok(shift) = u32::try_from(shift) else {
            return f64::NAN;
        };
        if numerator.leading_zeros() < shift {
            return nearest_f64_by_text(numerator, denominator);
        }
        (numerator << shift, denominator)
    } else {
        let Ok(shift) = u32::try_from(-shift) else {
            return f64::NAN;
        };
        if denominator.leading_zeros() < shift {
            return nearest_f64_by_text(numerator, denominator);
        }
        (numerator, denominator << shift)
    };
    let quotient = num / den;
    let sticky = u128::from(!num.is_multiple_of(den));
    // At most 57 bits: one more for the sticky bit keeps everything inside 64.
    let Ok(bits) = u64::try_from((quotient << 1) | sticky) else {
        return nearest_f64_by_text(numerator, denominator);
    };
    // The conversion rounds to nearest, ties to even, and the sticky bit breaks false ties.
    #[expect(clippy::cast_precision_loss, reason = "this is the one rounding")]
    let rounded = bits as f64;
    let exponent = i32::try_from(-shift - 1).unwrap_or(i32::MIN);
    rounded * 2_f64.powi(exponent)
}

/// The same by long division to 40 digits that count; for numbers too wide for the short way.
#[cold]
fn nearest_f64_by_text(numerator: u128, denominator: u128) -> f64 {
    let mut text = (numerator / denominator).to_string();
    let mut counting = text != "0";
    text.push('.');
    let mut rest = numerator % denominator;
    let mut left = 40;
    while left > 0 {
        let mut digit = 0;
        // Ten additions instead of one product: they cannot overflow unnoticed.
        let mut sum: u128 = 0;
        for _ in 0..10 {
            let space = denominator - sum;
            if rest >= space {
                sum = rest - space;
                digit += 1;
            } else {
                sum += rest;
            }
        }
        rest = sum;
        counting |= digit != 0;
        left -= u32::from(counting);
        text.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
    if rest != 0 {
        text.push('1');
    }
    text.parse().unwrap_or(f64::NAN)
}

fn scaled_f64(magnitude: u128, scale: u32) -> f64 {
    match 10_u128.checked_pow(scale) {
        Some(denominator) => nearest_f64(magnitude, denominator),
        None => nearest_f64(magnitude, 1) / power_of_ten(scale),
    }
}

fn power_of_ten(digits: u32) -> f64 {
    10_f64.powi(i32::try_from(digits).unwrap_or(i32::MAX))
}

/// A candle that may still grow.
#[derive(Clone, Copy, Debug)]
struct Growing {
    time_s: i64,
    open: Decimal,
    open_key: u64,
    close: Decimal,
    close_key: u64,
    high: Decimal,
    low: Decimal,
    volume: Sum,
    turnover: Sum,
    count: i64,
}

impl Growing {
    fn new(time_s: i64, price: Decimal, key: u64) -> Self {
        Self {
            time_s,
            open: price,
            open_key: key,
            close: price,
            close_key: key,
            high: price,
            low: price,
            volume: Sum::default(),
            turnover: Sum::default(),
            count: 0,
        }
    }

    /// Adds a trade, or changes nothing and gives None when a sum would not fit.
    fn add(&mut self, trade: &Trade, key: u64) -> Option<()> {
        let (price, volume) = (trade.price, trade.volume);
        let turnover = self.turnover.plus(
            price.magnitude().checked_mul(volume.magnitude())?,
            u32::from(price.scale()) + u32::from(volume.scale()),
        )?;
        self.volume = self
            .volume
            .plus(volume.magnitude(), u32::from(volume.scale()))?;
        self.turnover = turnover;
        if key < self.open_key {
            (self.open, self.open_key) = (price, key);
        }
        if key >= self.close_key {
            (self.close, self.close_key) = (price, key);
        }
        if compare(price, self.high) == Ordering::Greater {
            self.high = price;
        }
        if compare(price, self.low) == Ordering::Less {
            self.low = price;
        }
        self.count += 1;
        Some(())
    }

    fn finish(&self) -> Candle {
        let volume = self.volume;
        Candle {
            time_s: self.time_s,
            open: self.open.to_f64(),
            high: self.high.to_f64(),
            low: self.low.to_f64(),
            close: self.close.to_f64(),
            vwap: self.vwap(),
            volume: scaled_f64(volume.magnitude, volume.scale),
            count: self.count,
        }
    }

    fn vwap(&self) -> f64 {
        let (turnover, volume) = (self.turnover, self.volume);
        // turnover / volume, with the difference of their scales moved below the line.
        let digits = turnover.scale.saturating_sub(volume.scale);
        match raise(volume.magnitude, digits) {
            Some(denominator) => nearest_f64(turnover.magnitude, denominator),
            // More than 38 digits below the line: no price has them, and two roundings will do.
            None => nearest_f64(turnover.magnitude, volume.magnitude) / power_of_ten(digits),
        }
    }
}

/// Candles of one interval, oldest first.
#[derive(Debug)]
struct Series {
    minutes: u32,
    interval_ns: i64,
    growing: Vec<Growing>,
    /// Candles opening before this were taken.
    taken_until_s: i64,
}

impl Series {
    fn new(minutes: u32) -> Self {
        Self {
            minutes,
            interval_ns: i64::from(minutes) * NS_PER_MINUTE,
            growing: Vec::new(),
            taken_until_s: i64::MIN,
        }
    }

    fn open_s(&self, time_ns: i64) -> i64 {
        time_ns.div_euclid(self.interval_ns) * i64::from(self.minutes) * SECONDS_PER_MINUTE
    }

    #[inline]
    fn add(&mut self, trade: &Trade, key: u64) -> Result<(), TradeError> {
        // Same candle as the trade before, nearly always: no division then.
        if let Some(last) = self.growing.last_mut() {
            let into = trade.time_ns - last.time_s * 1_000_000_000;
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

/// Sets of ids as sorted, disjoint, inclusive ranges.
#[derive(Debug, Default)]
struct IdRanges {
    ranges: Vec<(u64, u64)>,
}

impl IdRanges {
    fn contains(&self, id: u64) -> bool {
        match self.ranges.last() {
            Some(&(_, high)) if id > high => false,
            Some(&(low, _)) if id >= low => true,
            _ => {
                let after = self.ranges.partition_point(|&(low, _)| low <= id);
                after > 0 && self.ranges[after - 1].1 >= id
            }
        }
    }

    /// Adds an id that is not contained.
    fn insert(&mut self, id: u64) {
        if let Some((_, high)) = self.ranges.last_mut()
            && *high < u64::MAX
            && *high + 1 == id
        {
            *high = id;
            return;
        }
        let after = self.ranges.partition_point(|&(low, _)| low <= id);
        let joins_left = after > 0 && self.ranges[after - 1].1.checked_add(1) == Some(id);
        let joins_right = self
            .ranges
            .get(after)
            .is_some_and(|&(low, _)| id.checked_add(1) == Some(low));
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = id,
            (false, true) => self.ranges[after].0 = id,
            (false, false) => self.ranges.insert(after, (id, id)),
        }
    }
}

/// Builds candles of one or several intervals from one tape.
#[derive(Debug)]
pub struct CandleBuilder {
    series: Vec<Series>,
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
        let series = minutes.into_iter().map(Series::new).collect();
        Self {
            series,
            ids: IdRanges::default(),
            arrivals: 0,
        }
    }

    /// Counts a trade into every interval, or into none of them.
    #[inline]
    pub fn add(&mut self, trade: &Trade) -> Result<Outcome, TradeError> {
        if trade.price.is_negative() || trade.volume.is_negative() || trade.time_ns < 0 {
            return Err(TradeError::Negative);
        }
        if let Some(id) = trade.id
            && self.ids.contains(id)
        {
            return Ok(Outcome::Known);
        }
        if self.series.iter().any(|series| {
            series.taken_until_s != i64::MIN && series.open_s(trade.time_ns) < series.taken_until_s
        }) {
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
        Ok(Outcome::Counted)
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
    pub fn take(&mut self, interval_minutes: u32, before_s: Option<i64>) -> Vec<Candle> {
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
        series.taken_until_s = series.taken_until_s.max(until_s);
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
                Ok(Outcome::Counted)
            );
        }
        let candle = builder.take(1, None)[0];
        assert_eq!(
            candle,
            Candle {
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
        assert_eq!(builder.add(&trade(1, "9", "1", 11)), Ok(Outcome::Known));
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
        fn the_two_ways_to_the_nearest_double_agree(n in 1_u128..u128::MAX >> 4, d in 1_u128..1_u128 << 90) {
            let text = nearest_f64_by_text(n, d);
            prop_assert_eq!(nearest_f64(n, d).to_bits(), text.to_bits());
        }

        #[test]
        fn doubles_round_like_the_standard_parser(n in 0_u64.., scale in 0_u32..19) {
            let text = format!("{n}e-{scale}");
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(nearest_f64(u128::from(n), 10_u128.pow(scale)).to_bits(), expected.to_bits());
        }

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
