"""The health report for Prometheus: `python prometheus_exporter.py XBTUSD --port 9470`.

Needs `pip install 'krakked[metrics]'`. Listens on this machine only; no label holds a secret.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import trio
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import krakked


class Health(Collector):
    """Asks krakked whenever Prometheus asks: the report waits for nothing, from any thread."""

    def __init__(self, kraken: krakked.Kraken) -> None:
        self._kraken = kraken

    def collect(self) -> Iterable[Metric]:
        status = self._kraken.get_data_status()
        well = status.verdict is krakked.Verdict.OK
        yield GaugeMetricFamily("krakked_ok", "1 while all that is wanted works.", value=well)
        now = {
            "pairs_streamed": status.pairs_streamed,
            "pairs_with_recent_ticker": status.pairs_with_recent_ticker,
            "unfilled_holes": status.unfilled_holes,
            "rest_calls_waiting": len(status.limiter.waiting),
        }
        for name, value in now.items():
            yield GaugeMetricFamily(f"krakked_{name}", name.replace("_", " "), value=value)
        so_far = {
            "reconnects": status.reconnects,
            "frames": status.frames,
            "closed_candles": status.closed_candles,
            "corrected_candles": status.corrected_candles,
        }
        for name, value in so_far.items():
            yield CounterMetricFamily(f"krakked_{name}", name.replace("_", " "), value=value)
        ages = GaugeMetricFamily("krakked_ticker_age_seconds", "Age of a ticker.", labels=["pair"])
        for pair, facts in status.pairs.items():
            if facts.age_s is not None:
                ages.add_metric([pair], facts.age_s)
        yield ages


async def serve(pairs: list[str], port: int) -> None:
    async with krakked.open_kraken(pairs=pairs) as kraken:
        registry = CollectorRegistry()
        registry.register(Health(kraken))
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)
        try:
            await trio.sleep_forever()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--port", type=int, default=9470)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()

    async def limited() -> None:
        with trio.move_on_after(arguments.seconds):
            await serve(arguments.pairs, arguments.port)

    trio.run(limited)


if __name__ == "__main__":
    main()
