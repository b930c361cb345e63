//! One connection's way from received bytes to the cache, and the events that need a reaction.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cache::Cache;
use crate::frame::{FrameCounts, FrameSplitter};
use crate::malformed::Malformed;
use crate::message::{Message, SubjectRef, decode};
use crate::rows::Rows;
use crate::series::{Origin, RowOutcome};
use crate::ticker::TickerLate;

/// How many events wait at most. A full resubscription of 1,500 symbols makes about 6,000.
pub const MAX_EVENTS: usize = 65_536;

/// How many bytes of raw JSON wait in events at most.
const MAX_EVENT_BYTES: usize = 32 << 20;

/// How many malformed samples wait at most; the counter goes on.
const MAX_MALFORMED_EVENTS: usize = 32;

/// How many names of ignored channels are told, once each.
const MAX_OTHER_NAMES: usize = 32;

/// Longest sample of a malformed message, bytes.
const SAMPLE_BYTES: usize = 200;

/// What the exchange said that needs a reaction.
#[derive(Clone, Debug, PartialEq)]
pub enum WireEvent {
    /// State of the exchange: system, Kraken's connection number, the element as sent.
    Status(String, Option<u64>, String),
    /// Answer to our ping, with its number.
    Pong(Option<u64>),
    /// A subscription is acknowledged, with warnings.
    Subscribed(Subject, Vec<String>),
    /// An unsubscription is acknowledged.
    Unsubscribed(Subject),
    /// A request was refused: method, subject, Kraken's text.
    Refused(String, Subject, String),
    /// A snapshot of a symbol's ticker.
    TickerSnapshot(Arc<str>),
    /// A snapshot of candles: symbol, minutes, opening times of its oldest and newest row, and the
    /// gateway's time of it (unix nanoseconds).
    OhlcSnapshot(Arc<str>, u32, i64, i64, Option<i64>),
    /// Reference data: whether a snapshot, the `data` object as sent.
    Instrument(bool, String),
    /// A message was refused: reason, a printable sample.
    Malformed(Malformed, String),
    /// A channel or method of no use here, told once.
    Other(String),
}

/// What an answer is about, as far as it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Channel.
    pub channel: Option<String>,
    /// Symbol.
    pub symbol: Option<String>,
    /// Candle length in minutes.
    pub interval: Option<u64>,
    /// Ours, echoed.
    pub req_id: Option<u64>,
}

impl From<SubjectRef<'_>> for Subject {
    fn from(target: SubjectRef<'_>) -> Self {
        Self {
            channel: target.channel.map(String::from),
            symbol: target.symbol.map(String::from),
            interval: target.interval,
            req_id: target.req_id,
        }
    }
}

/// What a connection has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages decoded, from the tap or from the WebSocket library, malformed ones included.
    pub messages: u64,
    /// Ticker rows applied.
    pub tickers: u64,
    /// Candle rows applied.
    pub candles: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Messages refused, wholly or in part.
    pub malformed: u64,
    /// Rows refused for a time that cannot be: off the grid, or far ahead of Kraken's clock.
    pub refused: u64,
    /// Messages of channels of no use here, and rows for which there was no room.
    pub ignored: u64,
    /// Rows older than what was known.
    pub late: u64,
    /// Events that were dropped because nobody took them.
    pub events_dropped: u64,
}

/// One connection. Times are elapsed nanoseconds.
#[derive(Debug)]
pub struct FrameTap {
    tap: FrameSplitter,
    rows: Rows,
    ledger: Ledger,
    ended: bool,
}

/// What is remembered of the messages; apart from tap and rows, so that all can be borrowed at once.
#[derive(Debug)]
struct Ledger {
    id: u64,
    events: VecDeque<WireEvent>,
    event_bytes: usize,
    malformed_events: usize,
    other_names: Vec<String>,
    counts: Counts,
    last_frame_ns: i64,
    last_data_ns: i64,
    malformed_in_a_row: u64,
    ticker_late: TickerLate,
}

impl FrameTap {
    /// A fresh connection that feeds `cache`.
    #[must_use]
    pub fn new(cache: &mut Cache, max_message_bytes: usize) -> Self {
        Self {
            tap: FrameSplitter::new(max_message_bytes),
            rows: Rows::default(),
            ledger: Ledger {
                id: cache.connect(),
                events: VecDeque::new(),
                event_bytes: 0,
                malformed_events: 0,
                other_names: Vec::new(),
                counts: Counts::default(),
                last_frame_ns: 0,
                last_data_ns: 0,
                malformed_in_a_row: 0,
                ticker_late: TickerLate::default(),
            },
            ended: false,
        }
    }

    /// Feeds one received chunk; what the WebSocket library must see is appended to `forward`.
    pub fn receive(&mut self, cache: &mut Cache, data: &[u8], now_ns: i64, forward: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        let Self {
            tap, rows, ledger, ..
        } = self;
        tap.receive(data, forward, &mut |text| {
            ledger.apply(cache, rows, text, now_ns);
        });
    }

    /// Applies one message that the WebSocket library delivered.
    pub fn apply_message(&mut self, cache: &mut Cache, message: &[u8], now_ns: i64) {
        if self.ended {
            return;
        }
        if let Ok(text) = std::str::from_utf8(message) {
            self.ledger.apply(cache, &mut self.rows, text, now_ns);
        } else {
            self.ledger.counts.messages += 1;
            self.ledger.last_frame_ns = now_ns;
            self.ledger.malformed_in_a_row += 1;
            self.ledger.refuse(Malformed::NotUtf8, message);
        }
    }

    /// From here on pings are taken out for [`FrameTap::take_pings`], and are the caller's to answer.
    pub fn answer_pings(&mut self) {
        self.tap.answer_pings();
    }

    /// Payloads of the pings to be answered, oldest first.
    pub fn take_pings(&mut self) -> Vec<Vec<u8>> {
        self.tap.take_pings()
    }

    /// The connection is over: candles that rest on its word are unconfirmed from here on, and what
    /// a reader still brings is worth nothing.
    pub fn end(&mut self, cache: &mut Cache) {
        self.ended = true;
        cache.disconnect(self.ledger.id);
    }

    /// The number under which the cache knows this connection.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.ledger.id
    }

    /// Whether a frame has begun and is not complete: its bytes are a sign of life.
    #[must_use]
    pub fn mid_frame(&self) -> bool {
        self.tap.mid_frame()
    }

    /// Takes the waiting events, oldest first.
    pub fn take_events(&mut self) -> VecDeque<WireEvent> {
        self.ledger.event_bytes = 0;
        self.ledger.malformed_events = 0;
        std::mem::take(&mut self.ledger.events)
    }

    /// Whether events wait.
    #[must_use]
    pub fn events_pending(&self) -> bool {
        !self.ledger.events.is_empty()
    }

    /// Elapsed time of the newest message of any kind; 0 before the first.
    #[must_use]
    pub fn last_frame_ns(&self) -> i64 {
        self.ledger.last_frame_ns
    }

    /// Elapsed time of the newest message that is not heartbeat, pong, status or garbage.
    #[must_use]
    pub fn last_data_ns(&self) -> i64 {
        self.ledger.last_data_ns
    }

    /// Malformed messages since the last good one.
    #[must_use]
    pub fn malformed_in_a_row(&self) -> u64 {
        self.ledger.malformed_in_a_row
    }

    /// What was counted by the tap and behind it.
    #[must_use]
    pub fn counts(&self) -> (FrameCounts, Counts) {
        (self.tap.counts(), self.ledger.counts)
    }
}

impl Ledger {
    fn apply(&mut self, cache: &mut Cache, rows: &mut Rows, text: &str, now_ns: i64) {
        self.counts.messages += 1;
        self.last_frame_ns = now_ns;
        match decode(text, rows) {
            Ok(message) => {
                self.malformed_in_a_row = 0;
                if !matches!(
                    message,
                    Message::Heartbeat | Message::Pong { .. } | Message::Status { .. }
                ) {
                    self.last_data_ns = now_ns;
                }
                self.react(cache, message, rows, now_ns);
                if let Some(reason) = rows.refused {
                    self.refuse(reason, text.as_bytes());
                }
            }
            Err(reason) => {
                self.malformed_in_a_row += 1;
                self.refuse(reason, text.as_bytes());
            }
        }
    }

    #[inline]
    fn react(&mut self, cache: &mut Cache, message: Message<'_>, rows: &Rows, now_ns: i64) {
        match message {
            Message::Ticker { snapshot } => self.apply_tickers(cache, rows, snapshot, now_ns),
            Message::Ohlc { snapshot, event_ns } => {
                let origin = Origin {
                    source: self.id,
                    snapshot,
                    event_ns,
                    now_ns,
                    late_ns: match event_ns {
                        Some(event_ns) if !snapshot => cache.age_ns(event_ns, now_ns),
                        _ => 0,
                    },
                };
                self.apply_candles(cache, rows, origin);
            }
            Message::Heartbeat => self.counts.heartbeats += 1,
            other => self.tell(cache, other, now_ns),
        }
    }

    fn apply_tickers(&mut self, cache: &mut Cache, rows: &Rows, snapshot: bool, now_ns: i64) {
        for (symbol, row) in rows.tickers() {
            let Some(slot) = cache.slot(symbol) else {
                self.counts.ignored += 1;
                continue;
            };
            match cache.apply_ticker(slot, row, snapshot, &mut self.ticker_late, now_ns) {
                RowOutcome::Applied => self.counts.tickers += 1,
                RowOutcome::Refused => {
                    self.counts.refused += 1;
                    continue;
                }
                RowOutcome::Late | RowOutcome::Known => self.counts.late += 1,
            }
            if snapshot {
                self.push(WireEvent::TickerSnapshot(cache.name(slot)), 0);
            }
        }
    }

    fn apply_candles(&mut self, cache: &mut Cache, rows: &Rows, origin: Origin) {
        let mut span: Option<(u32, u32, i64, i64)> = None;
        if let Some(event_ns) = origin.event_ns
            && !origin.snapshot
            && !cache.progress(self.id, event_ns, origin.now_ns)
        {
            self.counts.refused += rows.candles().count() as u64;
            return;
        }
        if let Some(gateway_ns) = origin.event_ns
            && origin.snapshot
        {
            // The gateway made it when asked, so it tells at least as much as a pong.
            cache.pong(self.id, gateway_ns);
        }
        for (symbol, row) in rows.candles() {
            let applied = cache
                .slot(symbol)
                .and_then(|slot| Some((slot, cache.apply_candle(slot, row, origin)?)));
            let Some((slot, outcome)) = applied else {
                self.counts.ignored += 1;
                continue;
            };
            match outcome {
                RowOutcome::Applied => self.counts.candles += 1,
                RowOutcome::Late => self.counts.late += 1,
                RowOutcome::Known => {}
                RowOutcome::Refused => {
                    self.counts.refused += 1;
                    continue;
                }
            }
            if !origin.snapshot {
                continue;
            }
            span = match span {
                Some((at, minutes, oldest, newest))
                    if at == slot && minutes == row.interval_minutes =>
                {
                    Some((at, minutes, oldest.min(row.open_s), newest.max(row.open_s)))
                }
                other => {
                    self.tell_snapshot(cache, other, origin.event_ns);
                    Some((slot, row.interval_minutes, row.open_s, row.open_s))
                }
            };
        }
        self.tell_snapshot(cache, span, origin.event_ns);
    }

    fn tell_snapshot(
        &mut self,
        cache: &Cache,
        span: Option<(u32, u32, i64, i64)>,
        gateway_ns: Option<i64>,
    ) {
        if let Some((slot, minutes, oldest, newest)) = span {
            let name = cache.name(slot);
            self.push(
                WireEvent::OhlcSnapshot(name, minutes, oldest, newest, gateway_ns),
                0,
            );
        }
    }

    #[cold]
    fn tell(&mut self, cache: &mut Cache, message: Message<'_>, now_ns: i64) {
        if let Some(told_ns) = message.answered_ns() {
            cache.learn_time(told_ns, now_ns);
        }
        match message {
            Message::Status {
                system,
                connection_id,
                raw,
            } => {
                self.push(
                    WireEvent::Status(system.into(), connection_id, raw.to_owned()),
                    raw.len(),
                );
            }
            Message::Pong {
                req_id, time_in_ns, ..
            } => {
                if let Some(told_ns) = time_in_ns {
                    cache.pong(self.id, told_ns);
                }
                self.push(WireEvent::Pong(req_id), 0);
            }
            Message::Subscribed { target, warnings } => {
                let warnings = warnings.into_iter().map(String::from).collect();
                self.push(WireEvent::Subscribed(target.into(), warnings), 0);
            }
            Message::Unsubscribed(target) => {
                self.push(WireEvent::Unsubscribed(target.into()), 0);
            }
            Message::Refused {
                method,
                target,
                error,
            } => {
                self.push(
                    WireEvent::Refused(method.into(), target.into(), error.into()),
                    0,
                );
            }
            Message::Instrument { snapshot, raw } => {
                self.push(WireEvent::Instrument(snapshot, raw.to_owned()), raw.len());
            }
            Message::Other(name) => {
                self.counts.ignored += 1;
                if self.other_names.len() < MAX_OTHER_NAMES
                    && !self.other_names.iter().any(|known| *known == name)
                {
                    self.other_names.push(name.clone().into());
                    self.push(WireEvent::Other(name.into()), 0);
                }
            }
            Message::Ticker { .. } | Message::Ohlc { .. } | Message::Heartbeat => {}
        }
    }

    #[cold]
    fn refuse(&mut self, reason: Malformed, message: &[u8]) {
        self.counts.malformed += 1;
        if self.malformed_events < MAX_MALFORMED_EVENTS {
            self.malformed_events += 1;
            let sample = &message[..message.len().min(SAMPLE_BYTES)];
            let sample = sample.iter().map(|&byte| match byte {
                b' '..=b'~' => char::from(byte),
                _ => '.',
            });
            self.push(WireEvent::Malformed(reason, sample.collect()), 0);
        }
    }

    fn push(&mut self, event: WireEvent, bytes: usize) {
        if self.events.len() >= MAX_EVENTS || self.event_bytes + bytes > MAX_EVENT_BYTES {
            self.counts.events_dropped += 1;
            return;
        }
        self.event_bytes += bytes;
        self.events.push_back(event);
    }
}
