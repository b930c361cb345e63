"""Candles out of the store into a file of another program's form."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from krakked._errors import StoreError
from krakked._files.durable import sync_directory, sync_file
from krakked._market.arguments import one_of

FORMS: Final = {
    "csv": ".csv",
    "parquet": ".parquet",
    "feather": ".feather",
    "freqtrade": ".feather",
}
"""What can be written, and how its files end."""

FREQTRADE_COLUMNS: Final = ("open", "high", "low", "close", "volume")


def file_name(pair: str, timeframe: str, form: str, ws_symbol: str | None = None) -> str:
    """Return how a file is called when nobody says it.

    freqtrade looks for its own: ``BTC_USD-1h.feather``, base and quote by the names that it (and
    Kraken's WebSocket v2) uses.

    A month is ``1Mo``, as freqtrade has it: some file systems take ``1M`` for ``1m``.

    >>> file_name("XBTUSD", "1M", "csv"), file_name("XBTUSD", "1h", "freqtrade", "BTC/USD")
    ('XBTUSD-1Mo.csv', 'BTC_USD-1h.feather')
    """
    name = ws_symbol.replace("/", "_") if form == "freqtrade" and ws_symbol else pair
    return f"{name}-{timeframe.replace('M', 'Mo')}{FORMS[form]}"


def write_file(table: pa.Table, path: Path, form: str, *, replace: bool = False) -> None:
    """Write candles to a file; it is there whole or not at all.

    ``csv``, ``parquet`` and ``feather`` have the columns of the store; ``freqtrade`` has a `date`
    in milliseconds UTC and the five columns that it reads (its `featherdatahandler`).

    Args:
        table: What `OHLCStore.get_columns` gives.
        path: The file.
        form: One of `FORMS`.
        replace: Whether a file that is there may be replaced.

    Raises:
        StoreError: There is a file already, or it could not be written.
        ConfigError: Unknown form.
    """
    one_of(form, "form", list(FORMS))
    if path.is_symlink():
        path = path.resolve()  # the link stays: what it leads to is written
    if path.exists() and not path.is_file():
        raise StoreError(
            f"{path} is no regular file, and what is none is never replaced. Name a file.",
            path=str(path),
        )
    if path.exists() and not replace:
        raise _there_already(path)
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(table, temp, form)
        with temp.open("rb+") as written:
            sync_file(written.fileno())
        _put(temp, path, replace=replace)
        sync_directory(path.parent)
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"{path} could not be written: {_reason(error)}.", path=str(path)
        ) from error
    finally:
        temp.unlink(missing_ok=True)


def _put(temp: Path, path: Path, *, replace: bool) -> None:
    """Give a file its name; one that came meanwhile is not replaced unasked."""
    if not replace:
        try:
            path.hardlink_to(temp)
        except FileExistsError:
            raise _there_already(path) from None
        except OSError:  # a file system without links: one look more has to do
            if path.exists():
                raise _there_already(path) from None
        else:
            return
    temp.replace(path)


def _there_already(path: Path) -> StoreError:
    return StoreError(
        f"{path} is there already. Name another file, or add --force.", path=str(path)
    )


def _reason(error: BaseException) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _write(table: pa.Table, path: Path, form: str) -> None:
    if form == "csv":
        options: Any = pyarrow.csv.WriteOptions(quoting_style="none")
        pyarrow.csv.write_csv(table, path, options)
    elif form == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif form == "feather":
        pyarrow.feather.write_feather(table, str(path), compression="lz4")
    else:
        moments = pc.multiply(table.column("time"), 1_000).cast(pa.timestamp("ms", tz="UTC"))
        columns = {name: table.column(name) for name in FREQTRADE_COLUMNS}
        pyarrow.feather.write_feather(
            pa.table({"date": moments, **columns}), str(path), compression="lz4"
        )
