"""Servers that never work, and the weather of `Faults.storm`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from krakked._sandbox.faults import Faults

_EVER = 10**9


def _maintenance(faults: Faults) -> None:
    faults.set_system("maintenance")
    faults.close_after(5)


def _drip(faults: Faults) -> None:
    faults.slice_bytes(2, pause_s=1.0)


def _changing(faults: Faults) -> None:
    faults.cut_randomly(2_000)
    faults.half_open_randomly(20_000)
    faults.malformed(0.3)
    faults.message_rate_error(3)


HOSTILE_KINDS: dict[str, Callable[[Faults], None]] = {
    "refuses": lambda f: f.refuse_connects(),
    "drops after the handshake": lambda f: f.accept_then_drop(None),
    "answers 403": lambda f: f.cloudflare_page(403, None),
    "answers 429": lambda f: f.cloudflare_page(429, None),
    "answers 503": lambda f: f.cloudflare_page(503, None),
    "answers 520": lambda f: f.cloudflare_page(520, None),
    "never shakes hands": lambda f: f.never_answer(),
    "cuts in the handshake": lambda f: f.cut_randomly(60),
    "cuts after the status": lambda f: f.cut_randomly(500),
    "cuts after the acks": lambda f: f.cut_randomly(20_000),
    "closes at once": lambda f: f.close_after(0),
    "closes after a second": lambda f: f.close_after(1),
    "closes after half a minute": lambda f: f.close_after(30),
    "falls silent early": lambda f: f.half_open_randomly(300),
    "falls silent late": lambda f: f.half_open_randomly(50_000),
    "acknowledges and is mute": lambda f: f.mute(),
    "refuses every symbol": lambda f: f.refuse_all_symbols(),
    "answers Exceeded msg rate": lambda f: f.message_rate_error(_EVER),
    "sends garbage": lambda f: f.garbage(),
    "sends broken JSON": lambda f: f.malformed(1.0),
    "sends huge frames": lambda f: f.oversized(2 << 20, _EVER),
    "drips": _drip,
    "is in maintenance": _maintenance,
    "is never the same": _changing,
}
"""What `Faults.hostile` can be told, by name."""


async def _cut(faults: Faults, rng: random.Random) -> None:
    faults.cut_after(rng.randrange(5_000))


async def _cut_now(faults: Faults, rng: random.Random) -> None:
    del rng
    await faults.cut()


async def _half_open(faults: Faults, rng: random.Random) -> None:
    del rng
    faults.half_open()


async def _stall(faults: Faults, rng: random.Random) -> None:
    faults.stall()
    await trio.sleep(rng.uniform(1, 20))
    faults.resume()


async def _refuse(faults: Faults, rng: random.Random) -> None:
    await faults.cut()
    rng.choice((faults.refuse_connects, faults.accept_then_drop, faults.cloudflare_page))()
    await trio.sleep(rng.uniform(1, 10))
    faults.allow_connects()


async def _mangle(faults: Faults, rng: random.Random) -> None:
    faults.slice_bytes(rng.choice((0, 1, 7, 100)))
    faults.fragment(rng.choice((0, 2, 5)))
    faults.malformed(rng.choice((0.0, 0.2)))
    faults.duplicate_candles(rng.choice((0.0, 0.5)))
    faults.late_candles(rng.choice((0.0, 0.5)))
    await trio.sleep(rng.uniform(1, 20))
    faults.slice_bytes(0)
    faults.fragment(0)
    faults.malformed(0.0)
    faults.duplicate_candles(0.0)
    faults.late_candles(0.0)


STORM: tuple[Callable[[Faults, random.Random], Awaitable[None]], ...] = (
    _cut,
    _cut,
    _cut_now,
    _half_open,
    _stall,
    _refuse,
    _mangle,
)
"""What `Faults.storm` draws from."""
