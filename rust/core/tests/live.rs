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
use krakked_core::connection::{FrameTap, WireEvent};
use krakked_core::series::Evidence;
use plain::{SWITCHING, text_frame, ticker};
use proptest::prelude::*;

const BASE: i64 = 1_790_359_200; // 2026-09-25T18:00:00Z
const CAP: usize = 1 << 20;

/// One candle state: minute after BASE, trades, close.
type State = (u32, u64, u64);

fn row((minute, trades, close): State) -> String {
    format!(
        r#"{{"symbol":"BTC/USD","open":1,"high":9,"low":1,"close":{close},"trades":{trades},"volume":{trades}.5,"vwap":2,"interval_begin":"{}","interval":1,"timestamp":"2026-09-25T18:59:00.000000Z"}}"#,
        at(minute, 0, 0)
    )
}

/// Rows told `event` nanoseconds into the newest minute.
fn ohlc(kind: &str, event: u64, states: &[State]) -> String {
    let rows: Vec<String> = states.iter().map(|&state| row(state)).collect();
    let minute = states.iter().map(|state| state.0).max().unwrap();
    format!(
        r#"{{"channel":"ohlc","type":"{kind}","timestamp":"{}","data":[{}]}}"#,
        at(minute, 0, event),
        rows.join(",")
    )
}

/// An update told so many seconds into its minute.
fn told(state: State, second: u32) -> String {
    let (from, to) = (at(state.0, 0, 0), at(state.0, second, 0));
    let stamp = |at: &str| format!("\"timestamp\":\"{at}\",\"data\"");
    ohlc("update", 0, &[state]).replace(&stamp(&from), &stamp(&to))
}

fn at(minute: u32, second: u32, nanos: u64) -> String {
    format!(
        "2026-09-25T{:02}:{:02}:{second:02}.{nanos:09}Z",
        18 + minute / 60,
        minute % 60
    )
}

/// A ticker update of the pair at a time, after so many trades.
fn traded(minute: u32, second: u32, trades: u64) -> String {
    ticker("BTC/USD", 1)
        .replace("2026-09-25T17:48:26.844359Z", &at(minute, second, 0))
        .replace("\"trades\":135262", &format!("\"trades\":{trades}"))
}

fn pong(minute: u32, second: u32) -> String {
    let at = at(minute, second, 0);
    format!(r#"{{"method":"pong","req_id":1,"time_in":"{at}","time_out":"{at}"}}"#)
}

struct Feed {
    cache: Cache,
    connection: FrameTap,
    event: u64,
    now_ns: i64,
    kept: Vec<ClosedCandle>,
}

impl Feed {
    fn new() -> Self {
        let mut cache = Cache::new();
        let connection = FrameTap::new(&mut cache, CAP);
        let mut feed = Self {
            cache,
            connection,
            event: 0,
            now_ns: 0,
            kept: vec![],
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
        self.connection = FrameTap::new(&mut self.cache, CAP);
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
        let kept = std::mem::take(&mut self.kept).into_iter();
        kept.chain(self.cache.take_closed())
            .filter(|it| &*it.symbol == "BTC/USD")
            .map(short)
            .collect()
    }

    fn late(&self) -> u64 {
        self.connection.counts().1.late
    }

    /// What was given out, and why.
    fn given(&mut self) -> Vec<(i64, u64, Evidence)> {
        let short = |it: ClosedCandle| {
            (
                (it.candle.open_s - BASE) / 60,
                it.candle.trades,
                it.evidence,
            )
        };
        let closed = self.cache.take_closed().into_iter();
        closed
            .filter(|it| &*it.symbol == "BTC/USD")
            .map(short)
            .collect()
    }

    /// The maker tells of a trade of another pair at a time; gives how many candles that closes.
    fn watermark(&mut self, minute: u32, second: u32) -> usize {
        let before = self.cache.take_closed();
        let other = told((minute, 1, 1), second).replace("BTC/USD", "ETH/USD");
        self.text(&other);
        self.cache.close_due(self.now_ns, false);
        let mut closed = self.cache.take_closed();
        closed.retain(|it| &*it.symbol == "BTC/USD");
        let count = closed.len();
        self.kept = before.into_iter().chain(closed).collect();
        count
    }

    fn seconds_pass(&mut self, seconds: i64) {
        self.now_ns += seconds * 1_000_000_000;
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
    feed.update((3, 4, 99));
    assert_eq!((feed.newest(), feed.late()), ((3, 5, 10.0, false), 1));
    let same = ohlc("update", 1, &[(3, 5, 77)]);
    feed.text(&same);
    assert_eq!((feed.newest(), feed.late()), ((3, 5, 10.0, false), 2));
    feed.update((3, 5, 11));
    assert_eq!(feed.newest(), (3, 5, 11.0, false));
    assert!(feed.closed().is_empty());
}

#[test]
fn a_later_event_of_any_pair_closes_once_and_never_before_the_grace() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    assert_eq!(feed.watermark(3, 59), 0);
    assert_eq!(feed.watermark(4, 0), 0);
    assert_eq!(feed.watermark(4, 1), 1);
    assert_eq!(feed.watermark(4, 2), 0);
    assert_eq!(feed.newest(), (3, 5, 10.0, true));
    feed.update((5, 1, 12));
    assert!(feed.closed().is_empty());
    assert_eq!(feed.newest(), (5, 1, 12.0, false));
}

#[test]
fn another_connection_is_no_evidence() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    let mut other = FrameTap::new(&mut feed.cache, CAP);
    let text = ohlc("update", 0, &[(9, 1, 1)]).replace("BTC/USD", "ETH/USD");
    other.apply_message(&mut feed.cache, text.as_bytes(), 1);
    feed.cache.close_due(2, false);
    assert!(feed.closed().is_empty());
}

#[test]
fn a_quiet_connection_closes_by_the_gateways_answer_alone() {
    let mut feed = Feed::new();
    feed.text(&pong(3, 30));
    feed.text(&told((3, 5, 10), 30));
    feed.seconds_pass(33);
    assert_eq!(feed.cache.close_due(feed.now_ns, false), []);
    feed.seconds_pass(26); // whatever our clock says
    let id = feed.connection.id();
    assert_eq!(
        feed.cache.close_due(feed.now_ns, false),
        [id],
        "a ping would tell"
    );
    assert!(feed.given().is_empty());
    feed.text(&pong(4, 3));
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.given().is_empty(), "asked before the grace was over");
    feed.text(&pong(4, 4));
    assert_eq!(feed.cache.close_due(feed.now_ns, false), []);
    assert_eq!(feed.given(), [(3, 5, Evidence::Quiet)]);
}

#[test]
fn a_pong_closes_nothing_while_rows_come() {
    let mut feed = Feed::new();
    feed.text(&pong(4, 0));
    feed.update((3, 5, 10));
    feed.seconds_pass(3);
    feed.update((3, 6, 10));
    feed.text(&pong(4, 30));
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.given().is_empty());
}

#[test]
fn a_lagging_maker_is_waited_for_and_forgiven_when_it_was_us() {
    for (held_up, grace_s) in [(false, 15), (true, 1)] {
        let mut feed = Feed::new();
        feed.text(&pong(3, 30));
        feed.update((3, 5, 10)); // told thirty seconds late
        feed.cache.close_due(feed.now_ns, held_up);
        let (lag, grace) = feed.cache.lag_ns(feed.connection.id()).unwrap();
        assert_eq!(grace, grace_s * 1_000_000_000);
        assert_eq!(lag > 29_000_000_000, !held_up);
        assert_eq!(feed.watermark(4, 14), usize::from(held_up));
        assert_eq!(feed.watermark(4, 15), usize::from(!held_up));
    }
}

#[test]
fn a_lag_is_forgotten_after_ten_minutes() {
    let mut feed = Feed::new();
    feed.text(&pong(3, 30));
    feed.update((3, 5, 10));
    feed.cache.close_due(feed.now_ns, false);
    feed.seconds_pass(9 * 60);
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.cache.lag_ns(feed.connection.id()).unwrap().0 > 29_000_000_000);
    feed.seconds_pass(60);
    feed.cache.close_due(feed.now_ns, false);
    assert_eq!(
        feed.cache.lag_ns(feed.connection.id()),
        Some((0, 1_000_000_000))
    );
}

#[test]
fn a_row_for_a_candle_given_out_is_a_correction() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    assert_eq!(feed.watermark(4, 1), 1);
    feed.closed();
    feed.update((3, 6, 11)); // before the next one began
    assert_eq!(feed.given(), [(3, 6, Evidence::Late)]);
    assert_eq!(feed.newest(), (3, 6, 11.0, true));
    feed.update((4, 1, 12));
    assert!(feed.given().is_empty());
    feed.update((3, 7, 13)); // and after
    assert_eq!(feed.given(), [(3, 7, Evidence::Late)]);
    assert_eq!(feed.newest(), (4, 1, 12.0, false));
    feed.update((3, 6, 99));
    assert!(feed.given().is_empty(), "older than what is known");
    feed.update((5, 1, 1));
    assert_eq!(feed.given(), [(4, 1, Evidence::Next)]);
}

#[test]
fn a_candle_that_was_skipped_comes_late_or_in_time() {
    let mut feed = Feed::new();
    feed.update((3, 5, 10));
    feed.update((5, 1, 12));
    feed.update((4, 2, 11)); // its only row comes when 5 has begun
    assert_eq!(
        feed.given(),
        [(3, 5, Evidence::Next), (4, 2, Evidence::Next)]
    );
    feed.update((7, 1, 12));
    feed.update((6, 2, 11));
    feed.update((8, 1, 12));
    feed.given();
    feed.update((10, 1, 12));
    feed.update((11, 1, 12));
    feed.given();
    feed.update((9, 3, 12)); // 10 was given out before
    assert_eq!(feed.given(), [(9, 3, Evidence::Late)]);
}

#[test]
fn the_ticker_objects_until_the_row_comes() {
    let mut feed = Feed::new();
    feed.text(&traded(3, 10, 100));
    feed.text(&told((3, 5, 10), 10));
    feed.text(&traded(3, 59, 101));
    assert_eq!(feed.watermark(4, 30), 0);
    feed.update((4, 1, 1));
    assert!(feed.given().is_empty(), "3 lacks a trade of second 59");
    feed.text(&told((3, 6, 10), 59));
    assert_eq!(feed.given(), [(3, 6, Evidence::Next)]);
}

#[test]
fn an_objection_that_no_row_answers_ends_in_doubt_and_holds_back_the_next() {
    let mut feed = Feed::new();
    feed.text(&traded(3, 10, 100));
    feed.update((3, 5, 10));
    feed.text(&traded(3, 59, 101));
    feed.update((4, 1, 1));
    feed.update((5, 1, 1));
    feed.seconds_pass(19);
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.given().is_empty());
    feed.seconds_pass(2);
    feed.cache.close_due(feed.now_ns, false);
    assert_eq!(
        feed.given(),
        [(3, 5, Evidence::Doubtful), (4, 1, Evidence::Next)]
    );
    feed.update((3, 6, 10));
    assert_eq!(feed.given(), [(3, 6, Evidence::Late)]);
}

#[test]
fn what_the_ticker_shows_of_other_times_is_no_objection() {
    let mut feed = Feed::new();
    feed.text(&traded(3, 0, 100));
    feed.text(&traded(2, 59, 90).replace("update", "snapshot"));
    feed.text(&traded(3, 0, 90)); // no rise: some trade left the 24 hours
    feed.update((3, 5, 10));
    feed.text(&traded(4, 0, 101));
    assert_eq!(feed.watermark(4, 1), 1);
}

#[test]
fn candles_are_mute_when_the_ticker_trades_and_nothing_comes() {
    for (told, patience_s) in [(true, 15), (false, 21)] {
        let mut feed = Feed::new();
        let mute = |feed: &mut Feed| feed.cache.take_mute(feed.now_ns).1.len();
        feed.update((3, 1, 10));
        feed.cache.expect_candles("BTC/USD", 1, Some(feed.now_ns));
        feed.text(&traded(3, 10, 100));
        feed.text(&traded(3, 20, 101));
        if told {
            feed.watermark(3, 21);
        }
        assert_eq!(mute(&mut feed), 0);
        feed.seconds_pass(patience_s - 1);
        assert_eq!(mute(&mut feed), 0);
        feed.seconds_pass(2);
        assert_eq!(mute(&mut feed), 1);
        assert_eq!(mute(&mut feed), 0, "told once");
    }
}

#[test]
fn candles_that_lag_or_were_never_promised_are_not_mute() {
    let mut feed = Feed::new();
    feed.update((3, 1, 10));
    feed.text(&traded(3, 10, 100));
    feed.text(&traded(3, 20, 101));
    feed.seconds_pass(100);
    assert!(feed.cache.take_mute(feed.now_ns).1.is_empty());
    feed.cache.expect_candles("BTC/USD", 1, Some(feed.now_ns));
    for trade in 0..20 {
        feed.seconds_pass(10);
        feed.text(&traded(4, trade, 102 + u64::from(trade)));
        feed.update((3, 2 + u64::from(trade), 10)); // always a minute behind
        assert!(feed.cache.take_mute(feed.now_ns).1.is_empty());
    }
}

#[test]
fn a_series_that_never_brought_anything_is_mute_too() {
    let mut feed = Feed::new();
    feed.cache.expect_candles("BTC/USD", 1, Some(0));
    feed.text(&traded(3, 10, 100));
    feed.text(&traded(3, 20, 101));
    feed.cache.take_mute(feed.now_ns);
    feed.seconds_pass(26);
    assert_eq!(feed.cache.take_mute(feed.now_ns).1.len(), 1);
}

#[test]
fn an_interval_that_traded_and_never_came_is_passed_over() {
    let mut feed = Feed::new();
    feed.update((3, 1, 10));
    feed.cache.expect_candles("BTC/USD", 1, Some(feed.now_ns));
    feed.text(&traded(3, 0, 100));
    feed.text(&traded(4, 50, 101));
    feed.update((5, 1, 10));
    feed.text(&traded(5, 1, 102));
    assert!(feed.cache.take_passed_over(feed.now_ns).is_empty());
    feed.seconds_pass(21);
    let passed = feed.cache.take_passed_over(feed.now_ns);
    assert_eq!(
        passed,
        [(std::sync::Arc::from("BTC/USD"), 1, BASE + 4 * 60)]
    );
    assert!(
        feed.cache.take_passed_over(feed.now_ns).is_empty(),
        "told once"
    );
}

#[test]
fn a_ticker_is_mute_when_candles_trade_and_nothing_comes() {
    let mut feed = Feed::new();
    feed.text(&traded(3, 10, 100));
    feed.cache.expect_ticker("BTC/USD", Some(feed.now_ns));
    feed.update((3, 1, 10)); // at second 0: the ticker has shown it
    feed.seconds_pass(60);
    assert!(feed.cache.take_mute(feed.now_ns).0.is_empty());
    feed.update((4, 1, 10));
    feed.seconds_pass(14);
    assert!(feed.cache.take_mute(feed.now_ns).0.is_empty());
    feed.seconds_pass(1);
    assert_eq!(feed.cache.take_mute(feed.now_ns).0.len(), 1);
    assert!(feed.cache.take_mute(feed.now_ns).0.is_empty(), "told once");
    feed.cache.expect_ticker("BTC/USD", Some(feed.now_ns));
    feed.update((5, 1, 10));
    feed.text(&traded(5, 10, 200));
    feed.seconds_pass(60);
    assert!(feed.cache.take_mute(feed.now_ns).0.is_empty());
}

#[test]
fn a_stamp_far_ahead_shuts_nothing_out() {
    let mut feed = Feed::new();
    let mad = |text: &str| text.replace("2026-09", "2200-09");
    // Before Kraken's clock is known it is taken in, and gives way as soon as it is.
    feed.text(&mad(&traded(3, 0, 1)));
    feed.text(&mad(&ohlc("update", 1, &[(3, 9, 9)])));
    feed.text(&pong(3, 0));
    feed.text(&traded(3, 1, 7));
    assert_eq!(feed.cache.ticker("BTC/USD").unwrap().trades, Some(7));
    feed.update((3, 1, 10));
    assert_eq!(feed.newest(), (3, 1, 10.0, false));
    feed.text(&mad(&traded(3, 2, 8)));
    feed.text(&mad(&ohlc("update", 1, &[(4, 9, 9)])));
    feed.text(
        &ohlc("update", 1, &[(4, 9, 9)]).replace("T18:04:00.000000001", "T20:04:00.000000001"),
    );
    assert_eq!(feed.connection.counts().1.refused, 3);
    assert_eq!(feed.cache.ticker("BTC/USD").unwrap().trades, Some(7));
    assert_eq!(feed.newest(), (3, 1, 10.0, false));
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.given().is_empty(), "and it is no evidence");
}

#[test]
fn a_candle_off_the_grid_is_refused() {
    let mut feed = Feed::new();
    feed.update((3, 1, 10));
    feed.text(&ohlc("update", 5, &[(4, 1, 1)]).replace("18:04:00.000000000", "18:04:30.000000000"));
    assert_eq!(feed.connection.counts().1.refused, 1);
    assert_eq!(feed.newest(), (3, 1, 10.0, false));
    let week = ohlc("update", 6, &[(4, 1, 1)]).replace("\"interval\":1", "\"interval\":10080");
    feed.text(&week);
    assert_eq!(
        feed.connection.counts().1.refused,
        1,
        "weeks begin when they like"
    );
}

#[test]
fn only_wanted_symbols_have_a_place() {
    let mut feed = Feed::new();
    feed.cache.want("BTC/USD");
    for symbol in 0..20_000 {
        feed.text(&ticker(&format!("S{symbol}"), 1));
    }
    feed.text(&ticker("BTC/USD", 1));
    let kept = |symbol: &str| feed.cache.ticker(symbol).is_some();
    assert!(kept("BTC/USD") && !(0..20_000).any(|symbol| kept(&format!("S{symbol}"))));
    feed.cache.forget("BTC/USD");
    feed.text(&ticker("BTC/USD", 2)); // on its way when it was given up
    assert!(feed.cache.ticker("BTC/USD").is_none());
    feed.cache.want("BTC/USD");
    feed.text(&ticker("BTC/USD", 3));
    assert!(feed.cache.ticker("BTC/USD").is_some());
}

#[test]
fn a_series_in_doubt_closes_nothing_and_says_from_when() {
    let mut feed = Feed::new();
    feed.text(&traded(3, 10, 100));
    feed.update((3, 5, 10));
    feed.text(&traded(3, 59, 101));
    feed.update((4, 1, 1)); // 3 waits for its trade of second 59
    feed.cache.doubt("BTC/USD", 1);
    assert_eq!(feed.watermark(9, 0), 0);
    feed.update((10, 1, 1));
    assert!(feed.given().is_empty());
    assert_eq!(feed.cache.take_doubt("BTC/USD", 1), Some(BASE + 3 * 60));
    assert_eq!(feed.cache.take_doubt("BTC/USD", 1), None);
}

#[test]
fn snapshots_close_what_was_missed_and_nothing_twice() {
    let mut feed = Feed::new();
    feed.snapshot(&[(1, 4, 1), (2, 5, 2), (4, 6, 3)]);
    assert_eq!(feed.closed(), [(1, 4), (2, 5)]);
    feed.update((4, 7, 4));
    feed.reconnect();
    assert_eq!(feed.watermark(30, 0), 0, "unconfirmed");
    feed.snapshot(&[(1, 4, 1), (2, 5, 2), (4, 9, 5), (6, 3, 6), (7, 1, 7)]);
    assert_eq!(feed.closed(), [(4, 9), (6, 3)]);
    feed.reconnect();
    feed.snapshot(&[(4, 9, 5), (6, 3, 6), (7, 1, 7)]);
    assert!(feed.closed().is_empty());
    assert_eq!((feed.newest(), feed.late()), ((7, 1, 7.0, false), 0));
    assert_eq!(feed.watermark(31, 0), 1);
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
fn tickers_of_the_past_are_late_and_snapshots_likewise() {
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
    let bid = |feed: &Feed| {
        let shown = feed.cache.ticker("BTC/USD").unwrap();
        shown.values[0].unwrap().to_f64()
    };
    feed.text(&at(20, 4).replace("update", "snapshot"));
    assert_eq!(bid(&feed), 3.5, "a gateway that lags");
    feed.text(&at(26, 5).replace("update", "snapshot"));
    assert_eq!(bid(&feed), 5.5);
    let kinds: Vec<_> = feed.connection.take_events().into_iter().collect();
    assert_eq!(kinds.len(), 2, "the snapshots: {kinds:?}");
    assert!(
        kinds
            .iter()
            .all(|kind| matches!(kind, WireEvent::TickerSnapshot(it) if &**it == "BTC/USD"))
    );
}

#[test]
fn a_ticker_is_as_late_as_its_own_time_says() {
    let mut feed = Feed::new();
    let snapshot = |second, trades| traded(1, second, trades).replace("update", "snapshot");
    let late_s = |feed: &Feed| {
        let shown = feed.cache.ticker("BTC/USD").unwrap();
        (shown.late_ns + 500_000_000) / 1_000_000_000
    };
    feed.text(&pong(2, 30));
    feed.text(&snapshot(26, 1)); // it may be old, for all that it tells
    assert_eq!(late_s(&feed), 0);
    feed.text(&traded(1, 30, 2));
    assert_eq!(late_s(&feed), 60);
    feed.text(&traded(1, 30, 2)); // another quote under the time of the last trade
    assert_eq!(late_s(&feed), 60, "as late as what came before it");
    feed.text(&snapshot(31, 3));
    assert_eq!(late_s(&feed), 60, "a snapshot behind late rows is late");
    feed.text(&traded(2, 30, 4));
    assert_eq!(late_s(&feed), 0);
    feed.text(&traded(2, 30, 4));
    assert_eq!(late_s(&feed), 0);
    feed.cache
        .learn_wall((BASE + 151) * 1_000_000_000, feed.now_ns);
    for _ in 0..40 {
        feed.text(&pong(4, 0)); // this gateway alone is far ahead now
    }
    feed.text(&traded(2, 31, 5));
    assert_eq!(late_s(&feed), 0, "our clock agrees with the ticker");
}

#[test]
fn a_late_ticker_pays_no_debt() {
    let mut feed = Feed::new();
    feed.text(&pong(5, 0));
    feed.cache.expect_ticker("BTC/USD", Some(feed.now_ns));
    feed.text(&traded(4, 0, 1).replace("update", "snapshot"));
    feed.update((5, 5, 10));
    for second in 1..=16 {
        feed.seconds_pass(1);
        feed.text(&traded(4, second, u64::from(second) + 1));
    }
    assert_eq!(
        feed.cache.take_mute(feed.now_ns).0.len(),
        1,
        "still in 18:04"
    );
}

#[test]
fn a_gateway_that_is_far_ahead_closes_nothing_early() {
    let mut feed = Feed::new();
    feed.text(&pong(4, 40)); // 70 s ahead of the maker
    feed.text(&told((3, 5, 10), 30));
    feed.seconds_pass(33);
    feed.cache.close_due(feed.now_ns, false);
    feed.text(&pong(5, 13));
    feed.cache.close_due(feed.now_ns, false);
    assert!(feed.given().is_empty(), "3 s past the end for the maker");
    feed.text(&pong(5, 29));
    feed.cache.close_due(feed.now_ns, false);
    assert_eq!(feed.given(), [(3, 5, Evidence::Quiet)]);
}

#[test]
fn watchers_see_each_change_once() {
    let mut feed = Feed::new();
    let (early, names) = (
        feed.cache.add_watcher(false),
        |all: &[std::sync::Arc<str>]| all.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );
    for (symbol, bid) in [("A", 1), ("B", 1), ("A", 2), ("C", 1), ("A", 3)] {
        feed.text(&ticker(symbol, bid));
    }
    feed.update((1, 1, 1));
    let late = feed.cache.add_watcher(false);
    let (tickers, candles) = feed.cache.take_changed(early, false).unwrap();
    assert_eq!(names(&tickers), ["B", "C", "A"]);
    assert_eq!(
        (candles.len(), &*candles[0].0, candles[0].1),
        (1, "BTC/USD", 1)
    );
    assert_eq!(
        feed.cache.take_changed(early, false),
        Some((vec![], vec![]))
    );
    assert_eq!(feed.cache.take_changed(late, false), Some((vec![], vec![])));
    let newcomer = feed.cache.add_watcher(true);
    let (tickers, candles) = feed.cache.take_changed(newcomer, false).unwrap();
    assert_eq!(
        (names(&tickers), candles.len()),
        (vec!["B".into(), "C".into(), "A".into()], 1)
    );
    assert_eq!(
        feed.cache.take_changed(newcomer, false),
        Some((vec![], vec![]))
    );
    feed.watermark(30, 0);
    assert_eq!(feed.cache.take_changed(late, false).unwrap().1.len(), 2);
    feed.cache.remove_watcher(late);
    assert_eq!(feed.cache.take_changed(late, false), None);
}

#[test]
fn memory_is_bounded_by_symbols_series_and_events() {
    let mut feed = Feed::new();
    for symbol in 0..20_000 {
        feed.text(&ticker(&format!("S{symbol}"), 1));
    }
    feed.text(&ticker(&"S".repeat(65), 1));
    let kept = (0..20_000).filter(|symbol| feed.cache.ticker(&format!("S{symbol}")).is_some());
    assert_eq!(kept.count(), 16_384);
    assert_eq!(feed.connection.counts().1.ignored, 20_000 - 16_384 + 1);
    for minutes in (1..100).filter(|it| 60 % it == 0).chain(1_441..1_460) {
        feed.text(
            &ohlc("update", 1, &[(0, 1, 1)])
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
                    feed.watermark(minute, 30);
                    feed.reconnect();
                    // Kraken sends about ten; more than can be missed here.
                    let from = truth.len().saturating_sub(10);
                    let rows: Vec<State> = (from..truth.len()).map(|at| state(&truth, at)).collect();
                    if !rows.is_empty() {
                        feed.snapshot(&rows);
                    }
                }
                Step::Clock => {
                    feed.watermark(minute, 30);
                }
            }
            given.extend(feed.closed());
            if let (Some(candle), Some(last)) = (feed.cache.candle("BTC/USD", 1), truth.last()) {
                prop_assert_eq!(((candle.open_s - BASE) / 60, candle.trades), *last);
            }
        }
        feed.watermark(70, 0);
        given.extend(feed.closed());
        prop_assert_eq!(given, truth);
    }
}
