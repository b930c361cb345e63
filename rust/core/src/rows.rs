//! Rows of ticker and ohlc messages: the elements of `data`, read into reused memory.
//!
//! Source: Kraken WebSocket v2 pages "Ticker" and "Candles (OHLC)", and recorded frames.

use std::ops::Range;

use crate::decimal::Decimal;
use crate::fast_path::Minute;
use crate::json::{Scan, Scanner};
use crate::learned_layout::Layouts;
use crate::malformed::Malformed;

/// How many elements `data` may have. Kraken sends one ticker, about ten candles.
pub const MAX_ELEMENTS: usize = 4096;

/// How many exact numbers a ticker has.
pub const TICKER_VALUES: usize = 11;

/// Their names on the wire, in the order of [`TickerRow::values`].
pub const TICKER_VALUE_NAMES: [&str; TICKER_VALUES] = [
    "bid",
    "bid_qty",
    "ask",
    "ask_qty",
    "last",
    "volume",
    "vwap",
    "low",
    "high",
    "change",
    "change_pct",
];

/// Place of the last price in [`TickerRow::values`].
pub(crate) const LAST: usize = 4;

/// Place of the volume of 24 hours.
pub(crate) const VOLUME: usize = 5;

/// The first values are needed: bid, ask, their quantities, last. A row without a sound one is no
/// row; any other odd value is merely left out.
const NEEDED_VALUES: usize = 5;

/// One element of a ticker message. A value that Kraken left out or sent as null is None.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TickerRow {
    pub(crate) symbol: Range<usize>,
    /// Prices (quote per base), quantities (base units) and changes by [`TICKER_VALUE_NAMES`].
    pub values: [Option<Decimal>; TICKER_VALUES],
    /// Trades in 24 hours.
    pub trades: Option<u64>,
    /// Kraken's time of the update, unix nanoseconds.
    pub exchange_ns: Option<i64>,
}

/// One element of an ohlc message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CandleRow {
    pub(crate) symbol: Range<usize>,
    /// Length of the candle.
    pub interval_minutes: u32,
    /// Opening time, unix seconds.
    pub open_s: i64,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Newest price.
    pub close: Decimal,
    /// Volume-weighted average price.
    pub vwap: Option<Decimal>,
    /// Base units traded.
    pub volume: Decimal,
    /// Number of trades; 0 when Kraken left it out (a streamed candle has at least one).
    pub trades: u64,
}

/// The rows of the message decoded last. Reused from message to message.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) tickers: Vec<TickerRow>,
    pub(crate) candles: Vec<CandleRow>,
    symbols: String,
    /// Why a row of the message was left out, or a value of one: the first reason.
    pub refused: Option<Malformed>,
    pub(crate) minute: Minute,
    pub(crate) layouts: Layouts,
}

impl Rows {
    /// Rows of a ticker message, with their symbols.
    pub fn tickers(&self) -> impl Iterator<Item = (&str, &TickerRow)> {
        self.tickers
            .iter()
            .map(|row| (self.symbol(&row.symbol), row))
    }

    /// Rows of an ohlc message, with their symbols, in the order sent.
    pub fn candles(&self) -> impl Iterator<Item = (&str, &CandleRow)> {
        self.candles
            .iter()
            .map(|row| (self.symbol(&row.symbol), row))
    }

    fn symbol(&self, place: &Range<usize>) -> &str {
        self.symbols.get(place.clone()).unwrap_or_default()
    }

    pub(crate) fn keep_symbol(&mut self, symbol: &str) -> Range<usize> {
        let start = self.symbols.len();
        self.symbols.push_str(symbol);
        start..self.symbols.len()
    }

    pub(crate) fn clear(&mut self) {
        self.tickers.clear();
        self.candles.clear();
        self.symbols.clear();
        self.refused = None;
        // One oversized snapshot must not hold its memory for the life of the connection.
        if self.tickers.capacity() > 64 || self.candles.capacity() > 256 {
            *self = Self::default();
        }
    }
}

impl Rows {
    /// Notes that something was left out.
    fn refuse(&mut self, reason: Malformed) {
        self.refused.get_or_insert(reason);
    }

    /// How many rows were kept.
    pub(crate) fn len(&self) -> usize {
        self.tickers.len() + self.candles.len()
    }
}

/// Channels whose rows are decoded in passing, when `channel` came before `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowChannel {
    Ticker,
    Ohlc,
}

impl RowChannel {
    pub(crate) fn of(name: Option<&str>) -> Option<Self> {
        match name {
            Some("ticker") => Some(Self::Ticker),
            Some("ohlc") => Some(Self::Ohlc),
            _ => None,
        }
    }
}

/// Reads the array of a channel's rows. A row that makes no sense is left out; when none is left the
/// message is refused for the first reason.
pub(crate) fn read_rows(
    scanner: &mut Scanner<'_>,
    channel: RowChannel,
    rows: &mut Rows,
) -> Scan<()> {
    // A second `data` key replaces the first, as everywhere in JSON.
    rows.clear();
    if !scanner.open(b'[') {
        return Err(scanner.wrong_type("data"));
    }
    let mut count = 0;
    while scanner.next_item(count == 0, b']')? {
        count += 1;
        if count > MAX_ELEMENTS {
            return Err(Malformed::TooManyElements);
        }
        let verdict = if scanner.open(b'{') {
            match channel {
                RowChannel::Ticker => read_ticker(scanner, rows)?,
                RowChannel::Ohlc => read_candle(scanner, rows)?,
            }
        } else {
            scanner.skip_value()?;
            Err(Malformed::WrongType("data"))
        };
        if let Err(reason) = verdict {
            rows.refuse(reason);
        }
    }
    match rows.refused {
        Some(reason) if rows.len() == 0 => Err(reason),
        _ => Ok(()),
    }
}

fn read_ticker(scanner: &mut Scanner<'_>, rows: &mut Rows) -> Scan<Result<(), Malformed>> {
    let mut row = TickerRow::default();
    let mut first = true;
    let mut fault = None;
    // Kraken's order of fields: the next one is tried first, so that a key is rarely looked up.
    let mut expected = 0;
    while scanner.next_item(first, b'}')? {
        first = false;
        let at = match TICKER_KEYS.get(expected) {
            Some(field) if scanner.take(field.key) => Some(expected),
            _ => {
                let key = scanner.key()?;
                TICKER_KEYS.iter().position(|field| field.name == key)
            }
        };
        let Some(at) = at else {
            scanner.skip_value()?;
            continue;
        };
        expected = at + 1;
        let field = &TICKER_KEYS[at];
        if let Err(reason) = scanner.tolerant(|it| field.read(it, &mut row, rows))? {
            match field.slot {
                TickerSlot::Symbol => fault = Some(reason),
                TickerSlot::Value(at) if at < NEEDED_VALUES => fault = Some(reason),
                _ => rows.refuse(reason),
            }
        }
    }
    if let Some(reason) = fault {
        return Ok(Err(reason));
    }
    if row.symbol.is_empty() {
        return Ok(Err(Malformed::Missing("symbol")));
    }
    rows.tickers.push(row);
    Ok(Ok(()))
}

struct TickerKey {
    name: &'static str,
    key: &'static [u8],
    slot: TickerSlot,
}

/// Where a field of a ticker goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TickerSlot {
    Symbol,
    /// By its place in [`TICKER_VALUE_NAMES`].
    Value(usize),
    Trades,
    Time,
}

impl TickerSlot {
    /// None for a field that is of no use here.
    pub(crate) fn of(key: &str) -> Option<Self> {
        TICKER_KEYS
            .iter()
            .find(|field| field.name == key)
            .map(|field| field.slot)
    }
}

impl TickerKey {
    #[inline]
    fn read(&self, scanner: &mut Scanner<'_>, row: &mut TickerRow, rows: &mut Rows) -> Scan<()> {
        match self.slot {
            TickerSlot::Value(at) => row.values[at] = scanner.number_or_null(self.name)?,
            TickerSlot::Symbol => row.symbol = read_symbol(scanner, rows)?,
            TickerSlot::Trades => row.trades = scanner.count_or_null(self.name)?,
            TickerSlot::Time => row.exchange_ns = scanner.time_or_null(self.name)?,
        }
        Ok(())
    }
}

macro_rules! ticker_keys {
    ($($name:literal => $slot:expr),* $(,)?) => {
        [$(TickerKey {
            name: $name,
            key: concat!("\"", $name, "\":").as_bytes(),
            slot: $slot,
        }),*]
    };
}

static TICKER_KEYS: [TickerKey; 14] = ticker_keys![
    "symbol" => TickerSlot::Symbol,
    "bid" => TickerSlot::Value(0),
    "bid_qty" => TickerSlot::Value(1),
    "ask" => TickerSlot::Value(2),
    "ask_qty" => TickerSlot::Value(3),
    "last" => TickerSlot::Value(4),
    "volume" => TickerSlot::Value(5),
    "vwap" => TickerSlot::Value(6),
    "low" => TickerSlot::Value(7),
    "high" => TickerSlot::Value(8),
    "change" => TickerSlot::Value(9),
    "change_pct" => TickerSlot::Value(10),
    "trades" => TickerSlot::Trades,
    "timestamp" => TickerSlot::Time,
];

fn read_symbol(scanner: &mut Scanner<'_>, rows: &mut Rows) -> Scan<Range<usize>> {
    if scanner.peek() != Some(b'"') {
        return Err(scanner.wrong_type("symbol"));
    }
    Ok(rows.keep_symbol(&scanner.string()?))
}

fn read_candle(scanner: &mut Scanner<'_>, rows: &mut Rows) -> Scan<Result<(), Malformed>> {
    let mut row = CandleRow::default();
    let (mut open, mut high, mut low, mut close, mut volume) = (None, None, None, None, None);
    let (mut begin_ns, mut interval) = (None, None);
    let mut first = true;
    let mut fault = None;
    while scanner.next_item(first, b'}')? {
        first = false;
        let key = scanner.key()?;
        let read = scanner.tolerant(|scanner| {
            match &*key {
                "symbol" => row.symbol = read_symbol(scanner, rows)?,
                "open" => open = scanner.number_or_null("open")?,
                "high" => high = scanner.number_or_null("high")?,
                "low" => low = scanner.number_or_null("low")?,
                "close" => close = scanner.number_or_null("close")?,
                "volume" => volume = scanner.number_or_null("volume")?,
                "vwap" => row.vwap = scanner.number_or_null("vwap")?,
                "trades" => row.trades = scanner.count_or_null("trades")?.unwrap_or(0),
                "interval_begin" => begin_ns = scanner.time_or_null("interval_begin")?,
                "interval" => interval = scanner.count_or_null("interval")?,
                // `timestamp` of a row is deprecated: the end of the candle in every recording.
                _ => drop(scanner.skip_value()?),
            }
            Ok(())
        })?;
        if let Err(reason) = read {
            match &*key {
                "vwap" | "trades" => rows.refuse(reason),
                _ => fault = Some(reason),
            }
        }
    }
    Ok(match fault {
        Some(reason) => Err(reason),
        None => finish_candle(
            &mut row,
            [open, high, low, close, volume],
            begin_ns,
            interval,
        )
        .map(|()| rows.candles.push(row)),
    })
}

/// Puts together what a candle cannot do without.
fn finish_candle(
    row: &mut CandleRow,
    [open, high, low, close, volume]: [Option<Decimal>; 5],
    begin_ns: Option<i64>,
    interval: Option<u64>,
) -> Scan<()> {
    if row.symbol.is_empty() {
        return Err(Malformed::Missing("symbol"));
    }
    row.open = open.ok_or(Malformed::Missing("open"))?;
    row.high = high.ok_or(Malformed::Missing("high"))?;
    row.low = low.ok_or(Malformed::Missing("low"))?;
    row.close = close.ok_or(Malformed::Missing("close"))?;
    row.volume = volume.ok_or(Malformed::Missing("volume"))?;
    let begin_ns = begin_ns.ok_or(Malformed::Missing("interval_begin"))?;
    if begin_ns % 1_000_000_000 != 0 {
        return Err(Malformed::BadTimestamp);
    }
    row.open_s = begin_ns / 1_000_000_000;
    row.interval_minutes = interval
        .ok_or(Malformed::Missing("interval"))
        .map(u32::try_from)?
        .ok()
        .filter(|minutes| (1..=MAX_INTERVAL_MINUTES).contains(minutes))
        .ok_or(Malformed::WrongType("interval"))?;
    Ok(())
}

/// Kraken's longest candle is 15 days.
pub(crate) const MAX_INTERVAL_MINUTES: u32 = 21_600;
