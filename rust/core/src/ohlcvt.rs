//! Kraken's downloadable OHLCVT CSV, straight into columns.
//!
//! Lines are open time (unix seconds), open, high, low, close, volume, trades; no header, only
//! intervals with trades, numbers in any spelling (`2`, `4E+2`, `3.811e-05`). A line that is none is
//! left out and told with its number. Source: Kraken support "Downloadable historical OHLCVT data".

use crate::csv_lines::{BadLines, Pieces, Sequence, line_end, next_line};
use crate::decimal::Decimal;

/// Seconds of 9999-12-31: a time in milliseconds is refused instead of stored far in the future.
const LAST_S: i64 = 253_402_300_799;

/// Columns of candles, oldest first; all of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Open times, unix seconds.
    pub time: Vec<i64>,
    /// First prices.
    pub open: Vec<f64>,
    /// Highest prices.
    pub high: Vec<f64>,
    /// Lowest prices.
    pub low: Vec<f64>,
    /// Last prices.
    pub close: Vec<f64>,
    /// Base units.
    pub volume: Vec<f64>,
    /// Numbers of trades.
    pub count: Vec<i64>,
}

impl Columns {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "what a sequence wants of its consumer"
    )]
    fn push(&mut self, row: CsvBar) -> Result<(), &'static str> {
        self.time.push(row.time_s);
        self.open.push(row.open);
        self.high.push(row.high);
        self.low.push(row.low);
        self.close.push(row.close);
        self.volume.push(row.volume);
        self.count.push(row.count);
        Ok(())
    }

    /// Splits off the rows from `at` on.
    fn split_off(&mut self, at: usize) -> Self {
        Self {
            time: self.time.split_off(at),
            open: self.open.split_off(at),
            high: self.high.split_off(at),
            low: self.low.split_off(at),
            close: self.close.split_off(at),
            volume: self.volume.split_off(at),
            count: self.count.split_off(at),
        }
    }
}

/// Reads one file piece by piece. Bad lines are left out and counted.
#[derive(Debug)]
pub struct OhlcvtParser {
    interval_s: i64,
    earliest_s: i64,
    now_s: i64,
    columns: Columns,
    pieces: Pieces,
    lines: u64,
    sequence: Sequence<CsvBar>,
}

impl OhlcvtParser {
    /// Starts a file of candles of `interval_minutes`, none of which opens before `earliest_s` or
    /// ends after `now_s`; more than `silence_s` without a candle is told.
    #[must_use]
    pub fn new(interval_minutes: u32, earliest_s: i64, now_s: i64, silence_s: i64) -> Self {
        let interval_s = i64::from(interval_minutes.max(1)) * 60;
        Self {
            interval_s,
            earliest_s,
            now_s,
            columns: Columns::default(),
            pieces: Pieces::default(),
            lines: 0,
            sequence: Sequence::new(false, silence_s.saturating_add(interval_s)),
        }
    }

    /// Reads the next piece; a line may span pieces.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.feed(piece, |text| self.lines_of(text));
        self.pieces = pieces;
    }

    /// Reads the last line, should it have no line feed.
    pub fn finish(&mut self) {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.finish(|text| self.lines_of(text));
        let Self {
            sequence, columns, ..
        } = self;
        sequence.finish(&mut |row| columns.push(row));
    }

    /// How many rows are waiting to be taken.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.time.len()
    }

    /// Open time of the newest row read so far.
    #[must_use]
    pub fn last_s(&self) -> Option<i64> {
        self.sequence.last()
    }

    /// Whether the file has not gone back in time so far.
    #[must_use]
    pub fn in_order(&self) -> bool {
        self.sequence.in_order()
    }

    /// The lines left out so far.
    #[must_use]
    pub fn bad(&self) -> &BadLines {
        self.sequence.bad()
    }

    /// Takes the stretches in which a line was left out: (end of the row before, open time of the
    /// row behind), unix seconds.
    pub fn take_doubts(&mut self) -> Vec<(i64, i64)> {
        let stretches = self.sequence.take_doubts().into_iter();
        let inside = stretches.map(|(after, before)| (after + self.interval_s, before));
        inside.filter(|(start, end)| start < end).collect()
    }

    /// Takes the stretches without a candle that are too long, as `take_doubts` gives them.
    pub fn take_silences(&mut self) -> Vec<(i64, i64)> {
        let stretches = self.sequence.take_silences().into_iter();
        let inside = stretches.map(|(after, before)| (after + self.interval_s, before));
        inside.collect()
    }

    /// Takes the rows that open before `before_s`; all of them with None, or when they are not in
    /// order.
    pub fn take(&mut self, before_s: Option<i64>) -> Columns {
        let (Some(before_s), true) = (before_s, self.in_order()) else {
            return std::mem::take(&mut self.columns);
        };
        let at = self
            .columns
            .time
            .partition_point(|&time_s| time_s < before_s);
        let later = self.columns.split_off(at);
        std::mem::replace(&mut self.columns, later)
    }

    /// Reads whole lines; each ends in a line feed.
    fn lines_of(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            self.lines += 1;
            match read_row(text, at).and_then(|(row, end)| Ok((self.checked(row)?, end))) {
                Ok((row, end)) => {
                    at = end;
                    if let Some(row) = row {
                        let Self {
                            sequence, columns, ..
                        } = self;
                        sequence.add(self.lines, row.time_s, row, &mut |row| columns.push(row));
                    }
                }
                Err(problem) => {
                    at = next_line(text, at);
                    self.sequence.refuse(self.lines, problem);
                }
            }
        }
    }

    fn checked(&self, row: Option<CsvBar>) -> Result<Option<CsvBar>, &'static str> {
        let Some(row) = row else { return Ok(None) };
        if row.time_s > LAST_S {
            return Err("the open time is not in unix seconds");
        }
        if row.time_s > self.now_s {
            return Err("the candle opens in the future");
        }
        if row.time_s > self.now_s.saturating_sub(self.interval_s) {
            return Err("the candle has not ended yet");
        }
        if row.time_s < self.earliest_s {
            return Err("the candle opens before the exchange existed");
        }
        if row.time_s % self.interval_s != 0 {
            return Err("the open time is no multiple of the interval");
        }
        if !(row.low <= row.open
            && row.open <= row.high
            && row.low <= row.close
            && row.close <= row.high)
        {
            return Err("low, open, close and high contradict each other");
        }
        Ok(Some(row))
    }
}

#[derive(Clone, Copy, Debug)]
struct CsvBar {
    time_s: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    count: i64,
}

/// Reads the line that begins at `at`; gives the row, None for a blank line, and the next line's
/// place. The text ends in a line feed.
#[inline]
fn read_row(text: &[u8], at: usize) -> Result<(Option<CsvBar>, usize), &'static str> {
    if let Some(end) = line_end(text, at) {
        return Ok((None, end));
    }
    let (time_s, at) = whole(text, at).ok_or("the open time is no whole number")?;
    let (open, at) = amount(text, comma(text, at)?).ok_or("open is no number")?;
    let (high, at) = amount(text, comma(text, at)?).ok_or("high is no number")?;
    let (low, at) = amount(text, comma(text, at)?).ok_or("low is no number")?;
    let (close, at) = amount(text, comma(text, at)?).ok_or("close is no number")?;
    let (volume, at) = amount(text, comma(text, at)?).ok_or("volume is no number")?;
    let (count, at) = whole(text, comma(text, at)?).ok_or("trades is no whole number")?;
    let end = line_end(text, at).ok_or("there is more than seven fields")?;
    Ok((
        Some(CsvBar {
            time_s,
            open,
            high,
            low,
            close,
            volume,
            count,
        }),
        end,
    ))
}

#[inline]
fn comma(text: &[u8], at: usize) -> Result<usize, &'static str> {
    match text.get(at) {
        Some(b',') => Ok(at + 1),
        Some(b'\n' | b'\r') => Err("there are fewer than seven fields"),
        _ => Err("a field holds more than a number"),
    }
}

/// A price or a volume: never negative.
#[inline]
fn amount(text: &[u8], at: usize) -> Option<(f64, usize)> {
    if let Ok((number, end)) = Decimal::scan(text, at) {
        return (!number.is_negative()).then(|| (number.to_f64(), end));
    }
    wide_amount(text, at)
}

/// A number with more digits than are kept exactly: still the nearest double.
#[cold]
fn wide_amount(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let length = text
        .get(at..)?
        .iter()
        .position(|byte| matches!(byte, b',' | b'\r' | b'\n'))?;
    let field = std::str::from_utf8(&text[at..at + length]).ok()?;
    let digits = field
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number: f64 = field.parse().ok()?;
    let begins = field.starts_with(|first: char| first.is_ascii_digit());
    (digits && begins && number.is_finite()).then_some((number, at + length))
}

#[inline]
fn whole(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let (number, end) = Decimal::scan(text, at).ok()?;
    Some((i64::try_from(number.to_u64()?).ok()?, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> OhlcvtParser {
        let mut parser = OhlcvtParser::new(1, 0, LAST_S, LAST_S);
        parser.feed(text.as_bytes());
        parser.finish();
        parser
    }

    fn parse(text: &str) -> Columns {
        let mut parser = read(text);
        assert_eq!(parser.bad().count, 0);
        parser.take(None)
    }

    #[test]
    fn numbers_in_any_spelling() {
        let columns = parse(
            "60,1,2.50,1e-3,1.5,4E+2,3\r\n120,1,1,1,1,3.811e-05,1\n\n180,0,1,0,1,0.12345678901234567890123456789012345,2.0",
        );
        assert_eq!(columns.time, [60, 120, 180]);
        assert_eq!(columns.low, [0.001, 1.0, 0.0]);
        assert_eq!(columns.volume, [400.0, 3.811e-5, 0.123_456_789_012_345_68]);
        assert_eq!(columns.count, [3, 1, 2]);
    }

    #[test]
    fn every_malformed_line_is_left_out_with_its_number() {
        for bad in [
            "time,open,high,low,close,volume,trades",
            "120,1,1,1,1,1",
            "120,1,1,1,1,1,1,1",
            "120,1,1,1,1,1,x",
            "120,1,1,1,1,1,1.5",
            "120,1,1,1,1,,1",
            "120,-1,1,1,1,1,1",
            "120,nan,1,1,1,1,1",
            "120,1,inf,1,1,1,1",
            "120,1,1,1,1,1e999,1",
            "120,1,2,3,1,1,1",
            "120,3,2,1,2,1,1",
            "120,2,2,1,3,1,1",
            "120,0.5,2,1,2,1,1",
            "120,2,2,1,0.5,1,1",
            "60,1,1,1,1,1,1",
            "0,1,1,1,1,1,1",
            "240,1,1,1,1,1,1",
            "121,1,1,1,1,1,1",
            "120000000000000,1,1,1,1,1,1",
            "-120,1,1,1,1,1,1",
            " 120,1,1,1,1,1,1",
            "120;1;1;1;1;1;1",
            "\u{feff}120,1,1,1,1,1,1",
        ] {
            let mut parser = read(&format!("60,1,1,1,1,1,1\n{bad}\n180,1,1,1,1,1,1\n"));
            let lines: Vec<u64> = parser.bad().first.iter().map(|bad| bad.line).collect();
            assert_eq!(lines, [2], "{bad}");
            assert!(parser.in_order());
            assert_eq!(parser.take(None).time, [60, 180], "{bad}");
            let doubled = bad.starts_with("60,");
            assert_eq!(parser.take_doubts().is_empty(), doubled, "{bad}");
        }
    }

    #[test]
    fn what_may_be_missing_lies_between_the_rows_around_a_bad_line() {
        let mut parser = read("x\n60,1,1,1,1,1,1\nx\n120,1,1,1,1,1,1\nx\nx\n300,1,1,1,1,1,1\nx\n");
        assert_eq!(parser.bad().count, 5);
        // Between 60 and 120 there is no room for a candle; before and behind nothing is claimed.
        assert_eq!(parser.take_doubts(), [(180, 300)]);
        assert!(parser.take_doubts().is_empty());
    }

    #[test]
    fn one_wrong_time_does_not_shut_out_the_rest() {
        let line = |time: i64| format!("{time},1,1,1,1,1,1\n");
        let text: String = [60, 120, 60_000, 180, 240].map(line).concat();
        let mut parser = read(&text);
        assert_eq!(parser.bad().first[0].line, 3);
        assert_eq!(parser.take(None).time, [60, 120, 180, 240]);
        let text: String = [60_000, 60_060, 60, 120].map(line).concat();
        let mut parser = read(&text);
        assert!(!parser.in_order());
        assert_eq!(parser.bad().count, 0);
        assert_eq!(parser.take(Some(60)).time, [60_000, 60_060, 60, 120]);
        // What has ended is let through, later ones are not.
        let mut parser = OhlcvtParser::new(1, 0, 180, LAST_S);
        parser.feed(text.as_bytes());
        parser.finish();
        assert_eq!(parser.bad().count, 2);
        assert_eq!(
            parser.bad().first[0].problem,
            "the candle opens in the future"
        );
        assert_eq!(parser.take(None).time, [60, 120]);
    }

    #[test]
    fn a_candle_that_runs_and_one_before_the_exchange_are_bad_lines() {
        let mut parser = OhlcvtParser::new(1, 120, 299, LAST_S);
        for time in [0, 60, 120, 180, 240, 300] {
            parser.feed(format!("{time},1,1,1,1,1,1\n").as_bytes());
        }
        parser.finish();
        let problems: Vec<_> = parser
            .bad()
            .first
            .iter()
            .map(|bad| (bad.line, bad.problem))
            .collect();
        let before = "the candle opens before the exchange existed";
        let wanted = [
            (1, before),
            (2, before),
            (5, "the candle has not ended yet"),
            (6, "the candle opens in the future"),
        ];
        assert_eq!(problems, wanted);
        assert_eq!(parser.take(None).time, [120, 180]);
    }

    #[test]
    fn a_long_stretch_without_a_candle_is_told() {
        let mut parser = OhlcvtParser::new(1, 0, LAST_S, 120);
        for time in [60, 240, 480] {
            parser.feed(format!("{time},1,1,1,1,1,1\n").as_bytes());
        }
        parser.finish();
        // Two minutes without one are let pass, three are not.
        assert_eq!(parser.take_silences(), [(300, 480)]);
        assert!(parser.take_doubts().is_empty());
    }

    #[test]
    fn rows_are_taken_up_to_a_time() {
        let mut parser = OhlcvtParser::new(1, 0, LAST_S, LAST_S);
        assert_eq!(parser.last_s(), None);
        parser.feed(b"60,1,1,1,1,1,1\n120,1,1,1,1,1,1\n180,1,1,1,1,1,1\n");
        // The last one waits for what follows.
        assert_eq!((parser.rows(), parser.last_s()), (2, Some(120)));
        assert_eq!(parser.take(Some(120)).time, [60]);
        assert_eq!((parser.rows(), parser.last_s()), (1, Some(120)));
        parser.finish();
        assert_eq!(parser.take(None).time, [120, 180]);
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_never_matters(cuts in prop::collection::vec(0_usize..400, 0..12)) {
            let line = |row: u32| format!("{},1.{row},2.5,0.5,1.25,{row}E-{row},{row}\n", row * 60);
            let text: String = (1..12).map(line).collect();
            let expected = parse(&text);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut parser = OhlcvtParser::new(1, 0, LAST_S, LAST_S);
            let mut from = 0;
            for cut in cuts {
                parser.feed(&text.as_bytes()[from..cut]);
                from = cut;
            }
            parser.finish();
            prop_assert_eq!(parser.bad().count, 0);
            prop_assert_eq!(parser.take(None), expected);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(
            prop::sample::select(b"0123456789.,eE+-\r\n xNaN\xff".to_vec()), 0..200)
        ) {
            let mut parser = OhlcvtParser::new(1, 0, LAST_S, LAST_S);
            parser.feed(&bytes);
            parser.finish();
        }

        #[test]
        fn a_row_reads_as_the_standard_parser_reads_it(
            open in 0.0_f64..1e6, volume in 0.0_f64..1e12, count in 0_i64..1_000_000
        ) {
            let text = format!("60,{open},{open},{open},{open},{volume:e},{count}\n");
            let columns = parse(&text);
            prop_assert_eq!(columns.open[0].to_bits(), open.to_bits());
            prop_assert_eq!(columns.volume[0].to_bits(), volume.to_bits());
            prop_assert_eq!(columns.count[0], count);
        }
    }
}
