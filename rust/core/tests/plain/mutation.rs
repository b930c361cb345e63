//! Mutated frames among good ones: nothing panics, no good message is lost.

use krakked_core::cache::Cache;
use krakked_core::connection::FrameTap;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{SWITCHING, cut, frame, ohlc, split, text_frame, ticker};

/// Frames of the kinds that Kraken sends.
const SEEDS: [&str; 6] = [
    r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","connection_id":18125794168470749634}]}"#,
    r#"{"method":"subscribe","result":{"channel":"ohlc","interval":1,"symbol":"A/B","warnings":["w"]},"success":true,"req_id":7}"#,
    r#"{"error":"Currency pair not supported X","method":"subscribe","success":false,"symbol":"X"}"#,
    r#"{"channel":"heartbeat"}"#,
    r#"{"channel":"ohlc","type":"snapshot","timestamp":"2026-09-25T19:00:00.1Z","data":[{"symbol":"A/B","open":1,"high":2,"low":1,"close":1.5,"trades":3,"volume":1e-08,"vwap":1,"interval_begin":"2026-09-25T18:00:00Z","interval":1},{"symbol":"A/B","open":1,"high":2,"low":1,"close":1.5,"trades":3,"volume":4E+2,"vwap":null,"interval_begin":"2026-09-25T18:01:00Z","interval":1}]}"#,
    r#"{"channel":"instrument","type":"update","data":{"assets":[],"pairs":[{"symbol":"A/B","status":"online"}]}}"#,
];

/// Pieces that have broken parsers before.
const SPLICES: [&[u8]; 16] = [
    b"null",
    b"1e999999999",
    b"-",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"",
    b"}",
    b"]",
    b",",
    b"99999999999999999999999999999999",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"\x00",
];

#[derive(Clone, Debug)]
enum Edit {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), 0_u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (place(), 1_usize..9).prop_map(|(at, count)| Edit::Remove(at, count)),
        3 => (place(), 0..SPLICES.len()).prop_map(|(at, which)| Edit::Insert(at, which)),
        1 => (place(), 1_usize..40).prop_map(|(at, count)| Edit::Repeat(at, count)),
        1 => place().prop_map(Edit::Cut),
    ]
}

fn edited(mut bytes: Vec<u8>, edit: &Edit) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    match *edit {
        Edit::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Edit::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + count));
        }
        Edit::Insert(at, which) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, SPLICES[which].iter().copied());
        }
        Edit::Repeat(at, count) => {
            let at = at.index(bytes.len());
            let piece = bytes[at..bytes.len().min(at + count)].to_vec();
            bytes.splice(at..at, piece);
        }
        Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
    bytes
}

/// Runs `cases` mutated frames, each between two good ones.
///
/// Edits of the payload keep the frame a frame, so the good messages must reach the cache; edits of
/// the frame itself may hand everything to the WebSocket library, which then gets every byte.
pub(crate) fn hold(cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        0..=SEEDS.len() + 1,
        prop::collection::vec(any_edit(), 1..4),
        prop::bool::weighted(0.2),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    );
    let outcome = TestRunner::new(config).run(&strategy, |(seed, edits, frames_too, places)| {
        let seed = match seed.checked_sub(SEEDS.len()) {
            None => SEEDS[seed].to_owned(),
            Some(0) => ticker("A/B", 7),
            Some(_) => ohlc("A/B", 5, 9),
        };
        let apply = |bytes: Vec<u8>| edits.iter().fold(bytes, edited);
        let wild = if frames_too {
            apply(text_frame(&seed))
        } else {
            frame(0x81, &apply(seed.into_bytes()))
        };
        let (before, after) = (
            text_frame(&ticker("BEFORE", 1)),
            text_frame(&ticker("AFTER", 2)),
        );
        let stream = [SWITCHING, &before, &wild, &after].concat();
        let mut cache = Cache::new();
        let mut connection = FrameTap::new(&mut cache, 1 << 20);
        let mut forward = Vec::new();
        for chunk in cut(&stream, &places) {
            connection.receive(&mut cache, chunk, 1, &mut forward);
        }
        let known = split(&stream, 1 << 20);
        prop_assert_eq!(&forward, &known.forward);
        prop_assert_eq!(connection.counts().1.messages, known.texts.len() as u64);
        prop_assert!(cache.ticker("BEFORE").is_some());
        let reached = |symbol: &str| cache.ticker(symbol).is_some();
        if !frames_too {
            prop_assert!(reached("AFTER") || forward.ends_with(&after));
        }
        let (_, counts) = connection.counts();
        prop_assert!(counts.malformed <= 1 || frames_too);
        cache.close_due(i64::MAX, false);
        cache.take_closed();
        connection.take_events();
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
