"""The sandbox as one object, on loopback sockets or in memory."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import hypercorn.config
import hypercorn.trio
import trio
from hypercorn.typing import ASGIFramework

from krakked._config.settings import (
    KrakkedConfig,
    MarketDataSettings,
    OHLCStoreSettings,
    RestSettings,
    WebSocketSettings,
)
from krakked._errors import ConfigError
from krakked._sandbox.accounts import Accounts
from krakked._sandbox.clock import LoopbackClock, MarketClock, VirtualClock
from krakked._sandbox.digits import NS
from krakked._sandbox.faults import Faults
from krakked._sandbox.listing import Directory
from krakked._sandbox.listing_rules import build_listing
from krakked._sandbox.market import Market
from krakked._sandbox.network import LoopbackNetwork, MemoryNetwork
from krakked._sandbox.replay import Recording
from krakked._sandbox.rest_app import RestApp
from krakked._sandbox.rest_faults import RestFaults
from krakked._sandbox.settings import DEFAULT_START_S, SandboxSettings
from krakked._sandbox.truth import Truth
from krakked._sandbox.venue import Venue
from krakked._sandbox.ws_connection import ClientConnection
from krakked._sandbox.ws_server import WsServer

_NOWHERE_URLS = (
    "https://api.sandbox.invalid",
    "wss://ws.sandbox.invalid/v2",
    "wss://ws-auth.sandbox.invalid/v2",
)
"""Addresses in memory: RFC 6761 keeps `.invalid` from ever leading anywhere, so a client that is
opened without `network=` fails instead of talking to somebody else."""


class Exchange:
    """A running sandbox.

    Attributes:
        name: Which market this is: ``sandbox-<seed>-<day it opened>``. What a client stores of it
            bears this name.
        network: How a client reaches it, whatever hosts the client asks for.
        clock: The clock a client of it should use.
        faults: Everything it can be told to do wrong.
        truth: What really happened on its market.
        key: A valid API key with read permissions.
        secret: The secret of `key`.
        rest_url: Address of REST; in memory it leads nowhere without `network`.
        ws_url: Address of the public WebSocket; likewise.
        ws_auth_url: Address of the private WebSocket; likewise.
    """

    faults: Faults
    rest_url: str
    ws_url: str
    ws_auth_url: str
    key: str
    secret: str

    def __init__(
        self,
        parts: tuple[RestApp, WsServer, Faults],
        network: MemoryNetwork | LoopbackNetwork,
        clock: VirtualClock | LoopbackClock,
        urls: tuple[str, str, str],
    ) -> None:
        self._rest, self._server, self.faults = parts
        self._venue = self._server.venue
        self.truth: Truth = Truth(self._venue)
        self.name: str = self._venue.market.name
        self.network = network
        self.clock = clock
        self.rest_url, self.ws_url, self.ws_auth_url = urls
        self.key, self.secret = self.add_key()

    def config(self, directory: str | Path) -> KrakkedConfig:
        """Return the whole settings of a client of this exchange, with its files in a directory.

        Everything a client writes (candles, shared state, a vault) then lies below it and bears
        this exchange's `name`. In memory the client needs `network` and `clock` as well. Candles in
        the directory belong to one market: a sandbox of another seed, or one on sockets that opens
        on another day, is another exchange, and the store refuses it.

        Args:
            directory: Where the client's files go; made by the first write.
        """
        home = Path(directory).expanduser().absolute()
        return KrakkedConfig(
            rest=RestSettings(base_url=self.rest_url),
            market_data=MarketDataSettings(
                ws=WebSocketSettings(url=self.ws_url),
                ohlc_store=OHLCStoreSettings(root_dir=str(home / "ohlc")),
            ),
            config_dir=str(home),
            exchange=self.name,
        )

    def add_key(
        self,
        *,
        permissions: tuple[str, ...] | None = None,
        nonce_window: int = 0,
        otp: str | None = None,
        ip_allowlist: tuple[str, ...] = (),
    ) -> tuple[str, str]:
        """Make another API key; permissions default to those that only read."""
        return self._venue.accounts.add_key(
            permissions=permissions,
            nonce_window=nonce_window,
            otp=otp,
            ip_allowlist=ip_allowlist,
            created_s=self._venue.clock.now_ns() // NS,
        )

    @property
    def accounts(self) -> Accounts:
        """Keys, balances, lockouts."""
        return self._venue.accounts

    @property
    def venue(self) -> Venue:
        """Listing, market and state."""
        return self._venue

    @property
    def connections(self) -> list[ClientConnection]:
        """WebSocket connections open now, oldest first."""
        return list(self._server.connections.values())

    @property
    def ws_connects(self) -> int:
        """WebSocket connects attempted so far, refused ones included."""
        return self._server.connects

    @property
    def ws_banned(self) -> int:
        """WebSocket connects refused because there were too many."""
        return self._server.banned

    @property
    def rest_calls(self) -> dict[str, int]:
        """REST calls that arrived, by endpoint."""
        return self._rest.calls

    @property
    def rest_refusals(self) -> dict[str, int]:
        """REST answers with an error, by text."""
        return self._rest.refusals


@asynccontextmanager
async def open_sandbox(
    *,
    seed: int = 1,
    memory: bool = False,
    settings: SandboxSettings | None = None,
    rest_port: int = 0,
    ws_port: int = 0,
    replay: Recording | None = None,
) -> AsyncIterator[Exchange]:
    """Run an exchange of one's own.

    Args:
        seed: One seed is one market (and one day: the market's past is laid out from its start).
        memory: No sockets, for virtual time; otherwise servers on 127.0.0.1.
        settings: Everything else.
        rest_port: Port for REST; 0 picks a free one.
        ws_port: Port for WebSocket; 0 picks a free one.
        replay: Play this recording to WebSocket clients instead of the market.

    Yields:
        The running exchange; it ends with the block.

    Raises:
        ConfigError: A port is taken, or none at all.
    """
    settings = settings or SandboxSettings()
    start_ns = settings.start_s * NS if settings.start_s is not None else DEFAULT_START_S * NS
    if not memory and settings.start_s is None:
        start_ns = time.time_ns()
    listing = build_listing()
    venue = Venue(
        settings=settings,
        listing=listing,
        directory=Directory(listing),
        market=Market(seed, settings, listing, start_ns),
        clock=MarketClock(start_ns, settings.real_time_factor),
        accounts=Accounts(seed, settings),
    )
    server = WsServer(venue, seed, replay)
    rest_faults = RestFaults(seed)
    rest = RestApp(venue, rest_faults)
    faults = Faults(venue, server, rest_faults, seed)
    parts = (rest, server, faults)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.pump.run)
        try:
            if memory:
                network = MemoryNetwork(rest, server, faults, nursery)
                exchange = Exchange(parts, network, VirtualClock(venue.clock), _NOWHERE_URLS)
            else:
                with _naming("rest_port", rest_port):
                    rest_port = await _serve_rest(nursery, rest, rest_port)
                with _naming("ws_port", ws_port):
                    ws_port = await _serve_ws(nursery, server, faults, ws_port)
                http, ws = f"http://127.0.0.1:{rest_port}", f"ws://127.0.0.1:{ws_port}/v2"
                sockets = LoopbackNetwork(venue.market.name, rest_port, ws_port)
                urls = (http, ws, f"{ws}/auth")
                exchange = Exchange(parts, sockets, LoopbackClock(venue.clock), urls)
            yield exchange
        except Exception as error:  # raised again below, not wrapped into the nursery's group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@contextmanager
def _naming(argument: str, port: int) -> Iterator[None]:
    """Say which port it was that cannot be listened on."""
    try:
        if port not in range(65_536):
            raise OSError(errno.EADDRNOTAVAIL, "there is no such port")
        yield
    except OSError as error:
        raise ConfigError(
            f"{argument}: nobody can listen on 127.0.0.1:{port}: {error.strerror}. Name another "
            "port, or 0 for any that is free.",
            key=argument,
        ) from error


async def _serve_rest(nursery: trio.Nursery, rest: RestApp, port: int) -> int:
    # Bound here, since hypercorn forgets to close a socket that it cannot bind.
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(("127.0.0.1", port))
        port = bound.getsockname()[1]
        descriptor = bound.detach()
    config = hypercorn.config.Config()
    config.bind = [f"fd://{descriptor}"]
    config.errorlog = logging.getLogger("krakked.sandbox.rest")
    config.graceful_timeout = 0.1
    config.include_server_header = False
    app = cast("ASGIFramework", rest.asgi)  # Starlette's own ASGI types are looser
    await nursery.start(partial(hypercorn.trio.serve, app, config, mode="asgi"))
    return port


async def _serve_ws(nursery: trio.Nursery, server: WsServer, faults: Faults, port: int) -> int:
    async def accept(stream: trio.SocketStream) -> None:
        if faults.takes_connect():
            await server.serve(stream)
        else:
            server.connects += 1
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    await nursery.start(partial(trio.serve_listeners, accept, listeners))
    return int(listeners[0].socket.getsockname()[1])
