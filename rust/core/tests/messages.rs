//! Every message shape, any layout, and what is refused.
//!
//! Long because every shape on record stands here in full, beside what is made of it.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failing test is wanted; floats are exact"
)]

mod plain;

use krakked_core::malformed::Malformed;
use krakked_core::message::{Message, decode};
use krakked_core::rows::{MAX_ELEMENTS, Rows, TICKER_VALUE_NAMES};
use plain::{ohlc, ticker};
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

fn refused(text: &str) -> Malformed {
    decode(text, &mut Rows::default()).unwrap_err()
}

fn good(text: &str) -> Message<'_> {
    decode(text, &mut Rows::default()).unwrap()
}

#[test]
fn a_ticker_with_every_field() {
    let mut rows = Rows::default();
    let text = ticker("BTC/USD", 83_744);
    assert_eq!(
        decode(&text, &mut rows),
        Ok(Message::Ticker { snapshot: false })
    );
    let (symbol, row) = rows.tickers().next().unwrap();
    let shown: Vec<String> = row
        .values
        .iter()
        .map(|value| value.unwrap().to_string())
        .collect();
    assert_eq!(symbol, "BTC/USD");
    assert_eq!(
        shown,
        [
            "83744.5",
            "0.56251979",
            "83744.3",
            "0.00044780",
            "83744.3",
            "3156.84782110",
            "84174.6",
            "83163.6",
            "85247.4",
            "-429.3",
            "-0.51"
        ]
    );
    assert_eq!(
        (row.trades, row.exchange_ns),
        (Some(135_262), Some(1_790_358_506_844_359_000))
    );
}

#[test]
fn left_out_and_null_are_none() {
    let mut rows = Rows::default();
    let text = r#"{"data":[{"last":null,"symbol":"A\/B","bid":1e-08}],"type":"snapshot","channel":"ticker"}"#;
    assert_eq!(
        decode(text, &mut rows),
        Ok(Message::Ticker { snapshot: true })
    );
    let (symbol, row) = rows.tickers().next().unwrap();
    assert_eq!(symbol, "A/B");
    assert_eq!(row.values[0].unwrap().to_string(), "0.00000001");
    assert_eq!(row.values.iter().flatten().count(), 1);
    assert_eq!((row.trades, row.exchange_ns), (None, None));
}

#[test]
fn candles_in_the_order_sent() {
    let mut rows = Rows::default();
    let text = ohlc("BTC/USD", 58, 33).replace("\"trades\":33", "\"trades\":33.0");
    let Ok(Message::Ohlc {
        snapshot: false,
        event_ns: Some(1_790_359_199_844_359_566),
    }) = decode(&text, &mut rows)
    else {
        panic!("{text}");
    };
    let (symbol, row) = rows.candles().next().unwrap();
    assert_eq!(
        (symbol, row.open_s, row.interval_minutes, row.trades),
        ("BTC/USD", 1_790_359_080, 1, 33)
    );
    assert_eq!(
        (row.volume.to_string(), row.vwap.unwrap().to_string()),
        ("0.25".into(), "1.25".into())
    );
}

#[test]
fn everything_else_by_its_shape() {
    let id = 18_125_794_168_470_749_634_u64;
    let element = format!(
        r#"{{"version":"2.0.10","system":"online","connection_id":{id},"upcoming_maintenance":[{{"x":[1]}}]}}"#
    );
    let status = format!(r#"{{"channel":"status","type":"update","data":[{element}]}}"#);
    assert_eq!(
        good(&status),
        Message::Status {
            system: "online".into(),
            connection_id: Some(id),
            raw: &element
        }
    );
    assert_eq!(good(r#" { "channel" : "heartbeat" } "#), Message::Heartbeat);
    assert_eq!(
        good(r#"{"method":"pong","req_id":101,"time_in":"x"}"#),
        Message::Pong {
            req_id: Some(101),
            time_in_ns: None,
            time_out_ns: None
        }
    );
    assert_eq!(
        good(r#"{"method":"pong","req_id":"a"}"#),
        Message::Pong {
            req_id: None,
            time_in_ns: None,
            time_out_ns: None
        }
    );
    let times =
        r#""time_in":"2026-09-25T17:48:26.000001Z","time_out":"2026-09-25T17:48:26.000055Z""#;
    let (time_in, time_out) = (1_790_358_506_000_001_000, 1_790_358_506_000_055_000);
    assert_eq!(
        good(&format!(r#"{{"method":"pong","req_id":1,{times}}}"#)),
        Message::Pong {
            req_id: Some(1),
            time_in_ns: Some(time_in),
            time_out_ns: Some(time_out)
        }
    );
    let text = format!(r#"{{"method":"subscribe","error":"x","success":false,{times}}}"#);
    assert_eq!(good(&text).answered_ns(), Some(time_out));
    let ack = r#"{"method":"subscribe","req_id":7,"result":{"channel":"ohlc","interval":1,"symbol":"A/B","warnings":["w",1]},"success":true}"#;
    let Message::Subscribed { target, warnings } = good(ack) else {
        panic!()
    };
    assert_eq!(
        (target.channel.as_deref(), target.symbol.as_deref()),
        (Some("ohlc"), Some("A/B"))
    );
    assert_eq!(
        (target.interval, target.req_id, &warnings[..]),
        (Some(1), Some(7), &["w".into()][..])
    );
    let Message::Unsubscribed(target) = good(
        r#"{"method":"unsubscribe","result":{"channel":"ticker","symbol":"A/B"},"success":true}"#,
    ) else {
        panic!()
    };
    assert_eq!(target.symbol.as_deref(), Some("A/B"));
    assert_eq!(
        good(r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}"#),
        Message::Instrument {
            snapshot: true,
            raw: r#"{"assets":[],"pairs":[]}"#
        }
    );
    assert_eq!(
        good(r#"{"channel":"trade","type":"update","data":[{"price":1e999}]}"#),
        Message::Other("trade".into())
    );
    assert_eq!(
        good(r#"{"method":"add_order","success":true,"result":{}}"#),
        Message::Other("add_order".into())
    );
}

#[test]
fn refusals_in_all_their_shapes() {
    for (text, method, symbol, channel, error) in [
        (
            r#"{"error":"Currency pair not supported X","method":"subscribe","success":false,"symbol":"X","time_in":"t"}"#,
            "subscribe",
            Some("X"),
            None,
            "Currency pair not supported X",
        ),
        (
            r#"{"error":"Try ws","method":"subscribe","success":false}"#,
            "subscribe",
            None,
            None,
            "Try ws",
        ),
        (
            r#"{"channel":"executions","error":"ESession","method":"subscribe","status":"error","success":false}"#,
            "subscribe",
            None,
            Some("executions"),
            "ESession",
        ),
        (
            r#"{"error":"Exceeded msg rate"}"#,
            "",
            None,
            None,
            "Exceeded msg rate",
        ),
        (
            r#"{"Error":"Exceeded msg rate"}"#,
            "",
            None,
            None,
            "Exceeded msg rate",
        ),
        (
            r#"{"method":"ping","success":false,"error":null}"#,
            "ping",
            None,
            None,
            "refused without a reason",
        ),
    ] {
        let Message::Refused {
            method: who,
            target,
            error: why,
        } = good(text)
        else {
            panic!("{text}")
        };
        assert_eq!(
            (
                &*who,
                target.symbol.as_deref(),
                target.channel.as_deref(),
                &*why
            ),
            (method, symbol, channel, error)
        );
    }
}

#[test]
fn what_is_refused_and_why() {
    let deep = format!(
        r#"{{"channel":"x","data":{}{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    let many = format!(
        r#"{{"channel":"ticker","data":[{}]}}"#,
        vec![r#"{"symbol":"A"}"#; MAX_ELEMENTS + 1].join(",")
    );
    let candle = |from: &str, to: &str| ohlc("A", 5, 1).replace(from, to);
    for (text, reason) in [
        (String::new(), Malformed::NotJson),
        ("[]".into(), Malformed::WrongType("message")),
        ("{}".into(), Malformed::Missing("channel")),
        ("null".into(), Malformed::WrongType("message")),
        (r#"{"channel":"heartbeat"}x"#.into(), Malformed::NotJson),
        (r#"{"channel":"heartbeat",}"#.into(), Malformed::NotJson),
        (r#"{"channel":7}"#.into(), Malformed::WrongType("channel")),
        (r#"{"channel":"ticker"}"#.into(), Malformed::Missing("data")),
        (
            r#"{"channel":"ticker","data":{}}"#.into(),
            Malformed::WrongType("data"),
        ),
        (
            r#"{"channel":"ticker","data":null}"#.into(),
            Malformed::WrongType("data"),
        ),
        (
            r#"{"channel":"ticker","data":[1]}"#.into(),
            Malformed::WrongType("data"),
        ),
        (
            r#"{"channel":"ticker","data":[{"bid":1}]}"#.into(),
            Malformed::Missing("symbol"),
        ),
        (
            r#"{"channel":"ticker","data":[{"symbol":""}]}"#.into(),
            Malformed::Missing("symbol"),
        ),
        (
            r#"{"channel":"ticker","data":[{"symbol":"A","bid":"1"}]}"#.into(),
            Malformed::WrongType("bid"),
        ),
        (
            r#"{"channel":"ticker","data":[{"symbol":"A","bid":01}]}"#.into(),
            Malformed::NotJson,
        ),
        (
            r#"{"channel":"ticker","data":[{"symbol":"A","bid":NaN}]}"#.into(),
            Malformed::NotJson,
        ),
        (
            r#"{"channel":"ticker","data":[{"symbol":"A","bid":1e40}]}"#.into(),
            Malformed::NumberTooWide("bid"),
        ),
        (
            r#"{"channel":"status","data":[]}"#.into(),
            Malformed::Missing("data"),
        ),
        (
            r#"{"channel":"status","data":[{}]}"#.into(),
            Malformed::Missing("system"),
        ),
        (
            r#"{"method":"subscribe","success":true}"#.into(),
            Malformed::Missing("result"),
        ),
        (candle("\"close\":1.0,", ""), Malformed::Missing("close")),
        (
            candle("\"interval\":1", "\"interval\":0"),
            Malformed::WrongType("interval"),
        ),
        (
            candle("\"interval\":1", "\"interval\":99999999999"),
            Malformed::WrongType("interval"),
        ),
        (candle("05:00.0", "05:00.5"), Malformed::BadTimestamp),
        (
            candle("\"interval_begin\":\"2026", "\"interval_begin\":\"2127"),
            Malformed::BadTimestamp,
        ),
        (deep, Malformed::TooDeep),
        (many, Malformed::TooManyElements),
    ] {
        assert_eq!(refused(&text), reason, "{text:.120}");
    }
}

#[test]
fn a_wrong_element_costs_itself_alone_and_later_keys_win() {
    let mut rows = Rows::default();
    for odd in [
        r#"{"bid":2}"#,
        r#"{"symbol":"B","last":"2"}"#,
        "7",
        "null",
        "[]",
    ] {
        let text = format!(r#"{{"channel":"ticker","data":[{odd},{{"symbol":"A","bid":1}}]}}"#);
        assert!(decode(&text, &mut rows).is_ok(), "{text}");
        let symbols: Vec<_> = rows.tickers().map(|(symbol, _)| symbol).collect();
        assert_eq!(symbols, ["A"]);
        assert!(rows.refused.is_some());
    }
    let text = ohlc("A", 5, 1);
    let row = &text[text.find("[{").unwrap() + 1..text.len() - 2];
    let two = text.replace(row, &format!("{},{row}", row.replace("\"close\":1.0,", "")));
    assert!(decode(&two, &mut rows).is_ok());
    assert_eq!(rows.candles().count(), 1);
    assert_eq!(rows.refused, Some(Malformed::Missing("close")));
    let text = r#"{"channel":"ohlc","channel":"ticker","data":[{"symbol":"A"}],"data":[{"symbol":"B","bid":1,"bid":2}]}"#;
    assert!(decode(text, &mut rows).is_ok());
    let all: Vec<_> = rows
        .tickers()
        .map(|(symbol, row)| (symbol.to_owned(), row.values[0]))
        .collect();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&*all[0].0, all[0].1.unwrap().to_string()),
        ("B", "2".to_owned())
    );
}

#[test]
fn an_odd_field_that_nobody_needs_costs_nothing_else() {
    let mut rows = Rows::default();
    for (from, to) in [
        ("\"trades\":135262", "\"trades\":1.5"),
        ("\"trades\":135262", "\"trades\":\"many\""),
        ("\"vwap\":84174.6", "\"vwap\":{\"a\":[1]}"),
        ("\"change_pct\":-0.51", "\"change_pct\":\"-0.51\""),
        ("\"volume\":3156.84782110", "\"volume\":1e40"),
        ("\"timestamp\":\"2026", "\"timestamp\":\"20xx"),
        ("\"type\":\"update\"", "\"type\":7"),
    ] {
        let text = ticker("BTC/USD", 83_744).replace(from, to);
        assert!(decode(&text, &mut rows).is_ok(), "{text}");
        let (_, row) = rows.tickers().next().unwrap();
        assert_eq!(row.values[0].unwrap().to_string(), "83744.5");
        assert_eq!(row.values[4].unwrap().to_string(), "83744.3");
        assert_eq!(rows.refused.is_some(), !from.contains("type"), "{text}");
    }
    for (from, to) in [
        ("\"vwap\":1.25", "\"vwap\":\"x\""),
        ("\"trades\":33", "\"trades\":-1"),
        (
            "\"timestamp\":\"2026-09-25T17:59:59",
            "\"timestamp\":\"yesterday",
        ),
    ] {
        let text = ohlc("A", 5, 33).replace(from, to);
        assert!(decode(&text, &mut rows).is_ok(), "{text}");
        assert_eq!(rows.candles().next().unwrap().1.close.to_string(), "1.0");
    }
}

/// Writes `value` with its object keys in another order and white space anywhere.
fn rewritten(value: &Value, order: u64, space: &str) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_by_key(|key| {
                key.bytes().fold(order, |hash, byte| {
                    hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
                })
            });
            let fields: Vec<_> = keys
                .iter()
                .map(|key| {
                    format!(
                        "{space}\"{key}\"{space}:{space}{}",
                        rewritten(&map[*key], order, space)
                    )
                })
                .collect();
            format!("{{{}{space}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| rewritten(item, order, space))
                .collect();
            format!("[{space}{}{space}]", items.join(&format!("{space},")))
        }
        other => other.to_string(),
    }
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "-?(0|[1-9][0-9]{0,7})(\\.[0-9]{1,8})?",
        1 => "(0|[1-9][0-9]{0,14})(\\.[0-9]{1,10})?",
        1 => "[1-9](\\.[0-9]{1,6})?[eE][-+]?[0-9]",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The way for the usual layout, the general way, and `serde_json` tell the same of a message.
    #[test]
    fn every_layout_says_the_same(
        numbers in prop::collection::vec(any_number(), 11),
        trades in 0_u32..1_000_000, nanos in 0_u32..1_000_000,
        order: u64, space in "[ \t\r\n]{0,2}",
    ) {
        let fields: Vec<String> =
            TICKER_VALUE_NAMES.iter().zip(&numbers).map(|(name, number)| format!("\"{name}\":{number}")).collect();
        let usual = format!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD",{},"trades":{trades},"timestamp":"2026-09-25T17:48:26.{nanos:06}Z"}}]}}"#,
            fields.join(",")
        );
        let other = rewritten(&serde_json::from_str(&usual).unwrap(), order, &space);
        let (mut a, mut b) = (Rows::default(), Rows::default());
        prop_assert_eq!(decode(&usual, &mut a), Ok(Message::Ticker { snapshot: false }));
        prop_assert_eq!(decode(&other, &mut b), Ok(Message::Ticker { snapshot: false }), "{}", other);
        let (a, b) = (a.tickers().next().unwrap(), b.tickers().next().unwrap());
        prop_assert_eq!(a.0, b.0);
        prop_assert_eq!((a.1.trades, a.1.exchange_ns), (b.1.trades, b.1.exchange_ns));
        for ((a, b), text) in a.1.values.iter().zip(&b.1.values).zip(&numbers) {
            prop_assert_eq!(a, b);
            prop_assert_eq!(a.unwrap().to_f64().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
        prop_assert_eq!(a.1.trades, Some(u64::from(trades)));
    }

    /// One character changed, removed or doubled in a usual message: refused or understood exactly as
    /// by `serde_json`.
    #[test]
    fn a_spoilt_message_is_never_misread(
        place: prop::sample::Index, edit in 0_usize..3, byte in "[ -~]", candle: bool,
    ) {
        let mut text = if candle { ohlc("BTC/USD", 5, 7) } else { ticker("BTC/USD", 83_744) };
        let at = place.index(text.len());
        match edit {
            0 => text.replace_range(at..=at, &byte),
            1 => text.insert_str(at, &byte),
            _ => text.replace_range(at..=at, ""),
        }
        let mut rows = Rows::default();
        let decoded = decode(&text, &mut rows).is_ok();
        let known: Result<Map<String, Value>, _> = serde_json::from_str(&text);
        if decoded {
            let known = known.unwrap();
            for (symbol, row) in rows.tickers() {
                let element = &known["data"][0];
                prop_assert_eq!(element["symbol"].as_str(), Some(symbol));
                for (name, value) in TICKER_VALUE_NAMES.iter().zip(&row.values) {
                    let known = element.get(name).and_then(Value::as_number).map(Number::to_string);
                    // What is wider than we keep is left out.
                    let known = known
                        .filter(|it| krakked_core::decimal::Decimal::parse(it).is_ok())
                        .map(|it| it.parse::<f64>().unwrap());
                    prop_assert_eq!(value.map(krakked_core::decimal::Decimal::to_f64), known, "{} in {}", name, text);
                }
            }
        }
    }

    /// What was learned from one message changes nothing about the next: a decoder that has seen a
    /// layout says the same of every text, spoilt ones too, as one that has seen nothing.
    #[test]
    fn a_learned_layout_says_what_the_general_decoder_says(
        order: u64, space in "[ \t\r\n]{0,2}", unknown in prop_oneof![
            Just(""), Just(r#","new":{"a":[1,"x",null]}"#), Just(r#","new":"}]""#), Just(r#","trades":7"#),
        ],
        candle: bool, place: prop::sample::Index, edit in 0_usize..4, byte in "[ -~]", number in any_number(),
    ) {
        let usual = if candle { ohlc("BTC/USD", 5, 7) } else { ticker("BTC/USD", 83_744) };
        let known: Value = serde_json::from_str(&usual).unwrap();
        let odd = rewritten(&known, order, &space);
        let place_of_row = odd.find('[').unwrap() + odd[odd.find('[').unwrap()..].find('}').unwrap();
        let odd = format!("{}{unknown}{}", &odd[..place_of_row], &odd[place_of_row..]);
        let mut learned = Rows::default();
        let _ = decode(&odd, &mut learned);
        let mut text = odd.replace("83744", &number).replace("33", "34");
        let at = place.index(text.len());
        match edit {
            0 => text.replace_range(at..=at, &byte),
            1 => text.insert_str(at, &byte),
            2 => text.replace_range(at..=at, ""),
            _ => {}
        }
        for text in [&text, &usual, &odd, &text] {
            let mut fresh = Rows::default();
            let expected = decode(text, &mut fresh);
            prop_assert_eq!(&decode(text, &mut learned), &expected, "{}", text);
            if expected.is_ok() {
                prop_assert!(learned.tickers().eq(fresh.tickers()), "{}", text);
                prop_assert!(learned.candles().eq(fresh.candles()), "{}", text);
                prop_assert_eq!(learned.refused, fresh.refused);
            }
        }
    }

    #[test]
    fn never_panics(text in ".{0,200}") {
        let _ = decode(&text, &mut Rows::default());
    }
}
