"""The journal of live bars: torn tails, damage, folding, several writers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._errors import StoreError
from krakked._market.bars import OHLCBar, Source
from krakked._market.store import journal_frames
from krakked._market.store.ohlc_store import OHLCStore

Make = Callable[..., list[OHLCBar]]


def entries(bars: list[OHLCBar], *pairs: str) -> list[tuple[str, OHLCBar]]:
    return [(pair, bar) for bar in bars for pair in pairs or ("XBTUSD",)]


def journal_file(root: Path) -> Path:
    return root / ".krakked" / "journal" / "1m.journal"


def live(store: OHLCStore, pair: str = "XBTUSD") -> list[OHLCBar]:
    return store.get_bars(pair, "1m", provisional=True)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_a_torn_tail_is_cut_at_every_byte(payloads: list[bytes], data: st.DataObject) -> None:
    frames = [journal_frames.frame(p) for p in payloads]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    found = journal_frames.scan(whole[:cut])
    ends = [sum(map(len, frames[: i + 1])) for i in range(len(frames))]
    sound = sum(end <= cut for end in ends)
    assert found.payloads == payloads[:sound]
    assert found.end == ([0, *ends][sound])
    assert found.damaged == []


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=2, max_size=6), st.data())
def test_damage_in_the_middle_costs_one_frame(payloads: list[bytes], data: st.DataObject) -> None:
    frames = [journal_frames.frame(p) for p in payloads]
    victim = data.draw(st.integers(0, len(frames) - 2))
    at = data.draw(st.integers(0, len(frames[victim]) * 8 - 1))
    damaged = bytearray(frames[victim])
    damaged[at // 8] ^= 1 << at % 8
    found = journal_frames.scan(b"".join([*frames[:victim], bytes(damaged), *frames[victim + 1 :]]))
    assert found.payloads == payloads[:victim] + payloads[victim + 1 :]
    assert len(found.damaged) == 1


def test_zeros_and_noise_are_no_frames() -> None:
    assert journal_frames.scan(bytes(4096)).payloads == []
    assert journal_frames.scan(b"KJF1" * 100).payloads == []
    for payload in (b"\xc1", b"", b"\x81\x01\x02", b"\x01"):
        assert journal_frames.decode(payload) == ([], 1)


def test_live_bars_are_provisional_until_confirmed(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(10)
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(bars, "XBTUSD", "ETHUSD"))
    assert store.get_bars("XBTUSD", "1m") == []
    assert store.last_closed("XBTUSD", "1m") is None
    assert store.last_closed("XBTUSD", "1m", provisional=True) == bars[-1].time
    assert live(store) == live(store, "ETHUSD") == bars
    confirmed = [OHLCBar(b.time, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1) for b in bars[:4]]
    store.append_bars("XBTUSD", "1m", confirmed)
    assert live(store) == confirmed + bars[4:]
    report = store.fold_journal()
    assert (report.bars, report.series) == (16, 2)
    assert live(store) == confirmed + bars[4:]
    assert store.get_bars("XBTUSD", "1m") == confirmed
    assert store.fold_journal().bars == 0


def test_a_restart_reads_the_journal_and_cuts_its_torn_tail(
    tmp_path: Path, make_bars: Make
) -> None:
    bars = make_bars(3)
    OHLCStore(tmp_path).append_provisional("1m", entries(bars[:1]))
    whole = journal_file(tmp_path).read_bytes()
    OHLCStore(tmp_path).append_provisional("1m", entries(bars[1:2]))
    both = journal_file(tmp_path).read_bytes()
    for cut in range(len(whole), len(both)):
        journal_file(tmp_path).write_bytes(both[:cut])
        again = OHLCStore(tmp_path)
        assert live(again) == bars[:1]
        if cut % 9:
            continue  # the rest of a cut is looked at less often: it costs an fsync
        again.append_provisional("1m", entries(bars[2:]))
        assert live(again) == [bars[0], bars[2]]
        assert again.verify() == []


def test_close_folds_what_this_store_journaled(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(5)
    with OHLCStore(tmp_path) as store:
        store.append_provisional("1m", entries(bars))
    assert list((tmp_path / ".krakked" / "journal").iterdir()) == []
    assert live(OHLCStore(tmp_path)) == bars


def test_a_crash_between_fold_and_removal_doubles_nothing(
    tmp_path: Path, make_bars: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = make_bars(6)
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(bars[:5]))
    newer = OHLCBar(bars[4].time, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9)
    store.append_provisional("1m", [("XBTUSD", newer)])
    folding = store._journals["1m"]
    monkeypatch.setattr(folding, "discard", lambda *_a, **_k: None)  # killed before this
    assert store.fold_journal().bars == 5
    again = OHLCStore(tmp_path)
    assert live(again) == [*bars[:4], newer]
    again.append_provisional("1m", entries(bars[5:]))
    assert live(again) == [*bars[:4], newer, bars[5]]
    assert again.fold_journal().bars == 1
    assert live(again) == [*bars[:4], newer, bars[5]]
    assert list((tmp_path / ".krakked" / "journal").iterdir()) == []


def test_one_unwritable_series_keeps_its_bars_in_the_journal(
    tmp_path: Path, make_bars: Make
) -> None:
    bars = make_bars(4)
    store = OHLCStore(tmp_path)
    store.append_bars("XBTUSD", "1m", bars[:2])
    partition = next((tmp_path / "bars").rglob("*.parquet"))
    sound = partition.read_bytes()
    partition.write_bytes(sound[:100])
    store.append_provisional("1m", entries(bars[2:], "XBTUSD", "ETHUSD"))
    with pytest.raises(StoreError, match="damaged"):
        store.fold_journal()
    assert live(store, "ETHUSD") == bars[2:]
    partition.write_bytes(sound)
    assert live(store) == bars
    assert store.fold_journal().bars == 2
    assert live(store) == bars


def test_two_stores_share_one_journal(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(40)
    one, two = OHLCStore(tmp_path), OHLCStore(tmp_path)
    for index, bar in enumerate(bars):
        (one, two)[index % 2].append_provisional("1m", [("XBTUSD", bar)])
        if index == 25:
            one.fold_journal()
    assert live(one) == live(two) == bars
    two.fold_journal()
    assert live(one) == live(two) == bars


def test_damage_is_found_and_kept_for_people(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(3)
    store = OHLCStore(tmp_path)
    for bar in bars:
        store.append_provisional("1m", [("XBTUSD", bar)])
    data = bytearray(journal_file(tmp_path).read_bytes())
    data[30] ^= 1
    journal_file(tmp_path).write_bytes(data)
    again = OHLCStore(tmp_path)
    assert ["damaged" in finding.problem for finding in again.verify()] == [True]
    assert live(again) == bars[1:]
    again.fold_journal()
    assert live(again) == bars[1:]
    assert len(list((tmp_path / ".krakked" / "quarantine").iterdir())) == 1


def row(bar: OHLCBar, pair: str = "XBTUSD", **other: object) -> tuple[object, ...]:
    """An entry as the journal holds it, with other values where they are given."""
    fields = {name: getattr(bar, name) for name in bar.__struct_fields__}
    return (pair, *{**fields, **other}.values())


UNREADABLE: dict[str, Callable[[OHLCBar], object]] = {
    "a float time": lambda bar: row(bar, time=float(bar.time)),
    "a text": lambda bar: row(bar, close="1.0"),
    "too few fields": lambda bar: row(bar)[:4],
    "no pair": lambda bar: row(bar, pair=None),
    "another shape": lambda _: {"pair": "XBTUSD"},
    "not a number": lambda bar: row(bar, high=float("nan")),
    "off the grid": lambda bar: row(bar, time=bar.time + 1),
    "milliseconds": lambda bar: row(bar, time=bar.time * 1000),
    "high below low": lambda bar: row(bar, high=0.0),
    "negative volume": lambda bar: row(bar, volume=-1.0),
    "a name too long": lambda bar: row(bar, pair="X" * 101),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_entry_that_is_no_bar_holds_nothing_up(
    tmp_path: Path, make_bars: Make, name: str
) -> None:
    bars = make_bars(4)
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(bars[:2], "XBTUSD", "ETHUSD"))
    payload = msgspec.msgpack.encode([row(bars[2]), UNREADABLE[name](bars[3]), row(bars[3])])
    with journal_file(tmp_path).open("ab") as out:
        out.write(journal_frames.frame(payload))
    again = OHLCStore(tmp_path)
    again.append_provisional("1m", entries(bars[2:], "ETHUSD"))
    again.append_provisional("5m", [("XBTUSD", make_bars(1, 300)[0])])
    assert live(again) == live(again, "ETHUSD") == bars
    (finding,) = again.verify()
    assert finding.path == str(journal_file(tmp_path))
    report = again.fold_journal()
    assert (report.bars, report.series) == (9, 3)
    assert live(again) == live(again, "ETHUSD") == bars
    assert list((tmp_path / ".krakked" / "journal").iterdir()) == []
    assert again.verify() == []
    (kept,) = report.set_aside
    assert journal_frames.frame(payload) in Path(kept).read_bytes()
    assert again.fold_journal().set_aside == ()


def test_repair_folds_a_journal_that_holds_something_unreadable(
    tmp_path: Path, make_bars: Make
) -> None:
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(make_bars(2)))
    with journal_file(tmp_path).open("ab") as out:
        out.write(journal_frames.frame(b"\xc1"))
    report = OHLCStore(tmp_path).repair()
    (gone,) = report.given_up
    assert gone.path == str(journal_file(tmp_path))
    assert Path(gone.moved_to).read_bytes().endswith(journal_frames.frame(b"\xc1"))
    assert "cannot be read" in gone.what
    assert report.left == ()
    assert live(OHLCStore(tmp_path)) == make_bars(2)
    assert OHLCStore(tmp_path).repair().given_up == ()


def test_two_damaged_files_of_one_number_are_both_kept(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path)
    for bar in make_bars(2):
        store.append_provisional("1m", [("XBTUSD", bar)])
        with journal_file(tmp_path).open("ab") as out:
            out.write(journal_frames.frame(b"\xc1"))
        assert len(store.fold_journal().set_aside) == 1
    assert len(list((tmp_path / ".krakked" / "quarantine").iterdir())) == 2


def test_unfit_live_bars_are_refused_one_by_one(
    tmp_path: Path, make_bars: Make, caplog: pytest.LogCaptureFixture
) -> None:
    store = OHLCStore(tmp_path)
    good, other = make_bars(2)
    bad = [
        OHLCBar(good.time + 1, 1.0, 1.0, 1.0, 1.0, None, 0.0, 0),
        OHLCBar(good.time, float("nan"), 1.0, 1.0, 1.0, None, 0.0, 0),
        OHLCBar(float(good.time), 1.0, 1.0, 1.0, 1.0, None, 0.0, 0),
        OHLCBar(good.time * 1000, 1.0, 1.0, 1.0, 1.0, None, 0.0, 0),
        OHLCBar(good.time, 1.0, 1.0, 1.0, 1.0, float("inf"), 0.0, 0),
    ]
    mixed = [("XBTUSD", good), *(("XBTUSD", b) for b in bad), ("", other), ("ETHUSD", other)]
    refused = store.append_provisional("1m", mixed)
    assert [r.bar for r in refused] == [*bad, other]
    assert [r.pair for r in refused] == ["XBTUSD"] * 5 + [""]
    assert refused[0].why == "its open time is no multiple of 60 s"
    assert len(caplog.records) == 1
    assert "6 live bars of 1m" in caplog.records[0].message
    assert (live(store), live(store, "ETHUSD")) == ([good], [other])
    assert store.fold_journal().bars == 2


def test_nothing_but_unfit_bars_writes_nothing(tmp_path: Path, make_bars: Make) -> None:
    store = OHLCStore(tmp_path / "none")
    assert store.append_provisional("1m", []) == ()
    off_grid = OHLCBar(make_bars(1)[0].time + 1, 1.0, 1.0, 1.0, 1.0, None, 0.0, 0)
    assert len(store.append_provisional("1m", [("XBTUSD", off_grid)])) == 1
    assert not (tmp_path / "none").exists()


def test_a_batch_larger_than_a_frame(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(4097)
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(bars))
    assert len(journal_frames.scan(journal_file(tmp_path).read_bytes()).payloads) == 2
    assert live(OHLCStore(tmp_path)) == bars


def test_numbers_of_other_libraries(tmp_path: Path, make_bars: Make) -> None:
    (bar,) = make_bars(1)
    other = OHLCBar(bar.time, *map(np.float64, (1.0, 2.0, 0.5, 1.5, 1.2, 3.0)), 4)
    store = OHLCStore(tmp_path)
    assert store.append_provisional("1m", [("XBTUSD", other)]) == ()
    assert live(OHLCStore(tmp_path)) == [OHLCBar(bar.time, 1.0, 2.0, 0.5, 1.5, 1.2, 3.0, 4)]


def test_an_emptied_journal_is_begun_anew(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(3)
    store = OHLCStore(tmp_path)
    store.append_provisional("1m", entries(bars[:2]))
    os.truncate(journal_file(tmp_path), 0)
    store.append_provisional("1m", entries(bars[2:]))
    assert live(OHLCStore(tmp_path)) == bars[2:]
    assert OHLCStore(tmp_path).verify() == []


def test_ranks_hold_for_live_bars(tmp_path: Path, make_bars: Make) -> None:
    bars = make_bars(2)
    store = OHLCStore(tmp_path)
    archived = OHLCBar(bars[0].time, 5.0, 5.0, 5.0, 5.0, None, 5.0, 5)
    store.append_bars("XBTUSD", "1m", [archived], source=Source.ARCHIVE)
    store.append_provisional("1m", entries(bars))
    assert live(store) == [archived, bars[1]]
    store.fold_journal()
    assert live(store) == [archived, bars[1]]
