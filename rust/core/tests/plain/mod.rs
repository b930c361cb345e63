//! Plain references and generators for the integration tests: slow, short, written differently.

#![allow(dead_code, reason = "each test binary uses its part")]

use proptest::prelude::*;

/// A reply that lets the tap begin.
pub(crate) const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

/// One frame with any header: flags and opcode in `first`, the length in its shortest form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(u8::try_from(length).unwrap()),
        length @ 126..=0xFFFF => {
            out.push(126);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

/// One unfragmented text frame.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// What a stream is split into.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Split {
    pub(crate) texts: Vec<String>,
    pub(crate) forward: Vec<u8>,
}

/// The rules of the tap on a stream as a whole, frame by frame.
pub(crate) fn split(stream: &[u8], max_message_bytes: usize) -> Split {
    let mut out = Split::default();
    let end_of_head = (0..stream.len())
        .find(|&at| stream[..=at].ends_with(b"\n\n") || stream[..=at].ends_with(b"\n\r\n"));
    let Some(end) = end_of_head else {
        out.forward = stream.to_vec();
        return out;
    };
    let (head, mut rest) = stream.split_at(end + 1);
    out.forward.extend(head);
    if !(head.starts_with(b"HTTP/1.")
        && head[7].is_ascii_digit()
        && head[8..].starts_with(b" 101")
        && b" \r\n".contains(&head[12]))
    {
        out.forward.extend(rest);
        return out;
    }
    let mut fragmented = false;
    while rest.len() >= 2 {
        let (fin, reserved, opcode) = (rest[0] >= 0x80, rest[0] & 0x70, rest[0] & 0x0F);
        let (masked, short) = (rest[1] >= 0x80, rest[1] & 0x7F);
        let wrong = reserved != 0
            || masked
            || match opcode {
                0 => !fragmented,
                1 | 2 => fragmented,
                9 | 10 => !fin || short > 125,
                _ => true,
            };
        if wrong {
            break;
        }
        let header = match short {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if rest.len() < header {
            return out;
        }
        let length = rest[2..header]
            .iter()
            .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let length = if header == 2 {
            u64::from(short)
        } else {
            length
        };
        if (header == 4 && length < 126) || (header == 10 && length < 65_536) || length >= 1 << 63 {
            break;
        }
        let total = header as u64 + length;
        let complete = rest.len() as u64 >= total;
        let here = usize::try_from(total.min(rest.len() as u64)).unwrap();
        if opcode == 1 && fin && length <= max_message_bytes as u64 {
            match (std::str::from_utf8(&rest[header..here]), complete) {
                (Ok(text), true) => out.texts.push(text.to_owned()),
                (Ok(_), false) => return out,
                (Err(error), false) if error.error_len().is_none() => return out,
                (Err(_), _) => break,
            }
        } else {
            if opcode <= 2 {
                fragmented = !fin;
            }
            out.forward.extend(&rest[..here]);
        }
        rest = &rest[here..];
    }
    // Either a violation, after which all is forwarded, or the first byte of a header, which waits.
    if rest.len() >= 2 {
        out.forward.extend(rest);
    }
    out
}

/// Cuts `bytes` at the given places.
pub(crate) fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect();
    at.push(0);
    at.push(bytes.len());
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// A ticker message of a symbol with a bid that tells it apart.
pub(crate) fn ticker(symbol: &str, bid: u64) -> String {
    format!(
        concat!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"{}","bid":{}.5,"#,
            r#""bid_qty":0.56251979,"ask":83744.3,"ask_qty":0.00044780,"last":83744.3,"#,
            r#""volume":3156.84782110,"vwap":84174.6,"low":83163.6,"high":85247.4,"#,
            r#""change":-429.3,"change_pct":-0.51,"trades":135262,"#,
            r#""timestamp":"2026-09-25T17:48:26.844359Z"}}]}}"#
        ),
        symbol, bid
    )
}

/// Candle messages: an update.
pub(crate) fn ohlc(symbol: &str, minute: u32, trades: u64) -> String {
    format!(
        concat!(
            r#"{{"channel":"ohlc","type":"update","timestamp":"2026-09-25T17:59:59.844359566Z","#,
            r#""data":[{{"symbol":"{}","open":1.5,"high":2.5,"low":0.5,"close":1.0,"trades":{},"#,
            r#""volume":0.25,"vwap":1.25,"interval_begin":"2026-09-25T17:{:02}:00.000000000Z","#,
            r#""interval":1,"timestamp":"2026-09-25T17:59:00.000000Z"}}]}}"#
        ),
        symbol, trades, minute
    )
}
