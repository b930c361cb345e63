"""One look at the stream, without a feed: is the upgrade taken, and what does Kraken say first?"""

from __future__ import annotations

import msgspec
import trio
import trio_websocket

from krakked._errors import ConnectFailedError
from krakked._market.stream.connection import CONNECT_S, HANDSHAKE_S, STATUS_S, Endpoint, upgrade
from krakked._network.network import Network
from krakked._unreadable import UNREADABLE


class _Element(msgspec.Struct):
    system: str = ""


class _Status(msgspec.Struct):
    channel: str
    data: list[_Element] = []


async def look(end: Endpoint, network: Network) -> str:
    """Connect, upgrade, hear the first message, and leave; counts as one connection at Kraken.

    Returns:
        What the status frame calls Kraken's system, such as ``online``; empty when none came within
        `STATUS_S`. (Source: Kraken, WebSocket v2, channel "status", sent upon connecting.)

    Raises:
        ConnectFailedError: There is no connection, or the upgrade was not taken: the message says
            what was answered.
    """
    with trio.move_on_after(CONNECT_S) as connecting:
        stream = await network.open_stream(end.host, end.port, tls=end.tls)
    if connecting.cancelled_caught:
        raise _failed(end, f"no connection within {CONNECT_S:g} s")
    problem, system = f"no answer to the upgrade within {HANDSHAKE_S:g} s", ""
    try:
        with trio.move_on_after(HANDSHAKE_S) as patience:
            async with trio.open_nursery() as nursery:
                socket = await upgrade(nursery, stream, end)
                problem = ""
                patience.deadline = trio.current_time() + STATUS_S
                system = _system_of(await socket.get_message())
                nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:  # its reader raises in the nursery, too
        problem = _rejection(group)
    except* Exception:  # wsproto and h11 raise many kinds at what is no handshake
        problem = "it does not take the upgrade: no WebSocket speaks there"
    finally:
        await trio.aclose_forcefully(stream)
    if problem:
        raise _failed(end, problem)
    return system


def _rejection(group: BaseExceptionGroup[trio_websocket.ConnectionRejected]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    code = error.status_code if isinstance(error, trio_websocket.ConnectionRejected) else 0
    if code in {403, 429}:
        return (
            f"it answers the upgrade with HTTP {code}: this address is refused, or has connected "
            "too often. Wait ten minutes"
        )
    return f"it answers the upgrade with HTTP {code}"


def _failed(end: Endpoint, problem: str) -> ConnectFailedError:
    return ConnectFailedError(f"{end.host}:{end.port}: {problem}.")


def _system_of(said: str | bytes) -> str:
    try:
        first = msgspec.json.decode(said, type=_Status)
    except UNREADABLE:
        return ""
    return first.data[0].system if first.channel == "status" and first.data else ""
