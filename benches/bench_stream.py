"""The live stream beside its peers: messages a second and CPU from socket to a readable cache.

    python benches/bench_stream.py [--rounds 5] [--quick] [--only NAME ...] [--part PART ...]

A blaster (`stream_blaster.py`, a process of its own) sends ticker frames of 300 bytes, built
beforehand; every contender (`stream_contenders.py`, a process of its own, too) subscribes, reads
them all into its cache and is checked against the last quote of each symbol. Rounds alternate
between the contenders and the median of each counts: a busy machine moves single runs by half.
Parts: `speed` (plain loopback, 400 symbols), `symbols` (10 to 10,000 of them), `tls`, `paced`
(2,000 separate frames a second, with nobody listening, and with one consumer of `changes()` at the
default conflation and at none) and `paced-tls`. Exit status 1 when a target is missed or a cache is
wrong. Needs the dependency groups `test` and `bench`; make bench-stream sees to that.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from krakked.sandbox import SandboxSettings, open_sandbox

HERE = Path(__file__).parent
SYMBOLS = 400
LONGEST_SYMBOL = 10
"""Longer names would not leave room for honest numbers in 300 bytes."""
V2_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
RENAMED = {"LUNA", "LUNA2", "REP", "REPV2", "UST"}
"""ccxt has names of its own for these."""
RUN_S = 150.0
PACE = 2_000.0


@dataclass
class Contender:
    """Who reads, how much of it, and what is printed."""

    name: str
    package: str
    frames: int
    what: str
    wire: str = "v2"


CONTENDERS = {
    c.name: c
    for c in (
        Contender("drain", "", 6_000_000, "bare recv_into, nothing read: the blaster's own rate"),
        Contender("krakked", "krakked", 4_000_000, "open_kraken, get_best_bid_ask"),
        Contender("krakked-consumer", "krakked", 0, "one changes(), default conflation"),
        Contender("krakked-consumer-0", "krakked", 0, "one changes(), conflate_ms: 0"),
        Contender("picows", "picows", 1_000_000, "+ orjson + dict, uvloop"),
        Contender("websockets", "websockets", 200_000, "+ orjson + dict, uvloop"),
        Contender("trio-websocket", "trio-websocket", 150_000, "+ orjson + dict"),
        Contender("ccxt", "ccxt", 50_000, "ccxt.pro watch_tickers, with orjson"),
        Contender("python-kraken-sdk", "python-kraken-sdk", 100_000, "SpotWSClient.on_message"),
        Contender("cryptofeed", "cryptofeed", 100_000, "Kraken feed, WebSocket v1", "v1"),
    )
}
CONSUMERS = ("krakked-consumer", "krakked-consumer-0")
CLIENTS = ("ccxt", "python-kraken-sdk", "cryptofeed")
TARGETS = (
    ("trio-websocket", ("trio-websocket",), 40.0),
    ("picows", ("picows",), 7.0),
    ("the best Kraken client", CLIENTS, 25.0),
)
TLS_TARGET = 5.0
"""Times picows by messages a second."""
PACED_TARGETS = {"krakked": 0.6, "krakked-consumer": 1.5, "krakked-consumer-0": 3.0}
"""CPU of a frame beside picows', at most."""
PACED_TLS_TARGETS = PACED_TARGETS | {"krakked-consumer-0": 2.5}
SCALING = (10, 100, 400, 1_500, 10_000)
SCALING_FRAMES = 3_000_000
SPREAD = 1.25
"""Cost of a message over 10 to 1,500 symbols: the dearest beside the cheapest."""


@dataclass
class Result:
    """One run."""

    frames: int
    seconds: float
    cpu_s: float
    wrong: int
    note: str
    blaster_busy: float

    @property
    def per_second(self) -> float:
        return self.frames / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.frames * 1e6


@dataclass
class Pair:
    """A pair's three names."""

    altname: str
    wsname: str
    symbol: str


class Bench:
    """What all runs share."""

    def __init__(self, rest_url: str, pairs: list[Pair], folder: Path) -> None:
        self.rest_url, self.pairs, self.folder = rest_url, pairs, folder
        self.certificate = folder / "cert.pem"
        self.authority = folder / "authority.pem"
        self.failures: list[str] = []

    async def run(
        self,
        name: str,
        *,
        frames: int,
        pairs: list[Pair] | None = None,
        tls: bool = False,
        pace: float = 0.0,
    ) -> Result | str:
        """Let one contender read; give its result, or why there is none."""
        pairs = self.pairs if pairs is None else pairs
        wire = CONTENDERS[name].wire if name in CONTENDERS else "v2"
        orders: dict[str, Any] = {
            "symbols": [p.wsname if wire == "v1" else p.symbol for p in pairs],
            "frames": frames,
            "wire": wire,
            "pace": pace,
        }
        if tls:
            orders |= {"cert": str(self.certificate), "key": str(self.folder / "key.pem")}
        (self.folder / "orders.json").write_text(json.dumps(orders))
        blaster = subprocess.Popen(  # noqa: ASYNC220 - starts at once; its pipes are read below
            [sys.executable, str(HERE / "stream_blaster.py"), str(self.folder / "orders.json")],
            stdout=subprocess.PIPE,
        )
        assert blaster.stdout is not None
        try:
            ports = json.loads(await trio.to_thread.run_sync(blaster.stdout.readline))
            job = {
                "ws_url": f"{'wss' if tls else 'ws'}://127.0.0.1:{ports['port']}/v2",
                "control": ports["control"],
                "frames": frames,
                "symbols": [p.symbol for p in pairs],
                "wsnames": [p.wsname for p in pairs],
                "altnames": [p.altname for p in pairs],
                "rest_url": self.rest_url,
                "cafile": str(self.authority) if tls else "",
                "poll_s": 0.25 if pace else 0.004,
            }
            (self.folder / "job.json").write_text(json.dumps(job))
            reader = str(HERE / "stream_contenders.py")
            command = [sys.executable, reader, name, str(self.folder / "job.json")]
            done = None
            with trio.move_on_after(RUN_S):
                done = await trio.run_process(
                    command, capture_stdout=True, capture_stderr=True, check=False
                )
            if done is None:
                return f"not done after {RUN_S:g} s"
            lines = [line for line in done.stdout.decode().splitlines() if line.startswith("{")]
            if not lines:
                errors = done.stderr.decode().strip().splitlines()
                return errors[-1][:200] if errors else f"exit status {done.returncode}"
            told = json.loads(await trio.to_thread.run_sync(blaster.stdout.readline) or "{}")
            busy = told.get("cpu_s", 0.0) / max(told.get("seconds", 0.0), 1e-9)
            return Result(**json.loads(lines[-1]), blaster_busy=busy)
        finally:
            blaster.kill()
            blaster.wait()
            blaster.stdout.close()

    async def rounds(
        self, names: list[str], rounds: int, scale: float, *, tls: bool = False, pace: float = 0.0
    ) -> dict[str, Result]:
        """Let contenders run in turns; give the median run of each."""
        runs: dict[str, list[Result]] = {}
        broken: set[str] = set()
        for _ in range(rounds):
            for name in names:
                if name in broken:
                    continue
                frames = int(PACE * 5 * scale) if pace else int(CONTENDERS[name].frames * scale)
                result = await self.run(name, frames=max(frames, 2 * SYMBOLS), tls=tls, pace=pace)
                if isinstance(result, str):
                    broken.add(name)
                    print(f"  {name}: left out: {result}", flush=True)
                    if name.startswith("krakked"):
                        self.failures.append(f"{name} did not run: {result}")
                    continue
                if result.wrong or (result.note and name == "krakked"):
                    self.failures.append(f"{name}: {result.wrong} wrong quotes {result.note}")
                runs.setdefault(name, []).append(result)
        return {name: self.median(results, by_cpu=bool(pace)) for name, results in runs.items()}

    @staticmethod
    def median(results: list[Result], *, by_cpu: bool) -> Result:
        """Give the run in the middle; of an even number the better one of the two."""
        ranked = sorted(results, key=lambda it: it.cpu_us if by_cpu else -it.per_second)
        return ranked[(len(ranked) - 1) // 2]

    def judge(self, what: str, value: float, target: float, *, at_most: bool = False) -> None:
        """Print how a ratio stands beside its target, and remember a miss."""
        met = value <= target if at_most else value >= target
        bound = f"at {'most' if at_most else 'least'} {target:g}x"
        print(f"  {'pass' if met else 'FAIL'}: {value:.2f}x {what} ({bound})", flush=True)
        if not met:
            self.failures.append(f"{value:.2f}x {what}, {bound}")


# --- what surrounds the runs ----------------------------------------------------------------------


async def usable_pairs(rest_url: str) -> list[Pair]:
    """Give dollar pairs of the local exchange whose names fit into the frames."""
    async with httpx.AsyncClient(headers={"User-Agent": "krakked-bench"}) as client:
        listed = (await client.get(f"{rest_url}/0/public/AssetPairs")).json()["result"]
    found = []
    for info in listed.values():
        base, _, quote = info.get("wsname", "").partition("/")
        symbol = f"{V2_NAMES.get(base, base)}/{quote}"
        plain = symbol.replace("/", "").isalnum() and symbol.isupper()
        fits = plain and len(symbol) <= LONGEST_SYMBOL and base not in RENAMED
        if fits and quote == "USD" and info["status"] == "online":
            found.append(Pair(info["altname"], info["wsname"], symbol))
    return sorted(found, key=lambda pair: pair.altname)


def invented(count: int) -> list[Pair]:
    """Give as many pairs as asked for; more than any exchange lists."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [a + b + c + d for a in letters for b in letters for c in letters for d in letters]
    step = max(1, len(names) // count)
    return [Pair(f"{n}USD", f"{n}/USD", f"{n}/USD") for n in names[::step][:count]]


def write_certificates(folder: Path) -> None:
    """Write an authority, and a certificate of it for 127.0.0.1: rustls takes no authority for a
    server."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
        for name in ("bench authority", "127.0.0.1")
    ]
    for key, name, is_authority in zip(keys, names, (True, False), strict=True):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + 2 * day)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()),
                critical=False,
            )
        )
        if is_authority:
            signs = ("digital_signature", "key_cert_sign", "crl_sign")
            others = (
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            )
            usage = x509.KeyUsage(**dict.fromkeys(signs, True), **dict.fromkeys(others, False))
            builder = builder.add_extension(usage, critical=True)
        else:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        made = builder.sign(keys[0], hashes.SHA256())
        path = folder / ("authority.pem" if is_authority else "cert.pem")
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def release(contender: Contender) -> str:
    try:
        return version(contender.package) if contender.package else ""
    except PackageNotFoundError:
        return "?"


def show(best: dict[str, Result]) -> None:
    """Print a table, fastest first."""
    ours = best.get("krakked")
    print(
        f"  {'':<26}{'messages/s':>12}{'CPU us/msg':>12}{'krakked is':>12}{'by CPU':>9}"
        f"{'frames':>11}{'blaster':>9}"
    )
    for name, result in sorted(best.items(), key=lambda item: -item[1].per_second):
        contender = CONTENDERS[name]
        ratios = f"{'':>12}{'':>9}"
        if ours is not None and name not in {"krakked", "drain"}:
            faster = ours.per_second / result.per_second
            cheaper = result.cpu_us / ours.cpu_us
            ratios = f"{faster:>11.1f}x{cheaper:>8.1f}x"
        label = f"{name} {release(contender)}".strip()
        print(
            f"  {label:<26}{result.per_second:>12,.0f}{result.cpu_us:>12.3f}{ratios}"
            f"{result.frames:>11,}{result.blaster_busy:>8.0%}  {contender.what}"
            + (f"  ({result.wrong} WRONG QUOTES)" if result.wrong else ""),
            flush=True,
        )


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


# --- parts ----------------------------------------------------------------------------------------


async def part_speed(bench: Bench, names: list[str], rounds: int, scale: float) -> None:
    print(f"\nPlain loopback, {SYMBOLS} symbols, median of {rounds} rounds ({load()})")
    runs = await bench.rounds(names, rounds, scale)
    show(runs)
    ours = runs.get("krakked")
    if ours is None:
        return
    for label, peers, factor in TARGETS:
        present = [runs[name] for name in peers if name in runs]
        if present:
            rate = ours.per_second / max(peer.per_second for peer in present)
            bench.judge(f"{label} by messages a second", rate, factor)
    if "drain" in runs:
        ratio = runs["drain"].per_second / ours.per_second
        bench.judge("krakked's rate by the blaster alone", ratio, 1.2)


async def part_symbols(bench: Bench, rounds: int, scale: float) -> None:
    print(f"\nkrakked by number of symbols, tickers alone, one connection ({load()})")
    costs: dict[int, Result] = {}
    frames = int(SCALING_FRAMES * scale)
    for _ in range(rounds):
        for count in SCALING:
            pairs = invented(count)
            result = await bench.run("krakked-symbols", frames=frames, pairs=pairs)
            if isinstance(result, str):
                bench.failures.append(f"{count} symbols: {result}")
                print(f"  {count} symbols: {result}")
                return
            if result.wrong:
                bench.failures.append(f"{count} symbols: {result.wrong} wrong quotes")
            if count not in costs or result.cpu_us < costs[count].cpu_us:
                costs[count] = result
    for count, result in costs.items():
        print(
            f"  {count:>6,} symbols {result.per_second:>12,.0f} messages/s "
            f"{result.cpu_us:>8.3f} us CPU a message"
        )
    judged = [result.cpu_us for count, result in costs.items() if count <= 1_500]
    spread = max(judged) / min(judged)
    verdict = "pass" if spread <= SPREAD else "FAIL"
    print(f"  {verdict}: from 10 to 1,500 symbols within {spread - 1:.0%} (at most 25 %)")
    if spread > SPREAD:
        bench.failures.append(f"cost by symbols within {spread - 1:.0%}, not 25 %")


async def part_tls(bench: Bench, names: list[str], rounds: int, scale: float) -> None:
    print(f"\nThe same over TLS, median of {rounds} rounds ({load()})")
    runs = await bench.rounds(names, rounds, scale / 2, tls=True)
    show(runs)
    if "krakked" in runs and "picows" in runs:
        rate = runs["krakked"].per_second / runs["picows"].per_second
        bench.judge("picows by messages a second, over TLS", rate, TLS_TARGET)


async def part_paced(
    bench: Bench, names: list[str], rounds: int, scale: float, *, tls: bool = False
) -> None:
    over = " over TLS" if tls else ""
    print(f"\nPaced{over}: {PACE:,.0f} frames a second, median CPU of {rounds} rounds ({load()})")
    runs = await bench.rounds(names, rounds, scale, pace=PACE, tls=tls)
    show(runs)
    for name, target in (PACED_TLS_TARGETS if tls else PACED_TARGETS).items():
        if name in runs and "picows" in runs:
            cost = runs[name].cpu_us / runs["picows"].cpu_us
            bench.judge(f"picows' CPU a frame: {name}{over}", cost, target, at_most=True)


PARTS = ("speed", "symbols", "tls", "paced", "paced-tls")


async def run(arguments: argparse.Namespace) -> int:
    chosen = [n for n in CONTENDERS if not arguments.only or n in arguments.only]
    names = [n for n in chosen if n not in CONSUMERS]
    paced = [n for n in chosen if n in {"drain", "krakked", "picows", *CONSUMERS}]
    scale = 0.25 if arguments.quick else 1.0
    few = 1 if arguments.quick else arguments.rounds
    # A quiet exchange: it lists pairs over REST and then does nothing at all.
    quiet = SandboxSettings(activity=0.0, quote_activity=0.0, limits=False)
    with tempfile.TemporaryDirectory() as folder:
        write_certificates(Path(folder))
        async with open_sandbox(settings=quiet) as exchange:
            pairs = (await usable_pairs(exchange.rest_url))[:SYMBOLS]
            if len(pairs) < SYMBOLS:
                print(f"only {len(pairs)} pairs fit")
                return 1
            bench = Bench(exchange.rest_url, pairs, Path(folder))
            print("Ticker frames of 300 bytes, from the socket to a readable cache")
            if "speed" in arguments.part:
                await part_speed(bench, names, few, scale)
            if "symbols" in arguments.part:
                # A spread of a quarter is close to what a shared machine does by itself: the best
                # of more rounds tells the two apart.
                await part_symbols(bench, few if arguments.quick else max(few, 6), scale)
            if "tls" in arguments.part:
                await part_tls(bench, names, few, scale)
            if "paced" in arguments.part:
                await part_paced(bench, paced, few, scale)
            if "paced-tls" in arguments.part:
                await part_paced(bench, paced, few, scale, tls=True)
    for failure in bench.failures:
        print(f"FAIL: {failure}")
    return 1 if bench.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender")
    parser.add_argument("--quick", action="store_true", help="one round of a quarter the length")
    parser.add_argument("--only", nargs="*", default=[], choices=list(CONTENDERS))
    parser.add_argument("--part", nargs="*", default=list(PARTS), choices=PARTS)
    return trio.run(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
