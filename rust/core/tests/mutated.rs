//! A quick round of mutated frames; `mutated_million.rs` is the long one.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a failing test is wanted; floats are exact"
)]

#[path = "plain/mutation.rs"]
mod mutation;
mod plain;

use plain::{SWITCHING, cut, frame, ohlc, split, text_frame, ticker};

#[test]
fn mutated_frames_break_nothing() {
    mutation::hold(4_000);
}
