//! Kraken's downloadable time-and-sales CSV: unix seconds, price, volume; no header, no trade id.

use crate::candles::Trade;
use crate::decimal::Decimal;
use crate::trades::time_ns;

/// A line that is no trade, or one that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine<E> {
    /// 1-based number of the line.
    pub line: u64,
    /// What was wrong.
    pub problem: LineProblem<E>,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineProblem<E> {
    /// It is no trade: what was expected.
    Expected(&'static str),
    /// The consumer refused it.
    Refused(E),
}

/// Reads a time-and-sales CSV piece by piece: unix seconds, price, volume; a line may span pieces.
///
/// Source: Kraken support "Downloadable historical market data (time and sales)".
#[derive(Debug, Default)]
pub struct TradesCsv {
    rest: Vec<u8>,
    lines: u64,
}

impl TradesCsv {
    /// Reads the next piece and hands each trade on; gives how many there were.
    pub fn feed<E>(
        &mut self,
        piece: &[u8],
        is_last: bool,
        mut each: impl FnMut(&Trade) -> Result<(), E>,
    ) -> Result<u64, BadLine<E>> {
        let mut count = 0;
        let mut whole = piece;
        if let Some(end) = piece.iter().rposition(|&byte| byte == b'\n') {
            let (lines, rest) = piece.split_at(end + 1);
            whole = rest;
            let mut lines = lines;
            if !self.rest.is_empty()
                && let Some(first) = lines.iter().position(|&byte| byte == b'\n')
            {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&lines[..=first]);
                count += self.lines_of(&line, &mut each)?;
                lines = &lines[first + 1..];
            }
            count += self.lines_of(lines, &mut each)?;
        }
        self.rest.extend_from_slice(whole);
        if is_last && !self.rest.is_empty() {
            let mut line = std::mem::take(&mut self.rest);
            line.push(b'\n');
            count += self.lines_of(&line, &mut each)?;
        }
        Ok(count)
    }

    /// Reads whole lines; each ends in a line feed.
    fn lines_of<E>(
        &mut self,
        text: &[u8],
        each: &mut impl FnMut(&Trade) -> Result<(), E>,
    ) -> Result<u64, BadLine<E>> {
        let mut at = 0;
        let mut count = 0;
        while at < text.len() {
            self.lines += 1;
            if let Some(end) = line_end(text, at) {
                at = end;
                continue;
            }
            let bad = |problem| BadLine {
                line: self.lines,
                problem,
            };
            let (trade, end) =
                read_row(text, at).map_err(|expected| bad(LineProblem::Expected(expected)))?;
            at = end;
            each(&trade).map_err(|error| bad(LineProblem::Refused(error)))?;
            count += 1;
        }
        Ok(count)
    }
}

/// Reads the line that begins at `at`; gives the trade and the next line's place.
#[inline]
fn read_row(text: &[u8], at: usize) -> Result<(Trade, usize), &'static str> {
    const TIME: &str = "a time in unix seconds";
    let (seconds, at) = Decimal::scan(text, at).map_err(|_| TIME)?;
    let time_ns = time_ns(seconds).ok_or(TIME)?;
    let (price, at) = Decimal::scan(text, comma(text, at)?).map_err(|_| "a price")?;
    let (volume, at) = Decimal::scan(text, comma(text, at)?).map_err(|_| "a volume")?;
    let end = line_end(text, at).ok_or("the end of the line")?;
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
        Err("a comma")
    }
}

/// The place behind the line feed, when the line ends here.
#[inline]
pub(crate) fn line_end(text: &[u8], at: usize) -> Option<usize> {
    match (text.get(at), text.get(at + 1)) {
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_csv(text: &[u8]) -> Result<Vec<(i64, f64, f64)>, BadLine<()>> {
        let mut rows = Vec::new();
        TradesCsv::default().feed(text, true, |t| {
            rows.push((t.time_ns, t.price.to_f64(), t.volume.to_f64()));
            Ok(())
        })?;
        Ok(rows)
    }

    #[test]
    fn lines_of_the_archive() {
        let rows = read_csv(b"1381095255.5,122.0,4E+2\r\n\n7,1,3.811e-05").unwrap();
        assert_eq!(
            rows,
            [
                (1_381_095_255_500_000_000, 122.0, 400.0),
                (7_000_000_000, 1.0, 3.811e-5)
            ]
        );
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
        ] {
            let error = read_csv(format!("1,1,1\n{line}\n1,1,1").as_bytes()).unwrap_err();
            assert_eq!(error.line, 2, "{line}");
        }
        let refused = TradesCsv::default()
            .feed(b"1,1,1", true, |_| Err(7))
            .unwrap_err();
        assert_eq!(
            refused,
            BadLine {
                line: 1,
                problem: LineProblem::Refused(7)
            }
        );
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
