"""The store's files as Polars and DuckDB read them: lazily, where they lie.

The files stay as they are. A column `timestamp` is worked out on reading: files of one folder with
and without such a column would break both readers.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from krakked._config.loader import load_config
from krakked._errors import StoreError, UnknownPairError
from krakked._market.arguments import one_of
from krakked._market.bars import Source
from krakked._market.store.arrow import library_of
from krakked._market.store.configured import configured_store
from krakked._market.store.ohlc_store import OHLCStore
from krakked._public import public
from krakked._timeframes import Timeframe, parse_timeframe

if TYPE_CHECKING:
    from krakked._config.settings import KrakkedConfig


@public
def scan(
    pair: str,
    timeframe: Timeframe,
    as_: Literal["polars", "duckdb"] = "polars",
    *,
    store: OHLCStore | None = None,
    config: KrakkedConfig | None = None,
    provisional: bool = False,
) -> Any:  # noqa: ANN401 - one of two libraries' types
    """Read stored candles lazily, without taking them into memory: a year of minutes, say.

    Columns: those of `OHLCBar` in their order, `source` (see `Source`), and `timestamp`, the open
    time as a timestamp in UTC. Oldest first. What the live stream has closed is there once it was
    folded: hourly, and when the client is closed.

    Args:
        pair: Canonical name, such as ``XBTUSD``.
        timeframe: ``1m``, ``1h``, ...
        as_: ``polars`` gives a `polars.LazyFrame`, ``duckdb`` a `duckdb.DuckDBPyRelation` of the
            default connection.
        store: Where; None = the store of the settings.
        config: Settings; read from config.yaml by default.
        provisional: Whether candles count that only the live stream has reported.

    Raises:
        UnknownTimeframeError: No such timeframe.
        UnknownPairError: Nothing of the pair is stored in this timeframe.
        StoreError: The library is not installed, or the store is kept as CSV.
        StoreExchangeError: The store is another exchange's.
        ConfigError: `as_` is neither; its `key` says so.
    """
    parse_timeframe(timeframe)
    one_of(as_, "as_", ("polars", "duckdb"))
    library = library_of(as_, ("polars", "duckdb"))
    if store is None:
        with configured_store(load_config() if config is None else config) as opened:
            files = _files(opened, pair, timeframe)
    else:
        files = _files(store, pair, timeframe)
    weakest = Source.PARTIAL if provisional else Source.WEBSOCKET
    if as_ == "polars":
        frame = library.scan_parquet([str(file) for file in files], glob=False)
        stamp = library.from_epoch("time", time_unit="s").dt.replace_time_zone("UTC")
        return frame.filter(library.col("source") > int(weakest)).with_columns(timestamp=stamp)
    relation = library.read_parquet(
        [_literal(file) for file in files],
        hive_partitioning=False,  # the folders' names would become columns
    )
    chosen = relation.filter(f"source > {int(weakest)}").order("time")
    return chosen.project("*, to_timestamp(time) AS timestamp")


def _files(store: OHLCStore, pair: str, timeframe: Timeframe) -> list[Path]:
    if store.backend != "parquet":
        raise StoreError(
            f"The store in {store.root} is kept as {store.backend}; only Parquet is read like "
            "this. `krakked export` writes Parquet out of any.",
            path=str(store.root),
        )
    files = store.partitions(pair, timeframe)
    if files:
        return files
    stored = sorted({name for name, label in store.series() if label == timeframe})
    near = difflib.get_close_matches(str(pair), stored, 1)
    hint = f" Did you mean {near[0]}?" if near else " `krakked store check` lists what is."
    raise UnknownPairError(
        f"Nothing of {pair!r:.60} {timeframe} is stored in {store.root}.{hint}",
        pair=str(pair),
        suggestion=near[0] if near else None,
    )


def _literal(file: Path) -> str:
    """Write a path so that DuckDB takes no character of it for a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(file))
