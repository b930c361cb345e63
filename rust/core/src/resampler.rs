//! Longer candles out of shorter ones, in one pass over rows that come oldest first.
//!
//! An interval in which nothing traded repeats the close before: it opens nothing and has no highest
//! or lowest price. Volumes that are whole numbers of 10^-8, as Kraken's are, are added as such, so
//! that the sum is the double nearest to the true one.

/// A candle that goes in.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Opening time, unix seconds.
    pub open_s: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Volume-weighted average price; NaN where there is none.
    pub vwap: f64,
    /// Base units.
    pub volume: f64,
    /// Number of trades.
    pub count: i64,
    /// Rank of its source.
    pub source: i8,
}

/// A candle that comes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// Opening time of the period, unix seconds.
    pub open_s: i64,
    /// End of the period, unix seconds.
    pub end_s: i64,
    /// How many rows it is made of.
    pub rows: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Volume-weighted average price; NaN where a row that traded had none, or none traded.
    pub vwap: f64,
    /// Base units.
    pub volume: f64,
    /// Number of trades.
    pub count: i64,
    /// Weakest source.
    pub source: i8,
}

/// Whole numbers of this part of a unit are added exactly.
const LOTS: f64 = 1e8;

/// Volumes below this are less than 2^53 lots.
const MOST_EXACT: f64 = 9e7;

/// The period that rows go into.
#[derive(Debug)]
struct GrowingPeriod {
    made: Made,
    turnover: f64,
    /// Sum in lots, as long as every volume is a whole number of them.
    lots: Option<u64>,
    traded: bool,
}

/// Puts rows together between edges.
#[derive(Debug)]
pub struct Resampler {
    edges: Vec<i64>,
    at: usize,
    growing: Option<GrowingPeriod>,
    made: Vec<Made>,
}

/// A row that comes before the one before it, or lies outside of all periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl Resampler {
    /// Periods begin at each edge but the last, where the last one ends; edges rise.
    #[must_use]
    pub fn new(edges: Vec<i64>) -> Self {
        Self {
            edges,
            at: 0,
            growing: None,
            made: Vec::new(),
        }
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// It is out of order.
    #[inline]
    pub fn push(&mut self, row: &Row) -> Result<(), OutOfOrder> {
        while self.edges.get(self.at + 1).ok_or(OutOfOrder)? <= &row.open_s {
            self.end_period();
            self.at += 1;
        }
        if row.open_s < self.edges[self.at] {
            return Err(OutOfOrder);
        }
        if let Some(growing) = &mut self.growing {
            growing.add(row);
        } else {
            let (open_s, end_s) = (self.edges[self.at], self.edges[self.at + 1]);
            self.growing = Some(GrowingPeriod::new(row, open_s, end_s));
        }
        Ok(())
    }

    /// Ends the last period, and gives all that have a row.
    #[must_use]
    pub fn finish(mut self) -> Vec<Made> {
        self.end_period();
        self.made
    }

    fn end_period(&mut self) {
        if let Some(growing) = self.growing.take() {
            self.made.push(growing.end());
        }
    }
}

impl GrowingPeriod {
    fn new(row: &Row, open_s: i64, end_s: i64) -> Self {
        let mut growing = Self {
            made: Made {
                open_s,
                end_s,
                rows: 0,
                // what it is if nothing trades at all: the close before
                open: row.close,
                high: row.close,
                low: row.close,
                close: row.close,
                vwap: f64::NAN,
                volume: 0.0,
                count: 0,
                source: row.source,
            },
            turnover: 0.0,
            lots: Some(0),
            traded: false,
        };
        growing.add(row);
        growing
    }

    #[inline]
    fn add(&mut self, row: &Row) {
        let made = &mut self.made;
        made.rows += 1;
        made.close = row.close;
        made.source = made.source.min(row.source);
        if row.count > 0 {
            if self.traded {
                made.high = made.high.max(row.high);
                made.low = made.low.min(row.low);
            } else {
                (made.open, made.high, made.low) = (row.open, row.high, row.low);
                self.traded = true;
            }
            made.count += row.count;
            self.turnover += row.vwap * row.volume;
        }
        made.volume += row.volume;
        self.lots = self
            .lots
            .and_then(|sum| sum.checked_add(whole_lots(row.volume)?));
    }

    fn end(self) -> Made {
        let Self {
            mut made,
            turnover,
            lots,
            traded,
        } = self;
        if let Some(lots) = lots {
            #[expect(clippy::cast_precision_loss, reason = "to the nearest double")]
            let lots = lots as f64;
            made.volume = lots / LOTS;
        }
        if traded && made.volume > 0.0 {
            let vwap = turnover / made.volume;
            // Rounding must not carry it out of the candle.
            made.vwap = if vwap.is_nan() {
                vwap
            } else {
                vwap.min(made.high).max(made.low)
            };
        }
        made
    }
}

/// A volume as a number of lots, when it is the double nearest to one.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "not negative and below 2^53 lots, where a whole number is a double; equal or not"
)]
fn whole_lots(volume: f64) -> Option<u64> {
    if !(0.0..MOST_EXACT).contains(&volume) {
        return None;
    }
    let lots = (volume * LOTS + 0.5) as u64; // a call of `round` costs more than all the rest
    (lots as f64 / LOTS == volume).then_some(lots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(open_s: i64, price: f64, volume: f64, count: i64) -> Row {
        Row {
            open_s,
            open: price,
            high: price + 1.0,
            low: price - 1.0,
            close: price + 0.5,
            vwap: if count > 0 { price } else { f64::NAN },
            volume,
            count,
            source: 4,
        }
    }

    fn made(edges: &[i64], rows: &[Row]) -> Vec<Made> {
        let mut resampler = Resampler::new(edges.to_vec());
        for row in rows {
            resampler.push(row).unwrap();
        }
        resampler.finish()
    }

    #[test]
    fn what_did_not_trade_opens_nothing() {
        let quiet = |open_s| Row {
            open: 7.0,
            high: 7.0,
            low: 7.0,
            close: 7.0,
            ..row(open_s, 7.0, 0.0, 0)
        };
        let rows = [
            quiet(0),
            row(60, 8.0, 0.1, 2),
            row(120, 9.0, 0.2, 1),
            quiet(180),
        ];
        let all = made(&[0, 180, 360], &rows);
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].open, all[0].high, all[0].low, all[0].close),
            (8.0, 10.0, 7.0, 9.5)
        );
        assert_eq!((all[0].volume, all[0].count, all[0].rows), (0.3, 3, 3));
        assert_eq!((all[1].open, all[1].close, all[1].volume), (7.0, 7.0, 0.0));
        assert!(all[1].vwap.is_nan());
    }

    #[test]
    fn one_without_a_vwap_leaves_none() {
        let rows = [
            row(0, 8.0, 0.1, 2),
            Row {
                vwap: f64::NAN,
                ..row(60, 9.0, 0.1, 1)
            },
        ];
        assert!(made(&[0, 120], &rows)[0].vwap.is_nan());
    }

    #[test]
    fn rows_out_of_order_or_beyond_the_edges_are_refused() {
        let mut resampler = Resampler::new(vec![60, 120, 180]);
        assert_eq!(resampler.push(&row(0, 1.0, 1.0, 1)), Err(OutOfOrder));
        assert_eq!(resampler.push(&row(120, 1.0, 1.0, 1)), Ok(()));
        assert_eq!(resampler.push(&row(60, 1.0, 1.0, 1)), Err(OutOfOrder));
        assert_eq!(resampler.push(&row(180, 1.0, 1.0, 1)), Err(OutOfOrder));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn what_is_no_number_of_lots_is_added_as_it_is() {
        let third = 1.0 / 3.0;
        let rows = [row(0, 1.0, third, 1), row(60, 1.0, third, 1)];
        assert_eq!(made(&[0, 120], &rows)[0].volume, third + third);
        assert_eq!(whole_lots(0.1), Some(10_000_000));
        assert_eq!(whole_lots(1e9), None);
        assert_eq!(whole_lots(-0.1), None);
        assert_eq!(whole_lots(f64::NAN), None);
    }
}
