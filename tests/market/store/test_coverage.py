"""Interval arithmetic, against plain sets of intervals."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked.market.bars import Source
from krakked.market.store import coverage
from krakked.market.store.coverage import Coverage

ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def slots(given_ranges) -> set[int]:
    return {i for a, b in given_ranges for i in range(a, b)}


def is_tidy(found) -> bool:
    return all(a < b for a, b in found) and all(
        one[1] < two[0] for one, two in itertools.pairwise(found)
    )


@given(ranges)
def test_union(some) -> None:
    joined = coverage.union(some)
    assert slots(joined) == slots(some)
    assert is_tidy(joined)


@given(ranges, ranges)
def test_subtract(some, holes) -> None:
    left = coverage.subtract(coverage.union(some), coverage.union(holes))
    assert slots(left) == slots(some) - slots(holes)
    assert all(a < b for a, b in left)


@given(ranges, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_intersect(some, window) -> None:
    assert slots(coverage.intersect(coverage.union(some), window)) == slots(some) & slots([window])


claims = st.lists(
    st.tuples(st.sampled_from(Source), st.integers(0, 40), st.integers(0, 40)), max_size=10
)


@given(claims, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_strongest_source_of_each_slot(made, lost) -> None:
    known = Coverage()
    for source, a, b in made:
        known = known.with_range(source, (a, b))
    best = {i: max(s for s, a, b in made if a <= i < b) for i in slots([c[1:] for c in made])}
    found = {i: s for a, b, s in known.strongest((0, 50)) for i in range(a, b)}
    assert found == best
    assert slots(known.all()) == set(best)
    assert all(known.holds(i) == (i in best) for i in range(45))
    assert coverage.decode(coverage.encode(known)) == known
    assert slots(known.without(lost).all()) == set(best) - slots([lost])


def test_a_known_range_changes_nothing() -> None:
    known = Coverage().with_range(Source.REST, (0, 60))
    assert known.with_range(Source.REST, (0, 60)) is known
    assert known.with_range(Source.REST, (30, 30)) is known
    assert known.with_range(Source.REST, (60, 120)).ranges()[0].end_s == 120


def test_every_changed_bit_of_the_file_is_noticed() -> None:
    data = coverage.encode(Coverage().with_range(Source.REST, (0, 60)))
    for index in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[index // 8] ^= 1 << index % 8
        with pytest.raises((ValueError, KeyError)):
            coverage.decode(bytes(damaged))
    for size in range(len(data)):
        with pytest.raises(ValueError, match="checksum"):
            coverage.decode(data[:size])
