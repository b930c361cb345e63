//! What the cache promises of tickers and candles, over drops, duplicates and late rows.
//!
//! Long because one script of frames is replayed under every kind of drop, side by side.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failing test is wanted; floats are exact"
)]

mod plain;

use krakked_core::cache::{Cache, ClosedCandle};
use krakked_core::connection::{Connection, Event};
use plain::{SWITCHING, text_frame, ticker};
use proptest::prelude::*;

const BASE: i64 = 1_790_359_200; // 2026-09-25T18:00:00Z
const CAP: usize = 1 << 20;

/// One candle state: minute after BASE, trades, close.
type State = (u32, u64, u64);

fn row((minute, trades, close): State) -> String {
    format!(
        r#"{{"symbol":"BTC/USD","open":1,"high":9,"low":1,"close":{close},"trades":{trades},"volume":{trades}.5,"vwap":2,"interval_begin":"2026-09-25T18:{minute:02}:00.000000000Z","interval":1,"timestamp":"2026-09-25T18:59:00.000000Z"}}"#
    )
}

fn ohlc(kind: &str, event: u64, states: &[State]) -> String {
    let rows: Vec<String> = states.iter().map(|&state| row(state)).collect();
    format!(
        r#"{{"channel":"ohlc","type":"{kind}","timestamp":"2026-09-25T19:00:00.{event:09}Z","data":[{}]}}"#,
        rows.join(",")
    )
}

struct Feed {
    cache: Cache,
    connection: Connection,
    event: u64,
    now_ns: i64,
}

impl Feed {
    fn new() -> Self {
        let mut cache = Cache::new();
        let connection = Connection::new(&mut cache, CAP);
        let mut feed = Self {
            cache,
            connection,
            event: 0,
            now_ns: 0,
        };
        feed.bytes(SWITCHING);
        feed
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.connection
            .receive(&mut self.cache, bytes, self.now_ns, &mut Vec::new());
    }

    fn text(&mut self, text: &str) {
        self.now_ns += 1;
        self.bytes(&text_frame(text));
    }

    fn update(&mut self, state: State) {
        self.event += 1;
        self.text(&ohlc("update", self.event, &[state]));
    }

    fn snapshot(&mut self, states: &[State]) {
        self.event += 1;
        self.text(&ohlc("snapshot", self.event, states));
    }

    fn reconnect(&mut self) {
        self.connection.end(&mut self.cache);
        self.connection = Connection::new(&mut self.cache, CAP);
        self.bytes(SWITCHING);
    }

    /// Newest candle as (minute, trades, close, closed).
    fn newest(&self) -> (i64, u64, f64, bool) {
        let candle = self.cache.candle("BTC/USD", 1).unwrap();
        (
            (candle.open_s - BASE) / 60,
            candle.trades,
            candle.close.to_f64(),
            candle.closed,
        )
    }

    fn closed(&mut self) -> Vec<(i64, u64)> {
        let short = |it: ClosedCandle| ((it.candle.open_s - BASE) / 60, it.candle.trades);
        self.cache.take_closed().into_iter().map(short).collect()
    }

    fn late(&self) -> u64 {
        self.connection.counts().1.late
    }

    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn close_due(&mut self, minute: i64, second: i64, now_ns: Option<i64>) -> usize {
        self.cache
            .close_due((BASE + minute * 60 + second) as f64, 5.0, now_ns)
    }
}

#[test]
fn a_newer_candle_closes_the_one_before() {
    let mut feed = Feed::new();
    feed.update((3, 1, 10));
    feed.update((3, 2, 11));
    assert!(feed.closed().is_empty());
    feed.update((4, 1, 12));
    assert_eq!(feed.closed(), [(3, 2)]);
    assert_eq!(feed.newest(), (4, 1, 12.0, false));
}

#[test]
fn late_and_duplicate_rows_move_nothing_back() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    for (state, late) in [((3, 4, 99), 1), ((2, 9, 99), 2)] {
        feed.update(state);
        assert_eq!((feed.newest(), feed.late()), ((3, 5, 10.0, false), late));
    }
    let same = ohlc("update", 1, &[(3, 5, 77)]);
    feed.text(&same);
    assert_eq!((feed.newest(), feed.late()), ((3, 5, 10.0, false), 3));
    feed.update((3, 5, 11));
    assert_eq!(feed.newest(), (3, 5, 11.0, false));
    assert!(feed.closed().is_empty());
}

#[test]
fn the_clock_closes_once_and_later_trades_do_not_reopen() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    assert_eq!(feed.close_due(4, 4, None), 0);
    assert_eq!(feed.close_due(4, 5, None), 1);
    assert_eq!(feed.close_due(4, 6, None), 0);
    assert_eq!(
        (feed.closed(), feed.newest()),
        (vec![(3, 5)], (3, 5, 10.0, true))
    );
    feed.update((3, 6, 11));
    assert_eq!((feed.newest(), feed.late()), ((3, 5, 10.0, true), 1));
    feed.update((5, 1, 12));
    assert!(feed.closed().is_empty());
    assert_eq!(feed.newest(), (5, 1, 12.0, false));
}

#[test]
fn a_silent_connection_closes_nothing() {
    let mut feed = Feed::new();
    feed.now_ns = 100 * 1_000_000_000;
    feed.update((3, 5, 10));
    // Ten seconds over end and grace, but nothing was heard for eleven.
    let now_ns = feed.now_ns + 11_000_000_000;
    assert_eq!(feed.close_due(4, 15, Some(now_ns)), 0);
    feed.now_ns = now_ns;
    feed.text(r#"{"channel":"heartbeat"}"#);
    assert_eq!(feed.close_due(4, 15, Some(feed.now_ns)), 1);
}

#[test]
fn snapshots_close_what_was_missed_and_nothing_twice() {
    let mut feed = Feed::new();
    feed.snapshot(&[(1, 4, 1), (2, 5, 2), (4, 6, 3)]);
    assert_eq!(feed.closed(), [(1, 4), (2, 5)]);
    feed.update((4, 7, 4));
    feed.reconnect();
    assert_eq!(feed.close_due(30, 0, None), 0, "unconfirmed");
    feed.snapshot(&[(1, 4, 1), (2, 5, 2), (4, 9, 5), (6, 3, 6), (7, 1, 7)]);
    assert_eq!(feed.closed(), [(4, 9), (6, 3)]);
    feed.reconnect();
    feed.snapshot(&[(4, 9, 5), (6, 3, 6), (7, 1, 7)]);
    assert!(feed.closed().is_empty());
    assert_eq!((feed.newest(), feed.late()), ((7, 1, 7.0, false), 0));
    assert_eq!(feed.close_due(8, 5, None), 1);
    assert_eq!(feed.closed(), [(7, 1)]);
}

#[test]
fn an_update_before_the_snapshot_loses_nothing() {
    let mut feed = Feed::new();
    feed.update((1, 4, 1));
    feed.reconnect();
    feed.update((5, 1, 9));
    assert!(feed.closed().is_empty(), "minute 1 may lack trades");
    feed.snapshot(&[(1, 6, 2), (2, 2, 3), (5, 1, 9)]);
    assert_eq!(feed.closed(), [(1, 6), (2, 2)]);
}

#[test]
fn what_nobody_confirms_is_never_given_out() {
    let mut feed = Feed::new();
    feed.update((1, 4, 1));
    feed.reconnect();
    feed.snapshot(&[(20, 1, 1), (21, 1, 1)]);
    assert_eq!(feed.closed(), [(20, 1)]);
}

#[test]
fn forgetting_keeps_what_was_given_out() {
    let mut feed = Feed::new();
    feed.snapshot(&[(1, 1, 1), (2, 1, 1)]);
    feed.text(&ticker("BTC/USD", 1));
    assert_eq!(feed.closed(), [(1, 1)]);
    feed.cache.forget("BTC/USD");
    assert!(feed.cache.candle("BTC/USD", 1).is_none() && feed.cache.ticker("BTC/USD").is_none());
    feed.snapshot(&[(1, 1, 1), (2, 3, 1), (3, 1, 1)]);
    assert_eq!(feed.closed(), [(2, 3)]);
    feed.cache.clear_candles("BTC/USD", 1);
    assert!(feed.cache.candle("BTC/USD", 1).is_none());
}

#[test]
fn tickers_of_the_past_are_late_but_a_snapshot_always_counts() {
    let mut feed = Feed::new();
    let at =
        |second: u32, bid: u64| ticker("BTC/USD", bid).replace("48:26", &format!("48:{second}"));
    feed.text(&at(26, 1));
    feed.text(&at(25, 2));
    assert_eq!(
        (
            feed.cache.ticker("BTC/USD").unwrap().values[0]
                .unwrap()
                .to_f64(),
            feed.late()
        ),
        (1.5, 1)
    );
    feed.text(&at(26, 3));
    feed.text(&at(20, 4).replace("update", "snapshot"));
    assert_eq!(
        feed.cache.ticker("BTC/USD").unwrap().values[0]
            .unwrap()
            .to_f64(),
        4.5
    );
    let kinds: Vec<_> = feed.connection.take_events().into_iter().collect();
    assert_eq!(kinds.len(), 2, "first data, and the snapshot: {kinds:?}");
    assert!(
        kinds
            .iter()
            .all(|kind| matches!(kind, Event::TickerSnapshot(it) if &**it == "BTC/USD"))
    );
}

#[test]
fn watchers_see_each_change_once() {
    let mut feed = Feed::new();
    let (early, names) = (feed.cache.add_watcher(), |all: &[std::sync::Arc<str>]| {
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    for (symbol, bid) in [("A", 1), ("B", 1), ("A", 2), ("C", 1), ("A", 3)] {
        feed.text(&ticker(symbol, bid));
    }
    feed.update((1, 1, 1));
    let late = feed.cache.add_watcher();
    let (tickers, candles) = feed.cache.take_changed(early).unwrap();
    assert_eq!(names(&tickers), ["B", "C", "A"]);
    assert_eq!(
        (candles.len(), &*candles[0].0, candles[0].1),
        (1, "BTC/USD", 1)
    );
    assert_eq!(feed.cache.take_changed(early), Some((vec![], vec![])));
    assert_eq!(feed.cache.take_changed(late), Some((vec![], vec![])));
    feed.close_due(30, 0, None);
    assert_eq!(feed.cache.take_changed(late).unwrap().1.len(), 1);
    feed.cache.remove_watcher(late);
    assert_eq!(feed.cache.take_changed(late), None);
}

#[test]
fn memory_is_bounded_by_symbols_series_and_events() {
    let mut feed = Feed::new();
    for symbol in 0..20_000 {
        feed.text(&ticker(&format!("S{symbol}"), 1));
    }
    feed.text(&ticker(&"S".repeat(65), 1));
    assert_eq!(feed.cache.count_updated_since(0), 16_384);
    assert_eq!(feed.connection.counts().1.ignored, 20_000 - 16_384 + 1);
    for minutes in 1..100 {
        feed.text(
            &ohlc("update", 1, &[(1, 1, 1)])
                .replace("\"interval\":1", &format!("\"interval\":{minutes}"))
                .replace("BTC/USD", "S1"),
        );
    }
    assert_eq!(feed.connection.counts().1.candles, 16);
    for _ in 0..100_000 {
        feed.text("garbage");
        feed.text(r#"{"method":"pong"}"#);
    }
    assert!(feed.connection.take_events().len() <= 65_536);
    assert_eq!(feed.connection.counts().1.malformed, 100_000);
    assert_eq!(feed.connection.malformed_in_a_row(), 0);
}

#[test]
fn a_spoilt_message_changes_nothing() {
    let mut feed = Feed::new();
    feed.text(&ticker("A", 1));
    let good = ticker("A", 2);
    for cut in 1..good.len() {
        feed.text(&good[..cut]);
    }
    assert_eq!(
        feed.cache.ticker("A").unwrap().values[0].unwrap().to_f64(),
        1.5
    );
    let (frames, counts) = feed.connection.counts();
    assert_eq!(
        (counts.malformed, frames.tapped),
        (good.len() as u64 - 1, good.len() as u64)
    );
    assert_eq!(feed.connection.malformed_in_a_row(), good.len() as u64 - 1);
}

/// One step of a scripted market: a trade in the present minute, the next minute, a repeated or old
/// message, a lost connection with trades nobody hears, the clock.
#[derive(Clone, Debug)]
enum Step {
    Trade,
    NextMinute(u32),
    Repeat(usize),
    Drop(Vec<bool>),
    Clock,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Trade),
        3 => (1_u32..3).prop_map(Step::NextMinute),
        2 => (0_usize..6).prop_map(Step::Repeat),
        1 => prop::collection::vec(any::<bool>(), 0..6).prop_map(Step::Drop),
        2 => Just(Step::Clock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_closed_candle_exactly_once_and_in_order(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut feed = Feed::new();
        // What the exchange knows: trades of each minute that had any, and the newest minute.
        let mut truth: Vec<(i64, u64)> = vec![];
        let (mut minute, mut sent, mut given) = (0_u32, Vec::<String>::new(), Vec::new());
        let trade = |truth: &mut Vec<(i64, u64)>, minute: u32| {
            match truth.last_mut() {
                Some((last, trades)) if *last == i64::from(minute) => *trades += 1,
                _ => truth.push((i64::from(minute), 1)),
            }
        };
        let state = |truth: &[(i64, u64)], at: usize| {
            (u32::try_from(truth[at].0).unwrap(), truth[at].1, truth[at].1)
        };
        for step in steps {
            match step {
                Step::Trade => {
                    trade(&mut truth, minute);
                    feed.update(state(&truth, truth.len() - 1));
                    sent.push(ohlc("update", feed.event, &[state(&truth, truth.len() - 1)]));
                }
                Step::NextMinute(by) => minute = (minute + by).min(58),
                Step::Repeat(back) => {
                    if let Some(at) = sent.len().checked_sub(back + 1) {
                        let before = feed.newest();
                        feed.text(&sent[at].clone());
                        prop_assert_eq!(before, feed.newest());
                    }
                }
                Step::Drop(unheard) => {
                    feed.connection.end(&mut feed.cache);
                    for next in unheard {
                        minute = (minute + u32::from(next)).min(58);
                        trade(&mut truth, minute);
                    }
                    feed.close_due(i64::from(minute), 30, None);
                    feed.reconnect();
                    // Kraken sends about ten; more than can be missed here.
                    let from = truth.len().saturating_sub(10);
                    let rows: Vec<State> = (from..truth.len()).map(|at| state(&truth, at)).collect();
                    if !rows.is_empty() {
                        feed.snapshot(&rows);
                    }
                }
                Step::Clock => {
                    feed.close_due(i64::from(minute), 30, None);
                }
            }
            given.extend(feed.closed());
            if let (Some(candle), Some(last)) = (feed.cache.candle("BTC/USD", 1), truth.last()) {
                prop_assert_eq!(((candle.open_s - BASE) / 60, candle.trades), *last);
            }
        }
        feed.close_due(70, 0, None);
        given.extend(feed.closed());
        prop_assert_eq!(given, truth);
    }
}
