//! The tap against a plain reference, on any stream cut anywhere; and the rules one by one.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failing test is wanted; floats are exact"
)]

mod plain;

use krakked_core::frame::FrameSplitter;
use plain::{SWITCHING, Split, cut, frame, split, text_frame};
use proptest::prelude::*;

const MAX: usize = 1_000;

fn tap<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Split, FrameSplitter) {
    let mut tap = FrameSplitter::new(MAX);
    let mut out = Split::default();
    for chunk in chunks {
        let Split { texts, forward } = &mut out;
        tap.receive(chunk, forward, &mut |text| texts.push(text.to_owned()));
    }
    (out, tap)
}

/// A stream after the reply, whole and byte by byte; both must agree with the reference.
fn after_reply(frames: &[Vec<u8>]) -> (Vec<String>, Vec<u8>, bool) {
    let stream = [SWITCHING, &frames.concat()].concat();
    let (whole, state) = tap([&stream[..]]);
    let (sliced, _) = tap(stream.chunks(1));
    assert_eq!(whole, sliced);
    assert_eq!(whole, split(&stream, MAX));
    let forward = whole.forward.strip_prefix(SWITCHING).unwrap().to_vec();
    (whole.texts, forward, state.surrendered())
}

#[test]
fn takes_texts_out_and_leaves_control_frames() {
    let ping = frame(0x89, b"hello");
    let frames = [
        text_frame("one"),
        ping.clone(),
        text_frame("t\u{fc}"),
        frame(0x8A, b""),
        text_frame(""),
    ];
    let (texts, forward, surrendered) = after_reply(&frames);
    assert_eq!(texts, ["one", "t\u{fc}", ""]);
    assert_eq!(forward, [ping, frame(0x8A, b"")].concat());
    assert!(!surrendered);
}

/// With pings taken out, whole and byte by byte; both must agree.
fn answering(frames: &[Vec<u8>]) -> (Vec<String>, Vec<u8>, Vec<Vec<u8>>) {
    let stream = [SWITCHING, &frames.concat()].concat();
    let mut seen = Vec::new();
    for length in [stream.len(), 1] {
        let (mut tap, mut out) = (FrameSplitter::new(MAX), Split::default());
        tap.answer_pings();
        for chunk in stream.chunks(length) {
            let Split { texts, forward } = &mut out;
            tap.receive(chunk, forward, &mut |text| texts.push(text.to_owned()));
        }
        let forward = out.forward.strip_prefix(SWITCHING).unwrap().to_vec();
        seen.push((out.texts, forward, tap.take_pings()));
    }
    assert_eq!(seen[0], seen[1]);
    seen.remove(0)
}

#[test]
fn whole_pings_are_taken_out_when_somebody_answers_them() {
    let (half, rest) = (frame(0x02, b"ha"), frame(0x80, b"lf"));
    let frames = [
        frame(0x89, b"one"),
        text_frame("text"),
        half.clone(),
        frame(0x89, &[0xFF; 125]),
        rest.clone(),
        frame(0x8A, b"pong"),
        frame(0x89, b""),
    ];
    let (texts, forward, pings) = answering(&frames);
    assert_eq!(texts, ["text"]);
    assert_eq!(forward, [half, rest, frame(0x8A, b"pong")].concat());
    assert_eq!(pings, [b"one".to_vec(), vec![0xFF; 125], Vec::new()]);
}

#[test]
fn pings_that_break_the_protocol_are_the_library_s_affair() {
    for odd in [
        frame(0x09, b"a part"),
        frame(0xC9, b"reserved"),
        [&[0x89, 0x7E, 0, 126][..], &[b'x'; 126]].concat(),
        [&[0x89, 0x81, 1, 2, 3, 4][..], b"x"].concat(),
    ] {
        let after = frame(0x89, b"later");
        let (_, forward, pings) = answering(&[odd.clone(), after.clone()]);
        assert_eq!(forward, [odd, after].concat());
        assert_eq!(pings, Vec::<Vec<u8>>::new());
    }
    let close = frame(0x88, b"");
    let (_, forward, pings) = answering(&[close.clone(), frame(0x89, b"after Close")]);
    assert_eq!(forward, [close, frame(0x89, b"after Close")].concat());
    assert_eq!(pings, Vec::<Vec<u8>>::new());
}

#[test]
fn of_a_flood_of_pings_the_first_ones_and_the_newest_are_kept() {
    let frames: Vec<_> = (0..200_u8).map(|number| frame(0x89, &[number])).collect();
    let (_, _, pings) = answering(&frames);
    assert_eq!(pings.len(), 64);
    assert_eq!(pings[62..], [vec![62], vec![199]]);
}

#[test]
fn never_begins_without_a_101() {
    for reply in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\n\r\n",
        "HTTP/1.1 1010 X\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\n\r\n",
        "HTTP/2 101 X\r\n\r\n",
        "HTTP/1.! 101 X\r\n\r\n",
        "HTTP/1. 101 X\r\n\r\n",
        "HTTP/1.1 101\tX\r\n\r\n",
        "\r\n\r\n",
        "\n\n",
        "http/1.1 101 X\r\n\r\n",
        "HTTP/1.1  101 X\r\n\r\n",
    ] {
        let stream = [reply.as_bytes(), &text_frame("x")].concat();
        let (out, state) = tap([&stream[..]]);
        assert_eq!((out.texts.len(), &out.forward), (0, &stream), "{reply:?}");
        assert!(state.surrendered());
        assert_eq!(out, split(&stream, MAX));
    }
}

#[test]
fn the_head_ends_where_h11_ends_it() {
    for reply in [
        "HTTP/1.1 101 X\n\n",
        "HTTP/1.0 101\r\nA: b\n\r\n",
        "HTTP/1.1 101 X\r\n\n",
    ] {
        let stream = [reply.as_bytes(), &text_frame("x")].concat();
        let (out, _) = tap(stream.chunks(1));
        assert_eq!(
            (out.texts, out.forward),
            (vec!["x".to_owned()], reply.as_bytes().to_vec())
        );
    }
    let endless = [&b"HTTP/1.1 101 X\r\n"[..], &vec![b'a'; 70_000]].concat();
    let (out, state) = tap([&endless[..]]);
    assert_eq!(out.forward, endless);
    assert!(state.surrendered());
}

#[test]
fn fragmented_messages_are_handed_on_whole() {
    let frames = [
        frame(0x01, b"fragm"),
        frame(0x89, b""),
        frame(0x00, b"en"),
        frame(0x80, b"ted"),
        text_frame("after"),
        frame(0x02, b"bin"),
        frame(0x80, b""),
        text_frame("too"),
    ];
    let (texts, forward, surrendered) = after_reply(&frames);
    assert_eq!(texts, ["after", "too"]);
    assert_eq!(
        forward,
        [&frames[..4].concat()[..], &frames[5..7].concat()].concat()
    );
    assert!(!surrendered);
}

#[test]
fn violations_hand_everything_on_for_good() {
    let long = "x".repeat(200);
    let mut not_shortest = vec![0x81, 126, 0, 5];
    not_shortest.extend(b"hello");
    let mut not_shortest_64 = vec![0x81, 127, 0, 0, 0, 0, 0, 0, 0, 200];
    not_shortest_64.extend(long.as_bytes());
    let mut masked = vec![0x81, 0x85, 1, 2, 3, 4];
    masked.extend(b"hello");
    for (name, violation) in [
        ("reserved bit", vec![frame(0xC1, b"x")]),
        ("reserved bit of a ping", vec![frame(0x99, b"x")]),
        ("mask", vec![masked]),
        ("reserved opcode", vec![frame(0x83, b"x")]),
        ("reserved control opcode", vec![frame(0x8B, b"x")]),
        ("length of two bytes", vec![not_shortest]),
        ("length of eight bytes", vec![not_shortest_64]),
        (
            "length over 63 bits",
            vec![vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]],
        ),
        (
            "text inside a fragmented message",
            vec![frame(0x01, b"a"), text_frame("b")],
        ),
        (
            "binary inside a fragmented message",
            vec![frame(0x02, b"a"), frame(0x82, b"b")],
        ),
        ("continuation of nothing", vec![frame(0x80, b"a")]),
        ("long ping", vec![frame(0x89, &[0; 126])]),
        ("fragmented ping", vec![frame(0x09, b"a")]),
        ("close", vec![frame(0x88, b"\x03\xe8")]),
        ("invalid UTF-8", vec![frame(0x81, b"a\xff")]),
        ("cut UTF-8", vec![frame(0x81, b"a\xf0\x9f\x98")]),
        ("surrogate", vec![frame(0x81, b"\xed\xa0\x80")]),
    ] {
        let frames = [
            vec![text_frame("before")],
            violation,
            vec![text_frame("after")],
        ]
        .concat();
        let (texts, forward, surrendered) = after_reply(&frames);
        assert_eq!(texts, ["before"], "{name}");
        assert_eq!(forward, frames[1..].concat(), "{name}");
        assert!(surrendered, "{name}");
    }
}

#[test]
fn what_is_over_the_cap_is_handed_on_and_no_more() {
    let (cap, over) = ("x".repeat(MAX), "x".repeat(MAX + 1));
    let (texts, forward, surrendered) =
        after_reply(&[text_frame(&cap), text_frame(&over), text_frame("next")]);
    assert_eq!(texts, [&cap, "next"]);
    assert_eq!(forward, text_frame(&over));
    assert!(!surrendered);
}

#[test]
fn invalid_text_is_handed_on_at_its_first_wrong_byte() {
    let bad = frame(
        0x81,
        b"a\xf0\x90\xff then much more text that has not come yet",
    );
    let upto = 2 + 4;
    let mut state = FrameSplitter::new(MAX);
    let mut forward = Vec::new();
    state.receive(SWITCHING, &mut forward, &mut |_| ());
    forward.clear();
    state.receive(&bad[..upto - 1], &mut forward, &mut |_| ());
    assert!(forward.is_empty());
    state.receive(&bad[upto - 1..upto], &mut forward, &mut |_| ());
    assert_eq!(forward, &bad[..upto]);
}

#[test]
fn a_large_frame_in_small_pieces_is_not_quadratic() {
    let size = 8 << 20;
    let stream = [SWITCHING, &text_frame(&"\u{e9}".repeat(size / 2))].concat();
    let mut state = FrameSplitter::new(size);
    let (mut forward, mut seen) = (Vec::new(), 0);
    // 130,000 pieces; looking through all that waits at each of them would take minutes.
    for chunk in stream.chunks(63) {
        state.receive(chunk, &mut forward, &mut |text| seen += text.len());
    }
    assert_eq!((seen, &forward[..]), (size, SWITCHING));
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[ -~]{0,40}".prop_map(String::into_bytes),
        2 => "[a\u{e9}\u{20ac}\u{1f600}]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (120_usize..140).prop_map(|length| vec![b'y'; length]),
        1 => (MAX - 5..MAX + 5).prop_map(|length| vec![b'x'; length]),
    ]
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => Just(0x81_u8),
        3 => Just(0x01),
        3 => Just(0x00),
        6 => Just(0x80),
        2 => Just(0x89),
        2 => Just(0x8A),
        2 => Just(0x82),
        1 => Just(0x02),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    (first, any_payload()).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_stream_cut_anywhere_is_split_as_the_reference_splits_it(
        frames in prop::collection::vec(any_frame(), 0..12),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        flip in prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0_u8..8)),
        truncate in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut stream = [SWITCHING, &frames.concat()].concat();
        if let Some((place, bit)) = flip {
            let at = place.index(stream.len());
            stream[at] ^= 1 << bit;
        }
        if let Some(place) = truncate {
            stream.truncate(place.index(stream.len()));
        }
        let (out, _) = tap(cut(&stream, &places));
        prop_assert_eq!(&out, &split(&stream, MAX));
        let (sliced, state) = tap(stream.chunks(1));
        prop_assert_eq!(&sliced, &out);
        prop_assert_eq!(state.counts().bytes, stream.len() as u64);
        prop_assert_eq!(state.counts().tapped, out.texts.len() as u64);
    }
}
