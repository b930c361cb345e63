"""Replies that are odd in ways the real exchange may be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from krakked._config.settings import KrakkedConfig, RestSettings
from krakked._credentials.candidate import Candidate
from krakked._credentials.outcomes import Outcome
from krakked._credentials.validation import validate_credentials
from krakked._errors import ServiceError
from krakked._rest.client import RestClient
from krakked._rest.endpoints import Answer, TypedEndpoints
from krakked._rest.reply import read_envelope
from krakked.sandbox import SandboxSettings, open_sandbox


class Canned(TypedEndpoints):
    """Answers every call with one result."""

    def __init__(self, result: object) -> None:
        self.body = json.dumps({"error": [], "result": result}).encode()

    async def _fetch_public(self, endpoint: str, params: Mapping[str, Any] | None = None) -> Answer:
        envelope = read_envelope(self.body, endpoint)
        return Answer(envelope=envelope, body=self.body, sent_ns=0, received_ns=0)

    async def _fetch_private(
        self, endpoint: str, data: Mapping[str, Any] | None = None, *, otp: object = None
    ) -> Answer:
        return await self._fetch_public(endpoint)


async def test_one_odd_entry_does_not_cost_the_others() -> None:
    good = {"c": ["1.5", "2"], "t": [1, 2], "o": "1"}
    odd = [{"c": None}, {"t": ["x"]}, {"o": 1}, 7, None]
    tickers = await Canned({"A": good} | {f"odd{n}": e for n, e in enumerate(odd)}).ticker()
    assert list(tickers) == ["A"]
    assert tickers["A"].c == ("1.5", "2")
    pairs = await Canned({"A": {"altname": "A"}, "B": {"altname": "B", "fees": 7}}).asset_pairs()
    assert list(pairs) == ["A"]
    assert await Canned({}).ticker() == {}
    with pytest.raises(ServiceError):
        await Canned({"A": 7}).ticker()


async def test_a_list_stands_for_no_balances_at_all() -> None:
    assert await Canned([]).balance() == {}
    assert await Canned({}).balance() == {}
    assert await Canned([]).balance_ex() == {}
    for wrong in (["x"], "x", {"ZUSD": 1}):
        with pytest.raises(ServiceError):
            await Canned(wrong).balance()


async def test_the_key_of_an_empty_account_is_valid(autojump_clock: Any) -> None:
    async with open_sandbox(memory=True, settings=SandboxSettings(pair_count=2)) as exchange:
        exchange.accounts.balances.clear()
        config = KrakkedConfig(rest=RestSettings())
        found = await validate_credentials(
            Candidate(exchange.key, exchange.secret),
            config=config,
            network=exchange.network,
            clock=exchange.clock,
        )
        assert found.outcome is Outcome.VALID
        async with RestClient(
            RestSettings(), network=exchange.network, clock=exchange.clock
        ) as rest:
            assert (await rest.ticker(["XBTUSD"])).keys() == {"XXBTZUSD"}
