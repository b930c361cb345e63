//! The pure half of krakked: signing, nonces, and the way from received bytes to the live cache.
//!
//! Nothing here reads a clock, opens a file or touches a socket: bytes and times come in as
//! arguments, so the same input always gives the same state.

#![forbid(unsafe_code)]

pub mod bell;
pub mod board;
pub mod cache;
pub mod candle_builder;
pub mod connection;
pub mod csv_lines;
pub mod decimal;
mod evidence_source;
mod exact_sum;
mod fast_path;
pub mod frame;
mod growing_candle;
mod id_ranges;
pub mod inbox;
pub mod json;
mod learned_layout;
pub mod malformed;
pub mod message;
pub mod nonce;
pub mod ohlcvt;
pub mod outbox;
pub mod rows;
pub mod series;
pub mod sign;
mod stamped_clock;
pub mod ticker;
pub mod timestamp;
mod trade_marks;
pub mod trades;
pub mod trades_csv;
mod upgrade_head;
