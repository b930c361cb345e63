//! The pure half of krakked: signing, nonces, and the way from received bytes to the live cache.
//!
//! Nothing here reads a clock, opens a file or touches a socket: bytes and times come in as
//! arguments, so the same input always gives the same state.

#![forbid(unsafe_code)]

pub mod cache;
mod candle;
pub mod candles;
pub mod connection;
pub mod csv_lines;
pub mod decimal;
pub mod frame;
mod id_ranges;
pub mod json;
pub mod malformed;
pub mod message;
pub mod nonce;
pub mod ohlcvt;
mod reply;
pub mod rows;
pub mod series;
mod server_clock;
pub mod sign;
mod source;
mod sums;
pub mod timestamp;
mod trade_marks;
pub mod trades;
pub mod trades_csv;
mod usual;
