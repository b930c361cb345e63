"""`krakked sandbox`: the local exchange as a process of its own."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from krakked._cli import terminal
from krakked._cli.arguments import factor, port, seed
from krakked._config.directories import CONFIG_FILE_NAME
from krakked._errors import ConfigError, KrakkedError

if TYPE_CHECKING:
    from krakked._sandbox.exchange import Exchange

WRITTEN: Final = "# written by krakked sandbox --write-config"
"""First line of a config.yaml that may be replaced."""


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
    parser.add_argument(
        "--write-config",
        type=Path,
        metavar="DIR",
        help="write a config.yaml there that leads to this sandbox and keeps every file there",
    )
    parser.set_defaults(run=run)


def write_config(exchange: Exchange, directory: Path) -> Path:
    """Write the settings of a client of this sandbox; gives the file.

    Only a file that was written like this is ever replaced: ports change with every start.

    Raises:
        ConfigError: A config.yaml of somebody's own is there.
    """
    directory = directory.absolute()
    path = directory / CONFIG_FILE_NAME
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and not path.read_text("utf-8", "replace").startswith(WRITTEN):
        raise ConfigError(
            f"{path} is there already, and not of a sandbox. Name another directory.",
            path=str(path),
        )
    text = (
        f"{WRITTEN}\n"
        f"rest:\n  base_url: {exchange.rest_url}\n"
        f"universe:\n  margin_eligible: include\n"
        f"market_data:\n  ws:\n    url: {exchange.ws_url}\n"
        f"  ohlc_store:\n    root_dir: {json.dumps(str(directory / exchange.name / 'ohlc'))}\n"
        f"state_dir: {json.dumps(str(directory / exchange.name / 'state'))}\n"
    )
    path.write_text(text, encoding="utf-8")
    return path


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
            if replay is not None:
                console.print(
                    "The stream plays the recording; REST is this sandbox's own market, whose "
                    "prices are others.",
                    markup=False,
                    soft_wrap=True,
                )
            if arguments.write_config is not None:
                path = write_config(exchange, arguments.write_config)
                told = (
                    f"Wrote {path}. For another terminal: "
                    f"export KRAKKED_CONFIG_DIR={shlex.quote(str(path.parent))}"
                )
                console.print(told, markup=False, highlight=False, soft_wrap=True)
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                console.print("Only this sandbox knows the key. Ctrl-C ends it.")
                async for _ in signals:
                    return

    trio.run(serve)
    return 0
