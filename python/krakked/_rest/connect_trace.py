"""How far a request got, as told by httpcore's ``trace`` extension.

Source: "Extensions", www.encode.io/httpcore/extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio


class Progress:
    """Follows one request; give it as ``extensions={"trace": Progress()}``.

    It also closes the socket of a TLS handshake that was cancelled: httpcore 1.0 closes it only
    when the handshake fails by itself, and would leave it to the garbage collector.
    """

    __slots__ = ("_tcp", "connecting")

    def __init__(self) -> None:
        self._tcp: Any = None
        self.connecting: bool = False
        """Whether a connection is being made, so that nothing of the request was sent yet. Stays
        False with transports that do not tell."""

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one event of httpcore."""
        match event:
            case "connection.connect_tcp.started":
                self.connecting = True
            case "connection.connect_tcp.complete":
                self._tcp = info["return_value"]
            case "connection.start_tls.complete":
                self._tcp = None  # it belongs to the TLS stream from now on
            case "connection.start_tls.failed" if self._tcp is not None:
                tcp, self._tcp = self._tcp, None
                with trio.CancelScope(shield=True):
                    await tcp.aclose()
            case "http11.send_request_headers.started":
                self.connecting, self._tcp = False, None

    def __repr__(self) -> str:
        return f"Progress(connecting={self.connecting})"
