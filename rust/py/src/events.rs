//! Events as tuples; the first item names the kind.

use krakked_core::connection::{Event, Subject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// One event as `_core.pyi` lists them under `take_events`.
pub(crate) fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Status(system, connection_id, raw) => {
            ("status", system, connection_id, raw).into_pyobject(py)
        }
        Event::Pong(req_id) => ("pong", req_id).into_pyobject(py),
        Event::Subscribed(
            Subject {
                channel,
                symbol,
                interval,
                req_id,
            },
            warnings,
        ) => ("subscribed", channel, symbol, interval, req_id, warnings).into_pyobject(py),
        Event::Unsubscribed(Subject {
            channel,
            symbol,
            interval,
            req_id,
        }) => ("unsubscribed", channel, symbol, interval, req_id).into_pyobject(py),
        Event::Refused(
            method,
            Subject {
                channel,
                symbol,
                interval,
                req_id,
            },
            error,
        ) => ("refused", method, channel, symbol, interval, req_id, error).into_pyobject(py),
        Event::TickerSnapshot(symbol) => ("ticker_snapshot", &*symbol).into_pyobject(py),
        Event::OhlcSnapshot(symbol, minutes, oldest_s, newest_s, gateway_ns) => (
            "ohlc_snapshot",
            &*symbol,
            minutes,
            oldest_s,
            newest_s,
            gateway_ns,
        )
            .into_pyobject(py),
        Event::Instrument(snapshot, raw) => (
            "instrument",
            if snapshot { "snapshot" } else { "update" },
            raw,
        )
            .into_pyobject(py),
        Event::Malformed(reason, sample) => {
            ("malformed", reason.to_string(), sample).into_pyobject(py)
        }
        Event::Other(name) => ("other", name).into_pyobject(py),
    }
}
