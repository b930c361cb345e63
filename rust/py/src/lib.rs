//! `krakked._core`: thin Python bindings of `krakked-core`. A table of contents, no logic.

mod buffer;
mod cache;
mod candle_builder;
mod columns;
mod errors;
mod events;
mod lock;
mod nonce;
mod ohlcvt;
mod owner;
#[cfg_attr(not(unix), path = "no_reader.rs")]
mod reader;
mod resampler;
mod rows;
mod signer;
mod tap;

/// The Rust core of krakked; `_core.pyi` is its manual.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::cache::MarketCache;
    #[pymodule_export]
    use crate::candle_builder::CandleBuilder;
    #[pymodule_export]
    use crate::events::WireEvent;
    #[pymodule_export]
    use crate::nonce::NonceSequence;
    #[pymodule_export]
    use crate::ohlcvt::OhlcvtParser;
    #[pymodule_export]
    use crate::reader::SocketReader;
    #[pymodule_export]
    use crate::reader::trust::TlsTrust;
    #[pymodule_export]
    use crate::resampler::Resampler;
    #[pymodule_export]
    use crate::rows::{ClosedCandle, ExactCandle, ExactTicker, LiveCandle, Ticker};
    #[pymodule_export]
    use crate::signer::Signer;
    #[pymodule_export]
    use crate::tap::{FrameSplitter, FrameTap};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::owner::watch_forks();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
