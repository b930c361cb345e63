"""Faults of REST, armed by a test and used up call by call."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import trio
from starlette.responses import Response

_PAGE = """<!DOCTYPE html>
<html lang="en-US"><head><title>{title}</title></head>
<body><div id="cf-wrapper"><h1>Error {status}</h1><h2>{title}</h2>
<p>Ray ID: 8f3c2a1b4d5e6f70 &bull; cloudflare</p></div></body></html>
"""
_TITLES = {403: "Access denied", 429: "Error 1015: You are being rate limited"}
_TITLES |= {502: "Bad gateway", 503: "Service Temporarily Unavailable", 504: "Gateway time-out"}
_TITLES |= {520: "Web server is returning an unknown error", 522: "Connection timed out"}
_TITLES |= {525: "SSL handshake failed"}


def page(status: int) -> str:
    """Return the HTML of a Cloudflare error page."""
    return _PAGE.format(status=status, title=_TITLES.get(status, "Error"))


def cloudflare_page(status: int) -> Response:
    """Return a Cloudflare error page as a response."""
    return Response(page(status), status, media_type="text/html", headers={"server": "cloudflare"})


@dataclass(slots=True)
class _Armed:
    kind: str
    endpoint: str | None
    times: int
    value: float | str
    chance: float


class RestFaults:
    """What REST does wrong: `exchange.faults.rest`.

    Each call arms one fault for `times` calls (of one endpoint, or of any), each of them hit with
    probability `chance`.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"rest faults {seed}")  # noqa: S311 - not for secrets
        self._armed: list[_Armed] = []
        self._refusing = False

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()
        self._refusing = False

    def refuse_connects(self, on: bool = True) -> None:
        """Refuse connections (in memory only)."""
        self._refusing = on

    def takes_connect(self) -> bool:
        """Whether a connection is let through."""
        return not self._refusing

    def http_error(
        self, status: int, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0
    ) -> None:
        """Answer with an HTML page of Cloudflare (502, 503, 504, 520, 522, 525, 403, 429)."""
        self._armed.append(_Armed("http", endpoint, times, status, chance))

    def api_error(
        self, text: str, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0
    ) -> None:
        """Answer HTTP 200 with an error text of Kraken's."""
        self._armed.append(_Armed("api", endpoint, times, text, chance))

    def warning(self, text: str, *, endpoint: str | None = None, times: int = 1) -> None:
        """Answer well, with a W... entry in `error`."""
        self._armed.append(_Armed("warning", endpoint, times, text, 1.0))

    def delay(
        self, seconds: float, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0
    ) -> None:
        """Answer late; longer than the client's time-out is a time-out (the call still counts)."""
        self._armed.append(_Armed("delay", endpoint, times, seconds, chance))

    def truncate(self, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0) -> None:
        """Cut the body off at a random byte, with a 200."""
        self._armed.append(_Armed("truncate", endpoint, times, 0.0, chance))

    def garbage(self, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0) -> None:
        """Answer 200 with something that is no JSON."""
        self._armed.append(_Armed("garbage", endpoint, times, 0.0, chance))

    def short_last(self, *, times: int = 1, chance: float = 1.0) -> None:
        """Give Trades a `last` that is too short to be a time in ns, as other clients have met."""
        self._armed.append(_Armed("short_last", "Trades", times, 0.0, chance))

    def drop(self, *, endpoint: str | None = None, times: int = 1, chance: float = 1.0) -> None:
        """Close the connection without an answer; the call still counts (in memory only)."""
        self._armed.append(_Armed("drop", endpoint, times, 0.0, chance))

    def drops(self, endpoint: str) -> bool:
        """Whether an answer is lost on its way (asked by the network)."""
        return self._take("drop", endpoint) is not None

    def _take(self, kind: str, endpoint: str) -> _Armed | None:
        for armed in self._armed:
            if armed.kind == kind and armed.endpoint in (None, endpoint):
                if self._random.random() >= armed.chance:
                    return None
                armed.times -= 1
                if armed.times <= 0:
                    self._armed.remove(armed)
                return armed
        return None

    async def before(self, endpoint: str) -> Response | None:
        """Apply faults that keep a call from its endpoint."""
        armed = self._take("delay", endpoint)
        if armed is not None:
            await trio.sleep(float(armed.value))
        armed = self._take("http", endpoint)
        if armed is not None:
            return cloudflare_page(int(armed.value))
        armed = self._take("api", endpoint)
        if armed is not None:
            body = json.dumps({"error": [armed.value]})
            return Response(body, media_type="application/json")
        return None

    def after(self, endpoint: str, response: Response) -> Response:
        """Apply faults that spoil a good answer."""
        if self._take("truncate", endpoint) is not None:
            body = bytes(response.body)
            return Response(
                body[: self._random.randrange(len(body))], media_type="application/json"
            )
        if self._take("garbage", endpoint) is not None:
            return Response(b"\xff\xfe{]", media_type="application/json")
        return response

    def spoiled(self, endpoint: str, result: object) -> object:
        """Apply faults that put something wrong into a good result."""
        if isinstance(result, dict) and self._take("short_last", endpoint) is not None:
            return result | {"last": str(result.get("last"))[:12]}
        return result

    def warnings(self, endpoint: str) -> list[str]:
        """Return the warnings that go with an answer."""
        armed = self._take("warning", endpoint)
        return [str(armed.value)] if armed is not None else []
