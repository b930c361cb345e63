//! A million mutated frames: `cargo test --release -p krakked-core --test mutated_million`.
//! Left out of plain `cargo test` (`test = false` in Cargo.toml).

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
fn a_million_mutated_frames_break_nothing() {
    mutation::hold(1_000_000);
}
