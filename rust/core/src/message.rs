//! Kraken WebSocket v2 messages: one text in, one typed message out. Rows, and fields that nobody
//! needs, are refused one by one.
//!
//! Keys may come in any order; unknown channels and fields are passed over. Rows of ticker and ohlc
//! go into a reused [`Rows`], so that a message in the steady state allocates nothing.
//! Source of the shapes: Kraken WebSocket v2 pages "Ticker", "Candles (OHLC)", "Status",
//! "Heartbeat", "Ping", "Instrument", and recorded frames where they differ.

use std::borrow::Cow;

use crate::decimal::Decimal;
use crate::fast_path;
use crate::json::{Scan, Scanner};
use crate::learned_layout;
use crate::malformed::Malformed;
use crate::rows::{RowChannel, Rows, read_rows};

/// How many warnings of an acknowledgement are kept.
const MAX_WARNINGS: usize = 16;

/// A candle may begin this much after its own event time (none does; a clock at Kraken may step)
/// before it is taken for garbage, which would make every true candle look late.
const FUTURE_TOLERANCE_NS: i64 = 86_400_000_000_000;

/// One message. Rows of `Ticker` and `Ohlc` are in the [`Rows`] given to [`decode`].
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Ticker rows.
    Ticker {
        /// Whether it is the snapshot after a subscription.
        snapshot: bool,
    },
    /// Candle rows, ascending in a snapshot.
    Ohlc {
        /// Whether it is the snapshot after a subscription.
        snapshot: bool,
        /// Kraken's time of the event, unix nanoseconds.
        event_ns: Option<i64>,
    },
    /// The sign of life of a quiet connection.
    Heartbeat,
    /// State of the exchange, on connect and on change.
    Status {
        /// `online`, `maintenance`, `cancel_only`, `post_only`, or what comes next.
        system: Cow<'a, str>,
        /// Kraken's number of this connection; may exceed `i64`.
        connection_id: Option<u64>,
        /// The element as sent.
        raw: &'a str,
    },
    /// Answer to our ping.
    Pong {
        /// Ours, echoed.
        req_id: Option<u64>,
        /// Gateway's time at which the ping came, unix nanoseconds.
        time_in_ns: Option<i64>,
        /// Gateway's time at which this answer left.
        time_out_ns: Option<i64>,
    },
    /// A subscription was acknowledged: one message per symbol.
    Subscribed {
        /// What was acknowledged.
        target: SubjectRef<'a>,
        /// Notes of the exchange, such as deprecations.
        warnings: Vec<Cow<'a, str>>,
    },
    /// An unsubscription was acknowledged.
    Unsubscribed(SubjectRef<'a>),
    /// A request was refused, in any of the three shapes seen.
    Refused {
        /// Request, such as `subscribe`; empty when the answer does not say.
        method: Cow<'a, str>,
        /// What was refused, as far as the answer says.
        target: SubjectRef<'a>,
        /// Kraken's text.
        error: Cow<'a, str>,
    },
    /// Reference data of assets and pairs.
    Instrument {
        /// Whether it is the snapshot after a subscription.
        snapshot: bool,
        /// The `data` object as sent.
        raw: &'a str,
    },
    /// A channel or method that is of no use here.
    Other(Cow<'a, str>),
}

/// What an answer is about, as far as it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectRef<'a> {
    /// Channel.
    pub channel: Option<Cow<'a, str>>,
    /// Symbol.
    pub symbol: Option<Cow<'a, str>>,
    /// Candle length in minutes.
    pub interval: Option<u64>,
    /// Ours, echoed.
    pub req_id: Option<u64>,
    /// Gateway's time at which the answer left, unix nanoseconds.
    pub time_out_ns: Option<i64>,
}

impl Message<'_> {
    /// The gateway's time at which an answer left; None for what is no answer.
    #[must_use]
    pub fn answered_ns(&self) -> Option<i64> {
        match self {
            Self::Pong { time_out_ns, .. } => *time_out_ns,
            Self::Subscribed { target, .. }
            | Self::Unsubscribed(target)
            | Self::Refused { target, .. } => target.time_out_ns,
            _ => None,
        }
    }
}

/// Decodes one message. On an error `rows` holds nothing of use.
pub fn decode<'a>(text: &'a str, rows: &mut Rows) -> Result<Message<'a>, Malformed> {
    rows.clear();
    let lead = rows.layouts.lead;
    if !lead {
        if let Some(message) = fast_path::read(text, rows) {
            return checked(message, rows);
        }
        rows.clear();
    }
    if let Some(message) = learned_layout::read(text, rows) {
        rows.layouts.lead = true;
        return checked(message, rows);
    }
    rows.clear();
    if lead {
        rows.layouts.lead = false;
        if let Some(message) = fast_path::read(text, rows) {
            return checked(message, rows);
        }
        rows.clear();
    }
    let message = decode_any(text, rows)?;
    learned_layout::learn(text, &message, rows);
    Ok(message)
}

/// Decodes a message of whatever layout.
fn decode_any<'a>(text: &'a str, rows: &mut Rows) -> Result<Message<'a>, Malformed> {
    let mut scanner = Scanner::new(text);
    if !scanner.open(b'{') {
        return Err(scanner.wrong_type("message"));
    }
    let mut envelope = Head::default();
    let mut first = true;
    while scanner.next_item(first, b'}')? {
        first = false;
        envelope.field(&mut scanner, rows)?;
    }
    scanner.end()?;
    checked(envelope.message(rows)?, rows)
}

/// What must hold between a message and its rows.
#[inline]
fn checked<'a>(message: Message<'a>, rows: &mut Rows) -> Scan<Message<'a>> {
    if let Message::Ohlc {
        event_ns: Some(event_ns),
        ..
    } = message
    {
        let newest_s = event_ns.saturating_add(FUTURE_TOLERANCE_NS) / 1_000_000_000;
        if rows.candles.iter().any(|row| row.open_s > newest_s) {
            rows.candles.retain(|row| row.open_s <= newest_s);
            rows.refused.get_or_insert(Malformed::BadTimestamp);
            if rows.candles.is_empty() {
                return Err(Malformed::BadTimestamp);
            }
        }
    }
    Ok(message)
}

/// The top level of a message, field by field.
#[derive(Default)]
struct Head<'a> {
    channel: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    event_ns: Option<i64>,
    data: Option<&'a str>,
    rows_of: Option<RowChannel>,
    method: Option<Cow<'a, str>>,
    success: Option<bool>,
    error: Option<Cow<'a, str>>,
    symbol: Option<Cow<'a, str>>,
    req_id: Option<u64>,
    time_in_ns: Option<i64>,
    time_out_ns: Option<i64>,
    result: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn field(&mut self, scanner: &mut Scanner<'a>, rows: &mut Rows) -> Scan<()> {
        match &*scanner.key()? {
            "channel" => self.channel = scanner.string_or_null("channel")?,
            "type" => self.kind = odd_is_none(scanner, |it| it.string_or_null("type"))?,
            "data" => {
                self.rows_of = RowChannel::of(self.channel.as_deref());
                self.data = Some(match self.rows_of {
                    Some(channel) => {
                        scanner.capture(|scanner| read_rows(scanner, channel, rows))?
                    }
                    None => scanner.skip_value()?,
                });
            }
            "timestamp" => self.event_ns = odd_is_none(scanner, |it| it.time_or_null("timestamp"))?,
            "method" => self.method = scanner.string_or_null("method")?,
            "success" => self.success = odd_is_none(scanner, |it| it.bool_or_null("success"))?,
            "error" | "Error" => self.error = scanner.string_or_null("error")?,
            "symbol" => self.symbol = odd_is_none(scanner, |it| it.string_or_null("symbol"))?,
            "time_in" => self.time_in_ns = odd_is_none(scanner, |it| it.time_or_null("time_in"))?,
            "time_out" => {
                self.time_out_ns = odd_is_none(scanner, |it| it.time_or_null("time_out"))?;
            }
            "req_id" => self.req_id = whole_number(scanner)?,
            "result" => self.result = Some(scanner.skip_value()?),
            _ => {
                scanner.skip_value()?;
            }
        }
        Ok(())
    }

    fn message(mut self, rows: &mut Rows) -> Scan<Message<'a>> {
        if self.method.is_some() || (self.error.is_some() && self.success != Some(true)) {
            return self.answer();
        }
        let snapshot = self.kind.as_deref() == Some("snapshot");
        let channel = self.channel.take().ok_or(Malformed::Missing("channel"))?;
        if &*channel == "heartbeat" {
            return Ok(Message::Heartbeat);
        }
        if let Some(row_channel) = RowChannel::of(Some(&channel)) {
            let data = self.data.ok_or(Malformed::Missing("data"))?;
            if self.rows_of != Some(row_channel) {
                read_rows(&mut Scanner::new(data), row_channel, rows)?;
            }
        }
        match &*channel {
            "ticker" => Ok(Message::Ticker { snapshot }),
            "ohlc" => Ok(Message::Ohlc {
                snapshot,
                event_ns: self.event_ns,
            }),
            "status" => read_status(self.data.ok_or(Malformed::Missing("data"))?),
            "instrument" => {
                let raw = self.data.ok_or(Malformed::Missing("data"))?;
                Ok(Message::Instrument { snapshot, raw })
            }
            _ => Ok(Message::Other(channel)),
        }
    }

    /// The answer to a request. Failures carry symbol and channel at the top level, or not at all.
    fn answer(self) -> Scan<Message<'a>> {
        let method = self.method.unwrap_or_default();
        let refused = self.success == Some(false) || self.error.is_some();
        let mut target = SubjectRef {
            channel: self.channel,
            symbol: self.symbol,
            interval: None,
            req_id: self.req_id,
            time_out_ns: self.time_out_ns,
        };
        let mut warnings = Vec::new();
        if let Some(result) = self.result {
            read_result(result, &mut target, &mut warnings)?;
        }
        Ok(match &*method {
            _ if refused => Message::Refused {
                method,
                target,
                error: self
                    .error
                    .unwrap_or(Cow::Borrowed("refused without a reason")),
            },
            "pong" => Message::Pong {
                req_id: target.req_id,
                time_in_ns: self.time_in_ns,
                time_out_ns: self.time_out_ns,
            },
            "subscribe" if target.channel.is_some() => Message::Subscribed { target, warnings },
            "subscribe" => return Err(Malformed::Missing("result")),
            "unsubscribe" => Message::Unsubscribed(target),
            _ => Message::Other(method),
        })
    }
}

fn read_status(data: &str) -> Scan<Message<'_>> {
    let mut scanner = Scanner::new(data);
    let mut newest = None;
    if !scanner.open(b'[') {
        return Err(scanner.wrong_type("data"));
    }
    let mut first = true;
    while scanner.next_item(first, b']')? {
        first = false;
        newest = Some(scanner.skip_value()?);
    }
    let raw = newest.ok_or(Malformed::Missing("data"))?;
    let (mut system, mut connection_id) = (None, None);
    each_field(raw, "data", |key, scanner| {
        match key {
            "system" => system = scanner.string_or_null("system")?,
            "connection_id" => connection_id = whole_number(scanner)?,
            _ => drop(scanner.skip_value()?),
        }
        Ok(())
    })?;
    let system = system.ok_or(Malformed::Missing("system"))?;
    Ok(Message::Status {
        system,
        connection_id,
        raw,
    })
}

fn read_result<'a>(
    result: &'a str,
    target: &mut SubjectRef<'a>,
    warnings: &mut Vec<Cow<'a, str>>,
) -> Scan<()> {
    if result == "null" {
        return Ok(());
    }
    each_field(result, "result", |key, scanner| {
        match key {
            "channel" => target.channel = scanner.string_or_null("channel")?,
            "symbol" => target.symbol = odd_is_none(scanner, |it| it.string_or_null("symbol"))?,
            "interval" => target.interval = whole_number(scanner)?,
            "warnings" if scanner.open(b'[') => {
                let mut first = true;
                while scanner.next_item(first, b']')? {
                    first = false;
                    if scanner.peek() == Some(b'"') {
                        let warning = scanner.string()?;
                        if warnings.len() < MAX_WARNINGS {
                            warnings.push(warning);
                        }
                    } else {
                        scanner.skip_value()?;
                    }
                }
            }
            _ => drop(scanner.skip_value()?),
        }
        Ok(())
    })
}

fn each_field<'a>(
    object: &'a str,
    name: &'static str,
    mut read: impl FnMut(&str, &mut Scanner<'a>) -> Scan<()>,
) -> Scan<()> {
    let mut scanner = Scanner::new(object);
    if !scanner.open(b'{') {
        return Err(scanner.wrong_type(name));
    }
    let mut first = true;
    while scanner.next_item(first, b'}')? {
        first = false;
        let key = scanner.key()?;
        read(&key, &mut scanner)?;
    }
    Ok(())
}

/// A value that the message can do without: None when it is not what it should be.
fn odd_is_none<'a, T>(
    scanner: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Scan<Option<T>>,
) -> Scan<Option<T>> {
    Ok(scanner.tolerant(read)?.unwrap_or_default())
}

/// A whole number, or None for anything else: of no consequence where it is used.
fn whole_number(scanner: &mut Scanner<'_>) -> Scan<Option<u64>> {
    let text = scanner.skip_value()?;
    Ok(Decimal::parse(text).ok().and_then(Decimal::to_u64))
}
