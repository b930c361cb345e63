"""`krakked sandbox`: the local exchange as a process of its own."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import trio

from krakked._cli import terminal
from krakked._cli.arguments import factor, port, seed
from krakked._errors import KrakkedError


def fill(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = "Run a local Kraken (REST and WebSocket v2) on 127.0.0.1 until Ctrl-C."
    parser.add_argument("--seed", type=seed, default=1, help="which market to run (default 1)")
    parser.add_argument("--rest-port", type=port, default=0, help="port for REST (default: any)")
    parser.add_argument("--ws-port", type=port, default=0, help="port for WebSocket (default: any)")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="play frames recorded by `krakked record`"
    )
    parser.add_argument(
        "--speed", type=factor, default=1.0, help="how many times as fast to replay (default 1)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the sandbox until interrupted."""
    console = terminal.console()
    from krakked._sandbox.replay import ReplayFormatError  # noqa: PLC0415 - an extra
    from krakked.sandbox import Recording, open_sandbox  # noqa: PLC0415 - an extra

    try:
        replay = (
            Recording.load(arguments.replay, speed=arguments.speed) if arguments.replay else None
        )
    except ReplayFormatError as error:
        raise KrakkedError(f"{arguments.replay} cannot be replayed: {error}") from error

    async def serve() -> None:
        async with open_sandbox(
            seed=arguments.seed,
            rest_port=arguments.rest_port,
            ws_port=arguments.ws_port,
            replay=replay,
        ) as exchange:
            lines = [
                ("Market", exchange.name),
                ("REST", exchange.rest_url),
                ("WebSocket", exchange.ws_url),
                ("WebSocket (private)", exchange.ws_auth_url),
                ("API key", exchange.key),
                ("API secret", exchange.secret),
            ]
            for name, value in lines:
                console.print(
                    f"{name + ':':<21}{value}", markup=False, highlight=False, soft_wrap=True
                )
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                console.print("Only this sandbox knows the key. Ctrl-C ends it.")
                async for _ in signals:
                    return

    trio.run(serve)
    return 0
