"""Interval arithmetic, against plain sets of intervals."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krakked._market.bars import Source
from krakked._market.store import coverage
from krakked._market.store.coverage import Coverage, CoverageRange

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


def test_what_rest_may_still_revise_is_told_apart_until_it_answers_again() -> None:
    young = Coverage().with_range(Source.REST, (0, 600), unsettled_from=420)
    assert [(r.start_s, r.end_s, r.settled) for r in young.ranges()] == [
        (0, 420, True),
        (420, 600, False),
    ]
    assert slots(young.all()) == slots([(0, 600)])  # a claim like any other
    assert coverage.decode(coverage.encode(young)) == young
    # Other sources settle nothing; REST does, as far as it answers.
    assert young.with_range(Source.TRADES, (0, 600)).unsettled == ((420, 600),)
    later = young.with_range(Source.REST, (480, 720), unsettled_from=660)
    assert later.unsettled == ((420, 480), (660, 720))
    assert later.with_range(Source.REST, (420, 720)).unsettled == ()
    # Unsettled from before the range: all of it; the range itself was known already.
    assert Coverage().with_range(Source.REST, (60, 120), unsettled_from=0).unsettled == ((60, 120),)
    assert young.with_range(Source.REST, (420, 600), unsettled_from=420) is young
    assert young.with_range(Source.REST, (420, 600)).unsettled == ()
    assert young.without((480, 540)).unsettled == ((420, 480), (540, 600))


def test_only_rest_is_unsettled() -> None:
    known = Coverage().with_range(Source.TRADES, (0, 60), unsettled_from=0)
    assert known.unsettled == ()
    assert known.ranges()[0].settled


def test_what_was_asked_for_in_vain_is_remembered_until_somebody_has_it() -> None:
    known = Coverage().with_range(Source.REST, (120, 240))
    marked = known.with_unavailable([(0, 180)])
    assert marked.unavailable == ((0, 120),)  # never what is covered
    assert marked.with_unavailable([(60, 120)]) is marked
    assert slots(marked.all()) == slots([(120, 240)])  # it claims nothing
    assert coverage.decode(coverage.encode(marked)) == marked
    assert marked.with_range(Source.ARCHIVE, (0, 60)).unavailable == ((60, 120),)
    assert marked.without((60, 200)).unavailable == ((0, 60),)


def test_a_record_of_the_first_version_reads_as_what_it_was() -> None:
    body = b'{"version":1,"ranges":{"REST":[[0,60]]},"files":["all"],"lost":[[60,120]]}'
    known = coverage.decode(body + b"\n%08x\n" % zlib.crc32(body))
    assert known == Coverage({Source.REST: [(0, 60)]}, ("all",), ((60, 120),))
    assert known.ranges() == (CoverageRange(0, 60, Source.REST),)
    for version in (b"0", b"3"):
        other = body.replace(b":1,", b":" + version + b",", 1)
        with pytest.raises(ValueError, match="version"):
            coverage.decode(other + b"\n%08x\n" % zlib.crc32(other))


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
