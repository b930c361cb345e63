//! The layouts that Kraken really sends, read straight through: one compare for each run of fixed
//! text, no key looked up. Whatever differs in a single byte (other order, white space, a field more
//! or less, null, an exponent) gives None, and the general decoder reads the message instead.
//!
//! What is read here is read equally there; a property test holds the two together.

use std::ops::Range;

use crate::decimal::{Decimal, leading_digits};
use crate::json::Scanner;
use crate::message::Message;
use crate::rows::{CandleRow, MAX_INTERVAL_MINUTES, Rows, TickerRow};
use crate::timestamp::minute_s;

/// The minute of the newest time read, so that the next one need not work it out again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Minute {
    text: [u8; 16],
    unix_s: i64,
}

/// A cursor that only knows fixed text, plain numbers, plain strings and times.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// Reads an update of ticker or ohlc in the usual layout. On None, `rows` may hold half a message.
#[inline]
pub(crate) fn read(text: &str, rows: &mut Rows) -> Option<Message<'static>> {
    let mut reader = Reader::new(text);
    if reader.take(br#"{"channel":"ticker","type":"update","data":[{"symbol":"#) {
        read_ticker(&mut reader, rows)?;
        reader.take(b"}]}").then_some(())?;
        reader.end()?;
        return Some(Message::Ticker { snapshot: false });
    }
    if reader.take(br#"{"channel":"ohlc","type":"update","timestamp":"#) {
        let event_ns = reader.time(&mut rows.minute)?;
        reader.take(br#","data":[{"symbol":"#).then_some(())?;
        let row = read_candle(&mut reader, rows)?;
        reader.take(b"}]}").then_some(())?;
        reader.end()?;
        rows.candles.push(row);
        return Some(Message::Ohlc {
            snapshot: false,
            event_ns: Some(event_ns),
        });
    }
    None
}

macro_rules! next {
    ($reader:ident, $key:literal, $read:ident $(, $extra:expr)?) => {{
        const KEY: [u8; $key.len() + 4] = key($key);
        $reader.take(&KEY).then_some(())?;
        $reader.$read($($extra)?)?
    }};
}

/// `,"name":`
const fn key<const N: usize>(name: &str) -> [u8; N] {
    let mut out = [0; N];
    out[0] = b',';
    out[1] = b'"';
    let mut at = 0;
    while at < name.len() {
        out[at + 2] = name.as_bytes()[at];
        at += 1;
    }
    out[N - 2] = b'"';
    out[N - 1] = b':';
    out
}

/// Reads a ticker into a row that is there already: rows are wide, and a move of one costs as much as
/// reading two numbers.
#[inline]
fn read_ticker(reader: &mut Reader<'_>, rows: &mut Rows) -> Option<()> {
    let symbol = reader.symbol(rows)?;
    rows.tickers.push(TickerRow::default());
    let row = rows.tickers.last_mut()?;
    row.symbol = symbol;
    row.values[0] = Some(next!(reader, "bid", number));
    row.values[1] = Some(next!(reader, "bid_qty", number));
    row.values[2] = Some(next!(reader, "ask", number));
    row.values[3] = Some(next!(reader, "ask_qty", number));
    row.values[4] = Some(next!(reader, "last", number));
    row.values[5] = Some(next!(reader, "volume", number));
    row.values[6] = Some(next!(reader, "vwap", number));
    row.values[7] = Some(next!(reader, "low", number));
    row.values[8] = Some(next!(reader, "high", number));
    row.values[9] = Some(next!(reader, "change", number));
    row.values[10] = Some(next!(reader, "change_pct", number));
    row.trades = Some(next!(reader, "trades", whole));
    row.exchange_ns = Some(next!(reader, "timestamp", time, &mut rows.minute));
    Some(())
}

#[inline]
fn read_candle(reader: &mut Reader<'_>, rows: &mut Rows) -> Option<CandleRow> {
    let symbol = reader.symbol(rows)?;
    let open = next!(reader, "open", number);
    let high = next!(reader, "high", number);
    let low = next!(reader, "low", number);
    let close = next!(reader, "close", number);
    let trades = next!(reader, "trades", whole);
    let volume = next!(reader, "volume", number);
    let vwap = Some(next!(reader, "vwap", number));
    let begin_ns = next!(reader, "interval_begin", time, &mut rows.minute);
    let minutes = next!(reader, "interval", whole);
    // The row's own timestamp is deprecated; it only has to be a string.
    next!(reader, "timestamp", string);
    let interval_minutes = u32::try_from(minutes)
        .ok()
        .filter(|it| (1..=MAX_INTERVAL_MINUTES).contains(it))?;
    (begin_ns % 1_000_000_000 == 0).then_some(())?;
    let open_s = begin_ns / 1_000_000_000;
    Some(CandleRow {
        symbol,
        interval_minutes,
        open_s,
        open,
        high,
        low,
        close,
        vwap,
        volume,
        trades,
    })
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Takes `literal` when it comes next.
    #[expect(
        clippy::inline_always,
        reason = "measured: a third of the time of a ticker"
    )]
    #[inline(always)]
    fn take<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        let found = self.rest().first_chunk::<N>() == Some(literal);
        if found {
            self.at += N;
        }
        found
    }

    /// Passes text of any length.
    #[inline]
    pub(crate) fn pass_text(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().starts_with(literal).then_some(())?;
        self.at += literal.len();
        Some(())
    }

    /// Passes one value of any type.
    pub(crate) fn pass(&mut self) -> Option<()> {
        let mut scanner = Scanner::at(self.text, self.at);
        scanner.skip_value().ok()?;
        self.at = scanner.position();
        Some(())
    }

    #[expect(clippy::inline_always, reason = "measured, as above")]
    #[inline(always)]
    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(crate) fn end(&self) -> Option<()> {
        (self.at == self.text.len()).then_some(())
    }

    #[expect(clippy::inline_always, reason = "measured, as above")]
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<Decimal> {
        let (number, end) = Decimal::scan_plain(self.text.as_bytes(), self.at)?;
        self.at = end;
        Some(number)
    }

    #[inline]
    pub(crate) fn whole(&mut self) -> Option<u64> {
        self.number()?.to_u64()
    }

    /// A string without escapes.
    #[inline]
    fn string(&mut self) -> Option<&str> {
        self.take(b"\"").then_some(())?;
        let start = self.at;
        let length = self
            .rest()
            .iter()
            .position(|&byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
        self.at += length;
        self.take(b"\"").then_some(())?;
        self.text.get(start..start + length)
    }

    #[inline]
    pub(crate) fn symbol(&mut self, rows: &mut Rows) -> Option<Range<usize>> {
        let symbol = self.string()?;
        (!symbol.is_empty()).then_some(())?;
        Some(rows.keep_symbol(symbol))
    }

    /// `"YYYY-MM-DDThh:mm:ss.` and 6 or 9 digits, `Z"`. Nearly all times of a stream lie in the
    /// minute of the one before, so only the rest is worked out.
    #[inline]
    pub(crate) fn time(&mut self, minute: &mut Minute) -> Option<i64> {
        self.take(b"\"").then_some(())?;
        let rest = self.rest();
        let (head, rest) = rest.split_first_chunk::<16>()?;
        if *head != minute.text {
            *minute = Minute {
                text: *head,
                unix_s: minute_s(head)?,
            };
        }
        let (&[b':', tens @ b'0'..=b'5', ones @ b'0'..=b'9', b'.'], fraction) =
            rest.split_first_chunk::<4>()?
        else {
            return None;
        };
        let (first, digits) = leading_digits(*fraction.first_chunk()?);
        let (fraction_ns, length) = match (digits, fraction.get(digits..)?) {
            (6, [b'Z', b'"', ..]) => (first * 1_000, 8),
            (8, [last @ b'0'..=b'9', b'Z', b'"', ..]) => (first * 10 + u64::from(last - b'0'), 11),
            _ => return None,
        };
        let fraction_ns = i64::try_from(fraction_ns).ok()?;
        self.at += 20 + length;
        let second = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
        (minute.unix_s + second)
            .checked_mul(1_000_000_000)?
            .checked_add(fraction_ns)
    }
}
