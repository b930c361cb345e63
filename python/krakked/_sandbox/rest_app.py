"""REST as an ASGI application: routing, limits, faults and Kraken's envelope."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from krakked._sandbox.accounts import ApiRefusedError
from krakked._sandbox.limits import Counter
from krakked._sandbox.rest_faults import RestFaults, cloudflare_page
from krakked._sandbox.rest_private import PRIVATE
from krakked._sandbox.rest_public import PER_PAIR, PUBLIC
from krakked._sandbox.venue import Venue

_FORM = "application/x-www-form-urlencoded"
_NEVER_KEPT = frozenset({"Time", "SystemStatus", "MaintenanceSchedule"})


class RestApp:
    """The REST side of one sandbox."""

    def __init__(self, venue: Venue, faults: RestFaults) -> None:
        self._venue = venue
        self._faults = faults
        self._per_client: dict[str, Counter] = {}
        self._per_pair: dict[tuple[str, str], Counter] = {}
        self._kept: dict[str, tuple[float, object]] = {}
        self.calls: dict[str, int] = {}
        """Calls that arrived, by endpoint."""
        self.refusals: dict[str, int] = {}
        """Answers with an error, by text."""
        every = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]
        self.asgi: Starlette = Starlette(
            routes=[Route("/{path:path}", self._answer, methods=every)]
        )

    async def _answer(self, request: Request) -> Response:
        """Answer, and say which sandbox it was.

        No real exchange does; a client must not take the candles of another one for its own.
        """
        response = await self._answered(request)
        response.headers["x-krakked-sandbox"] = self._venue.market.name
        return response

    async def _answered(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        path = request.url.path
        endpoint = path.rsplit("/", 1)[-1]
        self.calls[endpoint] = self.calls.get(endpoint, 0) + 1
        if self._venue.settings.require_user_agent and not request.headers.get("user-agent"):
            return cloudflare_page(403)
        fault = await self._faults.before(endpoint)
        if fault is not None:
            return fault
        if path.startswith("/0/public/"):
            return self._faults.after(endpoint, await self._public(request, endpoint))
        if path.startswith("/0/private/"):
            return self._faults.after(endpoint, await self._private(request, path, endpoint))
        return Response("404 page not found", 404)

    async def _public(self, request: Request, endpoint: str) -> Response:
        if request.method not in ("GET", "POST"):
            return Response("405 method not allowed", 405)
        params = dict(request.query_params)
        if request.method == "POST":
            form = (await request.body()).decode("utf-8", "replace")
            params |= dict(urllib.parse.parse_qsl(form))
        try:
            if endpoint not in PUBLIC:
                raise ApiRefusedError("EGeneral:Unknown method")
            self._limit_public(request, endpoint, params)
            if self._venue.system == "maintenance" and endpoint not in _NEVER_KEPT:
                raise ApiRefusedError("EService:Unavailable")
            result = self._result(endpoint, params)
        except ApiRefusedError as refused:
            return self._refusal(refused.text)
        return _reply({"error": self._faults.warnings(endpoint), "result": result})

    def _result(self, endpoint: str, params: dict[str, str]) -> object:
        """Answer, or give the answer out again that was given a moment ago."""
        kept_s, now = self._venue.settings.public_cache_s, trio.current_time()
        name = f"{endpoint} {sorted(params.items())}"
        at, result = self._kept.get(name, (-kept_s, None))
        if not kept_s or endpoint in _NEVER_KEPT or now - at >= kept_s:
            result = PUBLIC[endpoint](self._venue, params, self._venue.clock.now_ns())
            self._kept[name] = (now, result)
            self._kept = {k: v for k, v in self._kept.items() if now - v[0] < kept_s}
        return self._faults.spoiled(endpoint, result)

    def _limit_public(self, request: Request, endpoint: str, params: dict[str, str]) -> None:
        settings = self._venue.settings
        if not settings.limits:
            return
        client, now = _client(request), trio.current_time()
        counter = self._per_client.setdefault(
            client, Counter(settings.public_burst, settings.public_decay_per_s)
        )
        counters = [counter]
        if endpoint in PER_PAIR:
            pair = (client, params.get("pair", ""))
            pair_counter = Counter(settings.pair_burst, settings.pair_decay_per_s)
            counters.append(self._per_pair.setdefault(pair, pair_counter))
        if not all(counter.add(now) for counter in counters):
            raise ApiRefusedError("EGeneral:Too many requests")

    async def _private(self, request: Request, path: str, endpoint: str) -> Response:
        if request.method != "POST":
            return Response("405 method not allowed", 405)
        body = await request.body()
        content_type = request.headers.get("content-type", _FORM).split(";")[0].strip()
        venue, now, client = self._venue, trio.current_time(), _client(request)
        try:
            key = venue.accounts.check_key(request.headers.get("api-key", ""), client, now)
            if endpoint not in PRIVATE:
                raise ApiRefusedError("EGeneral:Unknown method")
            if request.url.query or content_type not in (_FORM, "application/json"):
                raise ApiRefusedError("EAPI:Bad request")
            sign = request.headers.get("api-sign", "")
            as_json = content_type == "application/json"
            call = venue.accounts.check_call(key, path, body, as_json, sign)
            answer, permission, history = PRIVATE[endpoint]
            cost = venue.settings.history_cost if history else 1.0
            if venue.settings.limits and not key.counter.add(now, cost):
                raise ApiRefusedError("EAPI:Rate limit exceeded")
            if permission is not None and permission not in key.permissions:
                raise ApiRefusedError("EGeneral:Permission denied")
            if venue.system == "maintenance":
                raise ApiRefusedError("EService:Unavailable")
            result = answer(venue, key, call)
            key.last_used_s = venue.clock.shown_ns() // 10**9
        except ApiRefusedError as refused:
            return self._refusal(refused.text)
        return _reply({"error": self._faults.warnings(endpoint), "result": result})

    def _refusal(self, text: str) -> Response:
        self.refusals[text] = self.refusals.get(text, 0) + 1
        # "result" is absent, null or {} in failures: all three were seen.
        shapes: list[dict[str, Any]] = [{}, {"result": None}, {"result": {}}]
        return _reply({"error": [text]} | shapes[sum(self.refusals.values()) % 3])


def _reply(envelope: dict[str, Any]) -> Response:
    body = json.dumps(envelope, separators=(",", ":"))
    return Response(body, media_type="application/json", headers={"server": "cloudflare"})


def _client(request: Request) -> str:
    return request.client.host if request.client else "memory"
