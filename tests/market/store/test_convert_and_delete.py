"""A series taken out for good, and a store written in the other format."""

from __future__ import annotations

from pathlib import Path

import pytest

from krakked._errors import StoreError, StoreExchangeError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store.ohlc_store import OHLCStore

START_S = 1_793_491_200 - 5 * 60  # five minutes before a month ends


def bar(minute: int) -> OHLCBar:
    return OHLCBar(START_S + 60 * minute, 1.1, 2.2, 0.3, 1.7, 1.2, 0.1 + minute / 7, 4)


def loose_bar(minute: int) -> OHLCBar:
    return OHLCBar(START_S + 60 * minute, 1.1, 2.2, 0.3, 1.7, None, 1 / 3, 4)


def filled(root: Path, backend: str = "parquet") -> OHLCStore:
    store = OHLCStore(root, backend=backend, exchange="kraken")
    span = (START_S, START_S + 600)
    store.append_bars("XBTUSD", "1m", [bar(i) for i in (0, 1, 4, 9)], covered=span)
    store.append_bars("XBTUSD", "1m", [loose_bar(12)], source=Source.PARTIAL)
    store.mark_unavailable("XBTUSD", "1m", [(START_S + 780, START_S + 900)])
    store.append_bars("AAPLxUSD", "1h", [OHLCBar(1_793_491_200, 1, 2, 1, 2, None, 3, 1)])
    store.append_provisional("1m", [("ETHUSD", bar(20))])
    return store


def told(store: OHLCStore) -> list[object]:
    return [
        [
            (pair, label),
            store.get_columns(pair, label, provisional=True).to_pylist(),
            store.coverage(pair, label),
            store.unavailable(pair, label),
            store.gaps(pair, label),
        ]
        for pair, label in store.series()
    ]


@pytest.mark.parametrize(("first", "second"), [("parquet", "csv"), ("csv", "parquet")])
def test_a_converted_store_tells_the_same(tmp_path: Path, first: str, second: str) -> None:
    with filled(tmp_path / "one", first) as store:
        bars = store.convert(tmp_path / "two", second)
        expected = told(store)
    assert bars == 10 + 1 + 1  # six without trades are filled in; the loose one lies beside
    with OHLCStore(tmp_path / "two", backend=second) as other:
        assert other.verify() == []
        assert told(other) == expected
        assert other.convert(tmp_path / "three", first) == bars
    with pytest.raises(StoreExchangeError):
        OHLCStore(tmp_path / "two", backend=second, exchange="another").series()
    with OHLCStore(tmp_path / "three", backend=first) as back:
        assert told(back) == expected


def test_no_store_is_written_over_another(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as store:
        (tmp_path / "two").mkdir()
        with pytest.raises(StoreError, match="exists already"):
            store.convert(tmp_path / "two", "csv")
        with pytest.raises(StoreError, match="Use parquet or csv"):
            store.convert(tmp_path / "three", "sql")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_store_that_is_damaged_is_not_converted(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as store:
        store.partitions("XBTUSD", "1m")[0].write_bytes(b"PAR1 torn")
        with pytest.raises(StoreError, match="krakked store repair"):
            store.convert(tmp_path / "two", "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_deleted_series_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as store:
        store.append_provisional("1m", [("XBTUSD", bar(30))])
        assert store.delete("XBTUSD", "1m") == 2
        assert ("XBTUSD", "1m") not in store.series()
        assert store.get_bars("XBTUSD", "1m", provisional=True) == []
        assert store.coverage("XBTUSD", "1m") == () == store.unavailable("XBTUSD", "1m")
        assert store.gaps("XBTUSD", "1m", START_S, START_S + 60)[0].kind == "missing"
        assert {pair for pair, _ in store.series()} == {"AAPLxUSD", "ETHUSD"}
        assert store.delete("XBTUSD", "1m") == 0
        assert store.verify() == []
        store.append_bars("XBTUSD", "1m", [bar(3)])
    with OHLCStore(tmp_path / "one") as again:
        assert again.get_bars("XBTUSD", "1m") == [bar(3)]


def test_deletion_killed_in_between_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "one") as store:
        from krakked._market.store import removal

        real, left = removal.remove, [2]

        def dying(path: Path) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            real(path)

        monkeypatch.setattr(removal, "remove", dying)
        with pytest.raises(KeyboardInterrupt):
            store.delete("XBTUSD", "1m")
        monkeypatch.undo()
        assert store.verify() == []
        assert store.coverage("XBTUSD", "1m") == ()
        assert store.delete("XBTUSD", "1m") == 2


def test_a_strangers_file_is_left_where_it_is(tmp_path: Path) -> None:
    with filled(tmp_path / "one") as store:
        note = store.partitions("XBTUSD", "1m")[0].with_name("notes.txt")
        note.write_text("mine")
        store.delete("XBTUSD", "1m")
        assert note.read_text() == "mine"
