"""Whose candles a store holds, and of which format it is: known before any read or write."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from krakked._errors import StoreCorruptError, StoreError, StoreExchangeError, StoreVersionError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.layout import FORMAT_VERSION
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]
Use = Callable[[OHLCStore], object]
OLD_STORE = Path(__file__).parent / "vectors" / "version_1"
"""A store of format 1: partitions, coverage and a journal; see the README beside it."""
START = 1_793_491_200


def bar(minute: int = 0) -> OHLCBar:
    return OHLCBar(START + 60 * minute, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)


def record_of(root: Path) -> dict[str, object]:
    return json.loads((root / ".krakked" / "store.json").read_bytes())


def write_record(root: Path, **fields: object) -> None:
    path = root / ".krakked" / "store.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields), encoding="utf-8")


def tree(root: Path) -> dict[str, bytes]:
    """Every file's content, locks aside: what a refused call must leave alone."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.parent.name != "locks"
    }


USES: dict[str, Use] = {
    "get_bars": lambda s: s.get_bars("XBTUSD", "1m"),
    "get_columns": lambda s: s.get_columns("XBTUSD", "1m", provisional=True),
    "last_closed": lambda s: s.last_closed("XBTUSD", "1m"),
    "first_stored": lambda s: s.first_stored("XBTUSD", "1m"),
    "coverage": lambda s: s.coverage("XBTUSD", "1m"),
    "gaps": lambda s: s.gaps("XBTUSD", "1m"),
    "series": lambda s: s.series(),
    "append_bars": lambda s: s.append_bars("XBTUSD", "1m", [bar(7)]),
    "append_provisional": lambda s: s.append_provisional("1m", [("XBTUSD", bar(8))]),
    "fold_journal": lambda s: s.fold_journal(),
    "verify": lambda s: s.verify(),
    "repair": lambda s: s.repair(),
    "compact": lambda s: s.compact(),
    "snapshot": lambda s: s.snapshot(s.root.with_name("copy")),
}


@pytest.mark.parametrize("backend", ["parquet", "csv"])
def test_the_first_write_says_whose_store_it_is(tmp_path: Path, backend: str) -> None:
    store = OHLCStore(tmp_path, backend=backend, exchange="sandbox-7")
    assert store.get_bars("XBTUSD", "1m") == []
    assert not (tmp_path / ".krakked").exists()
    store.append_bars("XBTUSD", "1m", [bar()])
    assert record_of(tmp_path) == {
        "version": 2,
        "backend": backend,
        "exchange": "sandbox-7",
    }
    again = OHLCStore(tmp_path, backend=backend, exchange="sandbox-7")
    assert again.get_bars("XBTUSD", "1m") == [bar()]


def test_the_first_live_bar_says_so_too(tmp_path: Path) -> None:
    OHLCStore(tmp_path, exchange="kraken").append_provisional("1m", [("XBTUSD", bar())])
    assert record_of(tmp_path)["exchange"] == "kraken"
    with pytest.raises(StoreExchangeError):
        OHLCStore(tmp_path, exchange="sandbox-7")


def test_the_record_is_durable_before_the_first_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    store = OHLCStore(tmp_path, exchange="sandbox-7")
    monkeypatch.setattr("krakked._market.store.series_files.SeriesFiles.apply", killed)
    with pytest.raises(KeyboardInterrupt):
        store.append_bars("XBTUSD", "1m", [bar()])
    assert not list((tmp_path / "bars").rglob("*.parquet"))
    assert record_of(tmp_path)["exchange"] == "sandbox-7"


@pytest.mark.parametrize(
    ("stored", "asked"), [("kraken", "sandbox-7"), ("sandbox-7", "kraken"), ("kraken", "other:81")]
)
def test_the_store_of_another_exchange_is_refused(tmp_path: Path, stored: str, asked: str) -> None:
    root = tmp_path / "ohlc"
    OHLCStore(root, exchange=stored).append_bars("XBTUSD", "1m", [bar()])
    before = tree(tmp_path)
    with pytest.raises(StoreExchangeError) as caught:
        OHLCStore(root, exchange=asked)
    assert (caught.value.stored, caught.value.asked) == (stored, asked)
    assert caught.value.path == str(root)
    for word in (str(root), stored, asked, "root_dir"):
        assert word in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("use", USES)
def test_a_store_that_another_exchange_took_meanwhile_is_refused(tmp_path: Path, use: str) -> None:
    root = tmp_path / "ohlc"
    late = OHLCStore(root, exchange="sandbox-7")
    assert late.get_bars("XBTUSD", "1m") == []
    first = OHLCStore(root, exchange="kraken")
    first.append_bars("XBTUSD", "1m", [bar()])
    first.append_provisional("1m", [("XBTUSD", bar(1))])
    before = tree(tmp_path)
    with pytest.raises(StoreExchangeError, match=r"kraken.*sandbox-7"):
        USES[use](late)
    assert tree(tmp_path) == before


def test_who_claims_nothing_reads_any_store_and_takes_none(tmp_path: Path) -> None:
    OHLCStore(tmp_path / "a", exchange="sandbox-7").append_bars("XBTUSD", "1m", [bar()])
    looking = OHLCStore(tmp_path / "a")
    assert looking.get_bars("XBTUSD", "1m") == [bar()]
    looking.append_bars("XBTUSD", "1m", [bar(1)], source=Source.ARCHIVE)
    assert record_of(tmp_path / "a")["exchange"] == "sandbox-7"
    OHLCStore(tmp_path / "b").append_bars("XBTUSD", "1m", [bar()], source=Source.ARCHIVE)
    assert record_of(tmp_path / "b")["exchange"] is None
    reader = OHLCStore(tmp_path / "b", exchange="kraken")
    assert reader.get_bars("XBTUSD", "1m") == [bar()]
    assert record_of(tmp_path / "b")["exchange"] is None  # reading claims nothing
    reader.append_bars("XBTUSD", "1m", [bar(1)])
    assert record_of(tmp_path / "b")["exchange"] == "kraken"
    with pytest.raises(StoreExchangeError):
        OHLCStore(tmp_path / "b", exchange="sandbox-7")


@pytest.mark.parametrize("use", USES)
def test_a_newer_format_is_neither_read_nor_written(tmp_path: Path, use: str) -> None:
    root = tmp_path / "ohlc"
    OHLCStore(root).append_bars("XBTUSD", "1m", [bar()])
    store = OHLCStore(root)
    newer = FORMAT_VERSION + 1
    write_record(root, version=newer, something="else")
    before = tree(tmp_path)
    with pytest.raises(StoreVersionError, match="Upgrade krakked") as caught:
        OHLCStore(root, exchange="kraken")
    assert caught.value.version == newer
    assert caught.value.path == str(root / ".krakked" / "store.json")
    with pytest.raises(StoreVersionError):
        USES[use](store)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\x00\x00",
        '{"version":2}',
        '{"version":0,"backend":"parquet","exchange":null}',
        '{"version":"2","backend":"parquet","exchange":null}',
        '{"version":2,"backend":"parquet","exchange":""}',
        '{"version":2,"backend":"parquet","exchange":7}',
    ],
)
def test_a_damaged_record_is_refused_and_mended(tmp_path: Path, text: str) -> None:
    root = tmp_path / "ohlc"
    OHLCStore(root, exchange="sandbox-7").append_bars("XBTUSD", "1m", [bar()])
    (root / ".krakked" / "store.json").write_text(text)
    store = OHLCStore(root, exchange="sandbox-7")
    for name in sorted(USES.keys() - {"verify", "repair"}):
        with pytest.raises(StoreCorruptError, match="krakked store repair"):
            USES[name](store)
    assert [Path(finding.path).name for finding in store.verify()] == ["store.json"]
    store.repair()
    assert store.verify() == []
    assert store.get_bars("XBTUSD", "1m") == [bar()]
    assert record_of(root)["exchange"] == "sandbox-7"
    (kept,) = (root / ".krakked" / "quarantine").iterdir()
    assert kept.read_text() == text


def test_a_record_names_the_file_format_even_where_no_file_is_left(tmp_path: Path) -> None:
    OHLCStore(tmp_path).append_bars("XBTUSD", "1m", [bar()])
    shutil.rmtree(tmp_path / "bars")
    with pytest.raises(StoreError, match=r"holds parquet files.*backend to parquet"):
        OHLCStore(tmp_path, backend="csv")


def test_a_snapshot_is_a_store_of_the_same_exchange(tmp_path: Path) -> None:
    store = OHLCStore(tmp_path / "ohlc", exchange="sandbox-7")
    store.append_bars("XBTUSD", "1m", [bar()])
    store.snapshot(tmp_path / "copy")
    assert record_of(tmp_path / "copy") == record_of(tmp_path / "ohlc")
    with pytest.raises(StoreExchangeError):
        OHLCStore(tmp_path / "copy", exchange="kraken")


def test_two_exchanges_that_begin_at_once_never_share_a_root(tmp_path: Path) -> None:
    for number in range(20):
        root = tmp_path / str(number)
        start = threading.Barrier(2)
        said: list[str] = []

        def begin(
            name: str,
            root: Path = root,
            start: threading.Barrier = start,
            said: list[str] = said,
        ) -> None:
            store = OHLCStore(root, exchange=name)
            start.wait(10)
            try:
                store.append_bars(name.upper(), "1m", [bar()])
            except StoreExchangeError:
                said.append("refused")
            else:
                said.append(name)

        threads = [threading.Thread(target=begin, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        owner = str(record_of(root)["exchange"])
        assert sorted(said) == sorted([owner, "refused"])
        assert OHLCStore(root).series() == [(owner.upper(), "1m")]


def test_the_lock_of_the_record_guards_its_temp(tmp_path: Path) -> None:
    OHLCStore(tmp_path).append_bars("XBTUSD", "1m", [bar()])
    left = tmp_path / ".krakked" / "tmp" / "root~77-0.tmp"
    left.touch()
    OHLCStore(tmp_path)
    assert not left.exists()
    assert not (tmp_path / ".krakked" / "locks" / "root~77-0.tmp.lock").exists()


# --- a store of version 1 ------------------------------------------------------------------------


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_STORE, tmp_path / "ohlc"))


def test_a_store_of_version_1_is_read_as_it_is(old_store: Path, make_bars: Make) -> None:
    before = tree(old_store)
    store = OHLCStore(old_store, exchange="kraken")
    assert store.get_bars("XBTUSD", "1m") == make_bars(40)
    assert store.get_bars("XBTUSD", "1m", provisional=True) == make_bars(43)
    assert store.verify() == []
    assert tree(old_store) == before


def test_a_store_of_version_1_is_taken_for_krakens(
    old_store: Path, make_bars: Make, caplog: pytest.LogCaptureFixture
) -> None:
    before = tree(old_store)
    with pytest.raises(StoreExchangeError, match=r"did not note.*kraken.*sandbox-7") as caught:
        OHLCStore(old_store, exchange="sandbox-7")
    assert caught.value.stored == "kraken"
    assert tree(old_store) == before
    with caplog.at_level(logging.WARNING, logger="krakked.store"):
        OHLCStore(old_store).append_bars("ETHUSD", "1m", make_bars(1))
    assert record_of(old_store)["exchange"] == "kraken"
    assert [r.message for r in caplog.records] == [caplog.records[0].message]
    assert "sandbox" in caplog.records[0].message


def test_compact_gives_a_store_of_version_1_its_record(old_store: Path, make_bars: Make) -> None:
    OHLCStore(old_store, exchange="kraken").compact()
    assert record_of(old_store) == {
        "version": FORMAT_VERSION,
        "backend": "parquet",
        "exchange": "kraken",
    }
    store = OHLCStore(old_store, exchange="kraken")
    assert store.get_bars("XBTUSD", "1m", provisional=True) == make_bars(43)
    assert store.verify() == []


def test_a_store_of_version_1_keeps_to_its_files(old_store: Path, make_bars: Make) -> None:
    with pytest.raises(StoreError, match=r"holds parquet files.*backend to parquet"):
        OHLCStore(old_store, backend="csv")
    shutil.rmtree(old_store / ".krakked")
    with pytest.raises(StoreError, match="holds parquet files"):
        OHLCStore(old_store, backend="csv")
    with pytest.raises(StoreExchangeError):
        OHLCStore(old_store, exchange="sandbox-7")
    assert OHLCStore(old_store).get_bars("XBTUSD", "1m") == make_bars(40)
    shutil.rmtree(old_store / "bars" / "timeframe=1m")
    next((old_store / "bars").rglob("*.parquet")).unlink()
    OHLCStore(old_store, backend="csv", exchange="sandbox-7")  # an empty directory is no store


@pytest.mark.parametrize("kept", ["journal", "coverage"])
def test_a_store_of_version_1_without_partitions_is_none_the_less_one(
    old_store: Path, kept: str
) -> None:
    shutil.rmtree(old_store / "bars")
    for name in {"journal", "coverage"} - {kept}:
        shutil.rmtree(old_store / ".krakked" / name)
    with pytest.raises(StoreExchangeError):
        OHLCStore(old_store, exchange="sandbox-7")
    OHLCStore(old_store, exchange="kraken")
