"""Nonces rise: over clock steps, restarts, power cuts, kills and processes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from krakked._files.shared_record import RecordFile
from krakked._rest.nonces import (
    AHEAD_NS,
    OVERLAP_WINDOW,
    NonceState,
    after_power_cut,
    may_overlap,
    next_nonce,
)
from krakked._rest.private_limiter import KeyRecord

WORKER = Path(__file__).with_name("nonce_worker.py")
NOW = 1_790_000_000_000_000_000


def test_a_nonce_is_the_wall_clock_or_one_more() -> None:
    nonce, state, durable = next_nonce(NonceState(), NOW)
    assert (nonce, durable) == (NOW, True)
    assert next_nonce(state, NOW)[0] == NOW + 1
    assert next_nonce(state, NOW - 3600 * 10**9)[0] == NOW + 1


def test_the_mark_is_ten_seconds_ahead_and_renewed_when_it_is_passed() -> None:
    assert AHEAD_NS == OVERLAP_WINDOW == 10 * 10**9
    assert NonceState() == NonceState(last=0, mark=0)
    first = NonceState(last=NOW, mark=NOW + AHEAD_NS)
    assert next_nonce(NonceState(), NOW) == (NOW, first, True)
    at_mark = NOW + AHEAD_NS
    state = NonceState(last=at_mark, mark=at_mark)
    assert next_nonce(first, at_mark) == (at_mark, state, False)
    state = NonceState(last=at_mark + 1, mark=at_mark + 1 + AHEAD_NS)
    assert next_nonce(first, at_mark + 1) == (at_mark + 1, state, True)
    assert after_power_cut(first) == NonceState(last=at_mark, mark=at_mark)
    assert after_power_cut(NonceState(last=9, mark=5)) == NonceState(last=9, mark=5)


def test_the_disk_is_forced_about_every_ten_seconds_only() -> None:
    state, forced = NonceState(), 0
    for call in range(1000):  # ten calls a second for 100 s
        _, state, durable = next_nonce(state, NOW + call * 10**8)
        forced += durable
    assert 9 <= forced <= 11


def test_after_a_power_cut_no_nonce_comes_twice() -> None:
    """Whatever ordinary writes were lost: the forced record lies above every nonce given."""
    rng = random.Random(3)
    for _ in range(200):
        state, forced, highest, wall = NonceState(), NonceState(), 0, NOW
        for _ in range(rng.randrange(1, 60)):
            wall += rng.choice([1, 10**6, 10**9, 7 * 10**9, -3600 * 10**9])
            highest, state, durable = next_nonce(state, wall)
            if durable:
                forced = state
        again, _, durable = next_nonce(after_power_cut(forced), wall - 3600 * 10**9)
        assert again > highest
        assert durable
        assert again - highest <= AHEAD_NS + 1


def test_only_a_wide_window_lets_calls_overlap() -> None:
    assert not may_overlap(None)
    assert not may_overlap(0)
    assert not may_overlap(15)
    assert not may_overlap(OVERLAP_WINDOW - 1)
    assert may_overlap(OVERLAP_WINDOW)


async def test_nonces_go_on_over_clients_and_clock_steps(
    autojump_clock, server, clock, open_client, tmp_path
) -> None:
    for step_s in (0, -3600, 86_400, -86_400):
        clock.step_ns += step_s * 10**9
        async with open_client(state_dir=tmp_path) as client:
            for _ in range(5):
                await client.private("Balance")
    assert server.nonces() == sorted(set(server.nonces()))


async def test_a_restarted_machine_goes_on_above_the_mark(
    autojump_clock, server, clock, open_client, tmp_path
) -> None:
    async with open_client(state_dir=tmp_path) as client:
        await client.private("Balance")
    (path,) = tmp_path.glob("key-*.state")
    file = RecordFile(path)
    assert file.try_lock()
    record = msgspec.json.decode(file.read() or b"", type=KeyRecord)
    file.write(msgspec.json.encode(msgspec.structs.replace(record, boot="other")), durable=False)
    file.unlock()
    clock.step_ns -= 3600 * 10**9
    async with open_client(state_dir=tmp_path) as client:
        await client.private("Balance")
    first, second = server.nonces()
    assert second == record.nonce.mark + 1
    assert second > first


def run_workers(tmp_path: Path, total: int) -> list[int]:
    """Let four processes take `total` nonces in all; give them in the order they were taken."""
    log, rng = tmp_path / "nonces.bin", random.Random(11)
    log.touch()

    def start(offset_s: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                str(WORKER),
                str(tmp_path / "k.state"),
                str(log),
                str(offset_s),
                "10000000",
            ]
        )

    def taken() -> int:
        return log.stat().st_size // 8

    children = [start(0.0) for _ in range(4)]
    kills = stepped = 0
    seen, moved_s = 0, time.monotonic()
    try:
        while taken() < total:  # as fast as the machine is, but it must go on
            if taken() > seen:
                seen, moved_s = taken(), time.monotonic()
            assert time.monotonic() - moved_s < 120
            time.sleep(0.05)
            assert all(child.poll() is None for child in children)
            if rng.random() < 0.04 and taken() < total * 0.95:
                number = rng.randrange(4)
                children[number].kill()
                children[number].wait()
                late = taken() > total // 2
                children[number] = start(-3600.0 if late else 0.0)
                kills, stepped = kills + 1, stepped + late
    finally:
        for child in children:
            child.kill()
            child.wait()
    raw = log.read_bytes()
    print(f"{len(raw) // 8} nonces, {kills} kills, {stepped} restarts an hour in the past")
    return [int.from_bytes(raw[at : at + 8], "big") for at in range(0, len(raw) // 8 * 8, 8)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_100000_nonces_of_four_processes_with_kills_and_a_clock_stepped_back(tmp_path) -> None:
    nonces = run_workers(tmp_path, 100_000)
    assert len(nonces) >= 100_000
    assert len(set(nonces)) == len(nonces)
    assert all(b > a for a, b in pairwise(nonces))
