//! What the exchange said that needs a reaction, as Python matches it.

use krakked_core::connection;
use pyo3::prelude::*;

/// One event: `WireEvent.Status` and so on, see `_core.pyi`.
#[pyclass(frozen, eq, module = "krakked._core")]
#[derive(Debug, PartialEq)]
pub(crate) enum WireEvent {
    Status {
        system: String,
        connection_id: Option<u64>,
        raw_json: String,
    },
    Pong {
        req_id: Option<u64>,
    },
    Subscribed {
        channel: Option<String>,
        symbol: Option<String>,
        interval: Option<u64>,
        req_id: Option<u64>,
        warnings: Vec<String>,
    },
    Unsubscribed {
        channel: Option<String>,
        symbol: Option<String>,
        interval: Option<u64>,
        req_id: Option<u64>,
    },
    Refused {
        method: String,
        channel: Option<String>,
        symbol: Option<String>,
        interval: Option<u64>,
        req_id: Option<u64>,
        error: String,
    },
    TickerSnapshot {
        symbol: String,
    },
    OhlcSnapshot {
        symbol: String,
        interval: u32,
        oldest_s: i64,
        newest_s: i64,
        gateway_ns: Option<i64>,
    },
    Instrument {
        snapshot: bool,
        raw_json: String,
    },
    Malformed {
        reason: String,
        sample: String,
    },
    Other {
        name: String,
    },
}

#[pymethods]
impl WireEvent {
    fn __repr__(&self) -> String {
        format!("{self:?}")
    }
}

impl From<connection::WireEvent> for WireEvent {
    fn from(event: connection::WireEvent) -> Self {
        use connection::WireEvent as Told;
        match event {
            Told::Status(system, connection_id, raw_json) => Self::Status {
                system,
                connection_id,
                raw_json,
            },
            Told::Pong(req_id) => Self::Pong { req_id },
            Told::Subscribed(subject, warnings) => Self::Subscribed {
                channel: subject.channel,
                symbol: subject.symbol,
                interval: subject.interval,
                req_id: subject.req_id,
                warnings,
            },
            Told::Unsubscribed(subject) => Self::Unsubscribed {
                channel: subject.channel,
                symbol: subject.symbol,
                interval: subject.interval,
                req_id: subject.req_id,
            },
            Told::Refused(method, subject, error) => Self::Refused {
                method,
                channel: subject.channel,
                symbol: subject.symbol,
                interval: subject.interval,
                req_id: subject.req_id,
                error,
            },
            Told::TickerSnapshot(symbol) => Self::TickerSnapshot {
                symbol: symbol.as_ref().into(),
            },
            Told::OhlcSnapshot(symbol, interval, oldest_s, newest_s, gateway_ns) => {
                Self::OhlcSnapshot {
                    symbol: symbol.as_ref().into(),
                    interval,
                    oldest_s,
                    newest_s,
                    gateway_ns,
                }
            }
            Told::Instrument(snapshot, raw_json) => Self::Instrument { snapshot, raw_json },
            Told::Malformed(reason, sample) => Self::Malformed {
                reason: reason.to_string(),
                sample,
            },
            Told::Other(name) => Self::Other { name },
        }
    }
}
