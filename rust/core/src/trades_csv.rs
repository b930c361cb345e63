//! Kraken's downloadable time-and-sales CSV: unix seconds, price, volume; no header, no trade id.

use crate::candle_builder::Trade;
use crate::csv_lines::{BadLines, Pieces, Sequence, line_end, next_line};
use crate::decimal::Decimal;
use crate::trades::time_ns;

/// Reads a time-and-sales CSV piece by piece: unix seconds, price, volume; a line may span pieces.
/// Bad lines are left out and counted.
///
/// Source: Kraken support "Downloadable historical market data (time and sales)".
#[derive(Debug)]
pub struct TradesCsv {
    earliest_ns: i64,
    latest_ns: i64,
    pieces: Pieces,
    lines: u64,
    sequence: Sequence<Trade>,
}

impl TradesCsv {
    /// Starts a file, none of whose trades is earlier than `earliest_ns` or later than `latest_ns`;
    /// more than `silence_ns` without a trade is told.
    #[must_use]
    pub fn new(earliest_ns: i64, latest_ns: i64, silence_ns: i64) -> Self {
        Self {
            earliest_ns,
            latest_ns,
            pieces: Pieces::default(),
            lines: 0,
            sequence: Sequence::new(true, silence_ns),
        }
    }

    /// Reads the next piece and hands each trade on, one line behind; gives how many were taken.
    /// A trade that is not taken counts as a bad line, for the reason given.
    pub fn feed(
        &mut self,
        piece: &[u8],
        is_last: bool,
        mut each: impl FnMut(Trade) -> Result<(), &'static str>,
    ) -> u64 {
        let mut count = 0;
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.feed(piece, |text| count += self.lines_of(text, &mut each));
        if is_last {
            pieces.finish(|text| count += self.lines_of(text, &mut each));
            count += self.sequence.finish(&mut each);
        }
        self.pieces = pieces;
        count
    }

    /// The lines left out so far.
    #[must_use]
    pub fn bad(&self) -> &BadLines {
        self.sequence.bad()
    }

    /// Takes the stretches in which a line was left out: times of the trades around it, unix ns.
    pub fn take_doubts(&mut self) -> Vec<(i64, i64)> {
        self.sequence.take_doubts()
    }

    /// Takes the stretches without a trade that are too long: times of the trades around them.
    pub fn take_silences(&mut self) -> Vec<(i64, i64)> {
        self.sequence.take_silences()
    }

    /// Reads whole lines; each ends in a line feed.
    fn lines_of(
        &mut self,
        text: &[u8],
        each: &mut impl FnMut(Trade) -> Result<(), &'static str>,
    ) -> u64 {
        let mut at = 0;
        let mut count = 0;
        while at < text.len() {
            self.lines += 1;
            if let Some(end) = line_end(text, at) {
                at = end;
                continue;
            }
            match read_row(text, at).and_then(|(trade, end)| Ok((self.checked(trade)?, end))) {
                Ok((trade, end)) => {
                    at = end;
                    count += self.sequence.add(self.lines, trade.time_ns, trade, each);
                }
                Err(problem) => {
                    at = next_line(text, at);
                    self.sequence.refuse(self.lines, problem);
                }
            }
        }
        count
    }

    fn checked(&self, trade: Trade) -> Result<Trade, &'static str> {
        if trade.time_ns > self.latest_ns {
            return Err("the trade lies in the future");
        }
        if trade.time_ns < self.earliest_ns {
            return Err("the trade lies before the exchange existed");
        }
        Ok(trade)
    }
}

/// Reads the line that begins at `at`; gives the trade and the next line's place.
#[inline]
fn read_row(text: &[u8], at: usize) -> Result<(Trade, usize), &'static str> {
    const TIME: &str = "expected a time in unix seconds";
    let (seconds, at) = Decimal::scan(text, at).map_err(|_| TIME)?;
    let time_ns = time_ns(seconds).ok_or(TIME)?;
    let (price, at) = Decimal::scan(text, comma(text, at)?).map_err(|_| "expected a price")?;
    let (volume, at) = Decimal::scan(text, comma(text, at)?).map_err(|_| "expected a volume")?;
    let end = line_end(text, at).ok_or("expected the end of the line")?;
    Ok((
        Trade {
            time_ns,
            price,
            volume,
            id: None,
        },
        end,
    ))
}

#[inline]
fn comma(text: &[u8], at: usize) -> Result<usize, &'static str> {
    if text.get(at) == Some(&b',') {
        Ok(at + 1)
    } else {
        Err("expected a comma")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_csv(text: &[u8]) -> (Vec<(i64, f64, f64)>, TradesCsv) {
        let mut rows = Vec::new();
        let mut csv = TradesCsv::new(i64::MIN, i64::MAX, i64::MAX);
        let taken = csv.feed(text, true, |t| {
            rows.push((t.time_ns, t.price.to_f64(), t.volume.to_f64()));
            Ok(())
        });
        assert_eq!(taken, rows.len() as u64);
        (rows, csv)
    }

    #[test]
    fn lines_of_the_archive() {
        let (rows, csv) = read_csv(b"7,1,3.811e-05\r\n\n1381095255.5,122.0,4E+2");
        assert_eq!(
            rows,
            [
                (7_000_000_000, 1.0, 3.811e-5),
                (1_381_095_255_500_000_000, 122.0, 400.0)
            ]
        );
        assert_eq!(csv.bad().count, 0);
    }

    #[test]
    fn bad_lines_are_left_out_with_their_numbers() {
        for line in [
            "x",
            "1,2",
            "1,2,3,4",
            "a,2,3",
            "1,,3",
            "1,2,3 ",
            " 1,2,3",
            "-1,2,3",
            "\"1\",2,3",
            "9,2,3",
            "0,2,3",
        ] {
            let (rows, mut csv) = read_csv(format!("1,1,1\n{line}\n2,1,1").as_bytes());
            assert_eq!(csv.bad().count, 1, "{line}");
            assert_eq!(csv.bad().first[0].line, 2, "{line}");
            assert_eq!(rows.len(), 2, "{line}");
            assert_eq!(
                csv.take_doubts(),
                [(1_000_000_000, 2_000_000_000)],
                "{line}"
            );
        }
    }

    #[test]
    fn trades_may_share_a_time_and_lie_up_to_the_latest() {
        let mut csv = TradesCsv::new(i64::MIN, 2_000_000_000, i64::MAX);
        let taken = csv.feed(b"1,1,1\n1,1,1\n2,1,1\n2.000000001,1,1\n", true, |_| Ok(()));
        assert_eq!((taken, csv.bad().count), (3, 1));
        assert_eq!(csv.bad().first[0].problem, "the trade lies in the future");
    }

    #[test]
    fn a_trade_that_is_not_taken_is_a_bad_line() {
        let mut csv = TradesCsv::new(i64::MIN, i64::MAX, i64::MAX);
        let taken = csv.feed(b"1,1,1\n2,2,2\n3,1,1", true, |trade| {
            if trade.price.to_f64() > 1.0 {
                Err("late")
            } else {
                Ok(())
            }
        });
        assert_eq!((taken, csv.bad().count), (2, 1));
        assert_eq!(
            (csv.bad().first[0].line, csv.bad().first[0].problem),
            (2, "late")
        );
        assert_eq!(csv.take_doubts(), [(1_000_000_000, 3_000_000_000)]);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(
            prop::sample::select(b"0123456789.,eE+-\r\n x\xff".to_vec()), 0..200)
        ) {
            let _ = read_csv(&bytes);
        }
    }
}
