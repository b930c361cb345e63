//! Layouts that Kraken does not send today: keys in another order, white space, fields that we do
//! not know. One message is read by the general decoder and its layout kept; the next ones of that
//! layout are read straight through, one compare for each run of fixed text, like the usual ones.
//!
//! *Example.* `{"data":[{"bid":1.5,"new":[7],"symbol":"A/USD"}],"channel":"ticker","type":"update"}`
//! is kept as the text `{"data":[{"bid":`, a number, `,"new":`, any value, `,"symbol":`, a symbol,
//! `}],"channel":"ticker","type":"update"}`. What differs in a single byte goes to the general
//! decoder again. A property test holds the two together.

use crate::fast_path::Reader;
use crate::json::Scanner;
use crate::message::Message;
use crate::rows::{CandleRow, MAX_INTERVAL_MINUTES, Rows, TickerRow, TickerSlot};

/// No longer message is learned from: what is kept has to stay small.
const LONGEST: usize = 4096;

/// After each message that was looked at, so many odd ones are read in the general way before the
/// next look: layouts that change all the time must not cost much more than without any of this.
const LOOKS_APART: u8 = 32;

/// The layouts of one connection.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    ticker: Option<Box<Layout>>,
    candle: Option<Box<Layout>>,
    wait: u8,
    /// Whether the message before was read by one of them: then they are tried first.
    pub(crate) lead: bool,
}

/// One layout: values, each behind a run of fixed text, and the text behind the last one.
#[derive(Debug, Default)]
struct Layout {
    fixed: String,
    values: Vec<(usize, Slot)>,
}

/// What a value is. The number beside it tells where the fixed text before it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    /// Time of the event, beside the rows.
    EventTime,
    /// A field of a ticker.
    Ticker(TickerSlot),
    // Those of a candle.
    Symbol,
    Trades,
    Open,
    High,
    Low,
    Close,
    Volume,
    Vwap,
    Begin,
    Interval,
    /// A field that is of no use here.
    Any,
}

/// Reads an update of ticker or ohlc in a layout that was learned. On None, `rows` may hold half a
/// message.
pub(crate) fn read(text: &str, rows: &mut Rows) -> Option<Message<'static>> {
    if rows.layouts.ticker.is_none() && rows.layouts.candle.is_none() {
        return None;
    }
    let layouts = std::mem::take(&mut rows.layouts);
    let message = layouts.read(text, rows);
    rows.layouts = layouts;
    message
}

/// Learns the layout of a message that the general decoder has read.
pub(crate) fn learn(text: &str, message: &Message<'_>, rows: &mut Rows) {
    let candle = match message {
        Message::Ticker { snapshot: false } => false,
        Message::Ohlc {
            snapshot: false, ..
        } => true,
        _ => return,
    };
    if rows.len() != 1 || rows.refused.is_some() || text.len() > LONGEST {
        return;
    }
    if rows.layouts.wait > 0 {
        rows.layouts.wait -= 1;
        return;
    }
    rows.layouts.wait = LOOKS_APART;
    let layout = Layout::of(text, candle).map(Box::new);
    if candle {
        rows.layouts.candle = layout;
    } else {
        rows.layouts.ticker = layout;
    }
}

impl Layouts {
    fn read(&self, text: &str, rows: &mut Rows) -> Option<Message<'static>> {
        let mut reader = Reader::new(text);
        if let Some(layout) = &self.ticker
            && let Some(row) = layout.read_ticker(&mut reader, rows)
        {
            rows.tickers.push(row);
            return Some(Message::Ticker { snapshot: false });
        }
        let layout = self.candle.as_ref()?;
        rows.clear();
        let (row, event_ns) = layout.read_candle(&mut Reader::new(text), rows)?;
        rows.candles.push(row);
        Some(Message::Ohlc {
            snapshot: false,
            event_ns,
        })
    }
}

impl Layout {
    /// Takes a message apart; None when it is not that simple (a key twice, an answer to a request).
    fn of(text: &str, candle: bool) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let mut layout = Self::default();
        let (mut kept, mut rows, mut event) = (0, 0, 0);
        scanner.open(b'{').then_some(())?;
        let mut first = true;
        while scanner.next_item(first, b'}').ok()? {
            first = false;
            match &*scanner.key().ok()? {
                "channel" | "type" => drop(scanner.skip_value().ok()?),
                "data" => {
                    rows += 1;
                    layout.row(&mut scanner, text, &mut kept, candle)?;
                }
                "timestamp" if candle => {
                    event += 1;
                    layout.value(&mut scanner, text, &mut kept, Slot::EventTime)?;
                }
                "method" | "success" | "error" | "Error" => return None,
                _ => layout.value(&mut scanner, text, &mut kept, Slot::Any)?,
            }
        }
        (rows == 1 && event <= 1).then_some(())?;
        layout.fixed.push_str(text.get(kept..)?);
        Some(layout)
    }

    fn row(
        &mut self,
        scanner: &mut Scanner<'_>,
        text: &str,
        kept: &mut usize,
        candle: bool,
    ) -> Option<()> {
        (scanner.open(b'[') && scanner.next_item(true, b']').ok()? && scanner.open(b'{'))
            .then_some(())?;
        let mut first = true;
        while scanner.next_item(first, b'}').ok()? {
            first = false;
            let slot = Slot::of(&scanner.key().ok()?, candle);
            if slot != Slot::Any && self.values.iter().any(|&(_, known)| known == slot) {
                return None;
            }
            self.value(scanner, text, kept, slot)?;
        }
        (!scanner.next_item(false, b']').ok()?).then_some(())
    }

    /// Keeps the text since the last value as fixed, and the next value as one of its kind.
    fn value(
        &mut self,
        scanner: &mut Scanner<'_>,
        text: &str,
        kept: &mut usize,
        slot: Slot,
    ) -> Option<()> {
        scanner.peek();
        self.fixed.push_str(text.get(*kept..scanner.position())?);
        self.values.push((self.fixed.len(), slot));
        scanner.skip_value().ok()?;
        *kept = scanner.position();
        Some(())
    }

    fn read_ticker(&self, reader: &mut Reader<'_>, rows: &mut Rows) -> Option<TickerRow> {
        let mut row = TickerRow::default();
        self.each(reader, |slot, reader| {
            match slot {
                Slot::Ticker(TickerSlot::Symbol) => row.symbol = reader.symbol(rows)?,
                Slot::Ticker(TickerSlot::Value(at)) => {
                    *row.values.get_mut(at)? = Some(reader.number()?);
                }
                Slot::Ticker(TickerSlot::Trades) => row.trades = Some(reader.whole()?),
                Slot::Ticker(TickerSlot::Time) => {
                    row.exchange_ns = Some(reader.time(&mut rows.minute)?);
                }
                _ => reader.pass()?,
            }
            Some(())
        })?;
        Some(row)
    }

    fn read_candle(
        &self,
        reader: &mut Reader<'_>,
        rows: &mut Rows,
    ) -> Option<(CandleRow, Option<i64>)> {
        let mut row = CandleRow::default();
        let mut event_ns = None;
        self.each(reader, |slot, reader| {
            match slot {
                Slot::EventTime => event_ns = Some(reader.time(&mut rows.minute)?),
                Slot::Symbol => row.symbol = reader.symbol(rows)?,
                Slot::Open => row.open = reader.number()?,
                Slot::High => row.high = reader.number()?,
                Slot::Low => row.low = reader.number()?,
                Slot::Close => row.close = reader.number()?,
                Slot::Volume => row.volume = reader.number()?,
                Slot::Vwap => row.vwap = Some(reader.number()?),
                Slot::Trades => row.trades = reader.whole()?,
                Slot::Begin => {
                    let begin_ns = reader.time(&mut rows.minute)?;
                    (begin_ns % 1_000_000_000 == 0).then_some(())?;
                    row.open_s = begin_ns / 1_000_000_000;
                }
                Slot::Interval => {
                    row.interval_minutes = u32::try_from(reader.whole()?)
                        .ok()
                        .filter(|it| (1..=MAX_INTERVAL_MINUTES).contains(it))?;
                }
                _ => reader.pass()?,
            }
            Some(())
        })?;
        Some((row, event_ns))
    }

    #[inline]
    fn each(
        &self,
        reader: &mut Reader<'_>,
        mut read: impl FnMut(Slot, &mut Reader<'_>) -> Option<()>,
    ) -> Option<()> {
        let fixed = self.fixed.as_bytes();
        let mut start = 0;
        for &(end, slot) in &self.values {
            reader.pass_text(fixed.get(start..end)?)?;
            read(slot, reader)?;
            start = end;
        }
        reader.pass_text(fixed.get(start..)?)?;
        reader.end()
    }
}

impl Slot {
    fn of(key: &str, candle: bool) -> Self {
        if !candle {
            return TickerSlot::of(key).map_or(Self::Any, Self::Ticker);
        }
        match key {
            "symbol" => Self::Symbol,
            "trades" => Self::Trades,
            "open" => Self::Open,
            "high" => Self::High,
            "low" => Self::Low,
            "close" => Self::Close,
            "volume" => Self::Volume,
            "vwap" => Self::Vwap,
            "interval_begin" => Self::Begin,
            "interval" => Self::Interval,
            _ => Self::Any,
        }
    }
}
