"""Files and frames whose bytes were changed by somebody: no decoder lets its own errors out."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from krakked._cli.universe import saved_names
from krakked._credentials.payload import read_validated_at
from krakked._errors import KrakkedError
from krakked._market.bars import OHLCBar, Source
from krakked._market.history.import_record import ImportRecord
from krakked._market.store import coverage, journal_frames, root_record
from krakked._market.store.ohlc_store import OHLCStore
from krakked._market.stream.notices import read_notices
from krakked._market.stream.symbols import decode_instrument
from krakked._market.universe import build_universe
from krakked._market.universe_source import COPY_NAME
from krakked._rest.endpoints import OHLCRow
from krakked._rest.reply import decode_result, read_envelope

PAIRS = b'{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD"}}'
BAR = OHLCBar(1_793_491_200, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)


class Kind(NamedTuple):
    """One place where bytes of others are decoded."""

    sample: bytes
    decode: Callable[[bytes, Path], Any]
    errors: tuple[type[Exception], ...]
    """What it may raise."""


def _universe_copy(data: bytes, directory: Path) -> None:
    (directory / COPY_NAME).write_bytes(data)
    saved_names(directory)


def _import_record(data: bytes, directory: Path) -> None:
    store = OHLCStore(directory)
    (directory / ".krakked").mkdir(exist_ok=True)
    (directory / ".krakked" / "imports.jsonl").write_bytes(data)
    ImportRecord(store)


def _coverage(body: bytes, _: Path) -> None:
    data = body + b"\n%08x\n" % zlib.crc32(body)
    coverage.version(data)
    coverage.decode(data)


def _reply(data: bytes, _: Path) -> None:
    envelope = read_envelope(data, "OHLC")
    decode_result(envelope, dict[str, list[OHLCRow] | int], "OHLC")


KINDS: dict[str, Kind] = {
    "the last good copy of the universe": Kind(
        b'{"version":1,"saved_at_s":1.5,"asset_pairs":' + PAIRS + b',"ticker":null}',
        _universe_copy,
        (),
    ),
    "a list of pairs": Kind(PAIRS, lambda data, _: build_universe(data), (KrakkedError,)),
    "coverage": Kind(
        coverage.encode(coverage.Coverage().with_ranges(Source.REST, [(0, 60)])).split(b"\n")[0],
        _coverage,
        (ValueError, KeyError),  # `maintenance.read_coverage` makes a StoreCorruptError of both
    ),
    "the record of a store": Kind(
        b'{"version":2,"backend":"parquet","exchange":"kraken"}',
        root_record.decode,
        (KrakkedError,),
    ),
    "the record of imports": Kind(
        b'{"name":"a","size_bytes":1,"mark":"m","pair":"XBTUSD",'
        b'"parts":[{"timeframe":"1m","start_s":0,"end_s":60}]}',
        _import_record,
        (),
    ),
    "a payload of the journal": Kind(
        journal_frames.encode([("XBTUSD", BAR)]), lambda data, _: journal_frames.decode(data), ()
    ),
    "a status frame": Kind(
        b'{"upcoming_maintenance":[{"service":["spot"],"title":"t"}],"emergency":[]}',
        lambda data, _: read_notices(data),
        (),
    ),
    "an instrument frame": Kind(
        b'{"pairs":[{"symbol":"BTC/USD","status":"online"}]}',
        lambda data, _: decode_instrument(data),
        (),
    ),
    "what the vault seals": Kind(
        b'{"schema":1,"api_key":"a","api_secret":"b","validated_at":1}',
        lambda data, _: read_validated_at(bytearray(data)),
        (KrakkedError,),
    ),
    "an answer of REST": Kind(
        b'{"error":[],"result":{"XXBTZUSD":[[1,"1","1","1","1","1","1",1]],"last":1}}',
        _reply,
        (KrakkedError,),
    ),
}


def changed(sample: bytes) -> Iterator[bytes]:
    """Give the sample with every kind of change at every place."""
    for at in range(len(sample)):
        for put in (b"\xff", b"\x00", b"\xed\xa0\x80", b"\\ud800", b"[" * 3000, b"9" * 400):
            yield sample[:at] + put + sample[at:]
            yield sample[:at] + put + sample[at + 1 :]
        yield sample[:at]
        yield sample[:at] + sample[at + 1 :]
    yield b""
    yield b"\xff\xfe" + sample.decode("latin-1").encode("utf-16-le")
    yield b"\xef\xbb\xbf" + sample


@pytest.mark.parametrize("name", KINDS)
def test_changed_bytes_end_typed_or_in_nothing(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.decode(kind.sample, tmp_path)
    for data in changed(kind.sample):
        with contextlib.suppress(*kind.errors):
            kind.decode(data, tmp_path)


def test_msgspec_alone_would_let_two_errors_through() -> None:
    with pytest.raises(UnicodeDecodeError):
        msgspec.json.decode(b'{"\xff":1}', type=dict[str, msgspec.Raw])
    with pytest.raises(RecursionError):
        msgspec.json.decode(b'{"a":' + b"[" * 200_000, type=msgspec.Raw)
