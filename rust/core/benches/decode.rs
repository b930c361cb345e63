//! What one message costs from received bytes to a readable cache: ticker frames of about 300 bytes,
//! in chunks of 64 KiB, spread over 10, 400, 1,500 and 10,000 symbols.
//!
//! `cargo bench -p krakked-core --bench decode`; `elem/s` are messages.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use krakked_core::cache::Cache;
use krakked_core::connection::FrameTap;
use krakked_core::message::decode;
use krakked_core::rows::Rows;

const CHUNK: usize = 65_536;
const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

fn ticker(symbol: usize, step: usize) -> String {
    let cents = 8_374_420 + (step * 7919) % 100_000;
    let price = format!("{}.{}", cents / 100, cents % 10);
    let text = format!(
        concat!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"C{:04}/USD","bid":{},"#,
            r#""bid_qty":0.56251979,"ask":{},"ask_qty":{}.00044780,"last":{},"volume":3156.84782110,"#,
            r#""vwap":84174.6,"low":83163.6,"high":85247.4,"change":-429.3,"change_pct":-0.51,"#,
            r#""trades":135262,"timestamp":"2026-09-25T17:48:26.{:06}Z"}}]}}"#
        ),
        symbol,
        price,
        price,
        step % 10,
        price,
        step % 1_000_000
    );
    assert!((290..320).contains(&text.len()), "{}", text.len());
    text
}

fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81, 126];
    frame.extend(length.to_be_bytes());
    frame.extend(text.as_bytes());
    frame
}

/// The same message in layouts that Kraken may change to any day.
fn odd_layouts(usual: &str) -> Vec<(&'static str, String)> {
    let (head, rest) = usual.split_once(r#"[{"symbol":"#).expect("one row");
    let (row, tail) = rest.split_once("}]").expect("one row");
    let fields = format!(r#""symbol":{row}"#);
    let mut reversed: Vec<&str> = fields.split(",\"").collect();
    reversed.reverse();
    let reversed: Vec<String> = reversed
        .iter()
        .map(|it| format!("\"{}", it.trim_start_matches('"')))
        .collect();
    let spaced = |text: &str| text.replace("\":", "\": ").replace(",\"", ", \"");
    vec![
        (
            "reversed",
            format!("{head}[{{{}}}]{tail}", reversed.join(",")),
        ),
        ("spaced", spaced(usual)),
        (
            "unknown_first",
            format!(r#"{head}[{{"new":{{"a":[1,2]}},{fields}}}]{tail}"#),
        ),
        (
            "unknown_last",
            format!(r#"{head}[{{{fields},"new":"text"}}]{tail}"#),
        ),
    ]
}

/// At least `messages` frames over `symbols`, cut into chunks wherever 64 KiB end.
fn stream(symbols: usize, messages: usize) -> Vec<u8> {
    let mut order: u64 = 88_172_645_463_325_252;
    let mut bytes = Vec::new();
    for step in 0..messages {
        // xorshift: symbols come in no order a cache line could profit from.
        order ^= order << 13;
        order ^= order >> 7;
        order ^= order << 17;
        let symbol = usize::try_from(order % symbols as u64).expect("small");
        bytes.extend(frame(&ticker(symbol, step)));
    }
    bytes
}

fn frames_to_cache(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ticker_frame_to_cache");
    for symbols in [10, 400, 1_500, 10_000] {
        let messages = 20_000;
        let bytes = stream(symbols, messages);
        let mut cache = Cache::new();
        let mut connection = FrameTap::new(&mut cache, 1 << 20);
        let mut forward = Vec::new();
        connection.receive(&mut cache, HEAD, 0, &mut forward);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::from_parameter(symbols), |bencher| {
            bencher.iter(|| {
                for chunk in bytes.chunks(CHUNK) {
                    forward.clear();
                    connection.receive(&mut cache, black_box(chunk), 1, &mut forward);
                    assert!(forward.is_empty());
                }
                drop(connection.take_events());
            });
        });
        let (_, counts) = connection.counts();
        assert_eq!(
            (counts.malformed, counts.messages % messages as u64),
            (0, 0)
        );
    }
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let mut rows = Rows::default();
    let ohlc = r#"{"channel":"ohlc","type":"update","timestamp":"2026-09-25T17:48:26.844359566Z","data":[{"symbol":"BTC/USD","open":83729.5,"high":83745.2,"low":83729.4,"close":83744.3,"trades":33,"volume":0.21155628,"vwap":83736.4,"interval_begin":"2026-09-25T17:48:00.000000000Z","interval":1,"timestamp":"2026-09-25T17:49:00.000000Z"}]}"#;
    let unknown = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":83744.3,"qty":0.00044780,"ord_type":"limit","trade_id":109116693,"timestamp":"2026-09-25T17:48:26.844359Z"}]}"#;
    for (name, text) in [
        ("ticker", ticker(1, 1).as_str()),
        ("ohlc", ohlc),
        ("heartbeat", r#"{"channel":"heartbeat"}"#),
        ("ignored", unknown),
    ] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(text), &mut rows).is_ok());
        });
    }
    for (channel, usual) in [("ticker", ticker(1, 1)), ("ohlc", ohlc.to_owned())] {
        decode(&usual, &mut rows).expect("usual");
        for (layout, text) in odd_layouts(&usual) {
            decode(&text, &mut rows).expect(layout);
            group.bench_function(format!("{channel}_{layout}"), |bencher| {
                bencher.iter(|| decode(black_box(&text), &mut rows).is_ok());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, frames_to_cache, messages);
criterion_main!(benches);
