"""The endpoints that krakked itself uses, as typed methods over any client that can fetch.

Replies are decoded from bytes straight into structs. The key of a result is not the name that was
asked for (``XBTUSD`` comes back as ``XXBTZUSD``), so a single result is found by being the
only one; it is refused when its key is known to name another pair.

Source: "Spot REST", docs.kraken.com/api/docs/rest-api, one page per endpoint.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from krakked._errors import RequestError
from krakked._rest.forex import REFUSAL, forex_pairs
from krakked._rest.models import (
    ApiKeyInfo,
    AssetPairInfo,
    ExtendedBalance,
    OHLCReply,
    OHLCRow,
    ServerTime,
    SystemStatus,
    TickerInfo,
    TradeRow,
    TradesReply,
    WebSocketsToken,
    parse_api_key_info,
)
from krakked._rest.otp import Otp, one_time
from krakked._rest.reply import Envelope, decode_result, unreadable
from krakked._rest.request import Value, check_endpoint
from krakked._unreadable import UNREADABLE

T = TypeVar("T")

_Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A successful answer and when it was asked for and given."""

    envelope: Envelope
    """The answer taken apart."""
    body: bytes
    """The answer as it came."""
    sent_ns: int
    """Elapsed time at which the request went out."""
    received_ns: int
    """Elapsed time at which the answer was complete."""

    def __repr__(self) -> str:
        return f"Answer({len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


_OHLC_ROW = msgspec.json.Decoder(OHLCRow)


class TypedEndpoints(ABC):
    """Typed calls. Every one may raise a NetworkError or an ApiError of krakked's tree.

    Private ones take `otp`, the one-time password of a key with a second factor: the code, or a
    function that gives the code of the moment.
    """

    _forex: frozenset[str] = frozenset()  # pairs that need asset_class=forex, as learned
    _pair_of: Callable[[str], str | None] | None = None

    def know_pairs(self, pair_of: Callable[[str], str | None]) -> None:
        """Refuse from now on answers of `ohlc`, `trades` and `trades_bytes` that are another's.

        Args:
            pair_of: Gives one name to all spellings of a listed pair, and None to what may be any:
                that is let pass.
        """
        self._pair_of = pair_of

    def _check_pair(self, endpoint: str, asked: str, names: Iterable[str]) -> None:
        if self._pair_of is None or (mine := self._pair_of(asked)) is None:
            return
        for name in names:
            if (theirs := self._pair_of(name)) is not None and theirs != mine:
                raise unreadable(endpoint, f"asked for {mine}, it is about {theirs}")

    @abstractmethod
    async def _fetch_public(
        self, endpoint: str, params: Mapping[str, Value] | None = None
    ) -> Answer:
        """Call a public endpoint; the answer is a success."""

    @abstractmethod
    async def _fetch_private(
        self,
        endpoint: str,
        data: Mapping[str, Value] | None = None,
        *,
        otp: Otp | None = None,
    ) -> Answer:
        """Call a private endpoint; the answer is a success."""

    async def _ask_public(self, endpoint: str, params: Mapping[str, Value] | None = None) -> Answer:
        """Call a public endpoint; the answer is a success.

        A call about a pair of two national currencies that is refused for its arguments is made
        once more with ``asset_class=forex``; if that helps, the pair has it from then on.
        """
        pairs = forex_pairs(check_endpoint(endpoint), params)
        if not pairs <= self._forex:
            try:
                return await self._fetch_public(endpoint, params)
            except RequestError as error:
                if not error.code.startswith(REFUSAL):
                    raise
        elif not pairs:
            return await self._fetch_public(endpoint, params)
        answer = await self._fetch_public(endpoint, {**(params or {}), "asset_class": "forex"})
        self._forex |= pairs
        return answer

    async def time(self) -> ServerTime:
        """Ask for Kraken's clock."""
        answer = await self._fetch_public("Time")
        return decode_result(answer.envelope, ServerTime, "Time")

    async def system_status(self) -> SystemStatus:
        """Ask whether the exchange is online."""
        answer = await self._fetch_public("SystemStatus")
        return decode_result(answer.envelope, SystemStatus, "SystemStatus")

    async def asset_pairs(self, *, country_code: str | None = None) -> dict[str, AssetPairInfo]:
        """Ask for all pairs, by their REST key (``XXBTZUSD``); odd entries are left out.

        Args:
            country_code: Only what is offered there, such as ``GB``; None = everywhere. Whether a
                region (``US:CA``) is understood is unverified.
        """
        answer = await self._fetch_public("AssetPairs", {"country_code": country_code})
        return _fitting(answer.envelope, AssetPairInfo, "AssetPairs")

    async def asset_pairs_bytes(self) -> bytes:
        """Ask for all pairs; the whole reply body."""
        return (await self._fetch_public("AssetPairs")).body

    async def ticker(self, pairs: Sequence[str] | None = None) -> dict[str, TickerInfo]:
        """Ask for tickers, by REST key; odd entries are left out.

        Args:
            pairs: Any names REST accepts; None = all pairs in one call.
        """
        answer = await self._ask_public("Ticker", {"pair": pairs})
        return _fitting(answer.envelope, TickerInfo, "Ticker")

    async def ohlc(self, pair: str, interval_minutes: int, since_s: int | None = None) -> OHLCReply:
        """Ask for at most 720 closed candles and the running one; odd rows are left out.

        Args:
            pair: REST key or altname.
            interval_minutes: 1, 5, 15, 30, 60, 240, 1440, 10080 or 21600.
            since_s: Open time from which to answer, unix seconds; older than the last 720 candles
                cannot be had.
        """
        answer = await self._ask_public(
            "OHLC", {"pair": pair, "interval": interval_minutes, "since": since_s}
        )
        result: dict[str, list[msgspec.Raw] | int | str] = decode_result(
            answer.envelope, dict[str, list[msgspec.Raw] | int | str], "OHLC"
        )
        last, raw = _split_last(result, "OHLC")
        self._check_pair("OHLC", pair, result)
        rows = []
        for row in raw:
            with contextlib.suppress(*UNREADABLE):
                rows.append(_OHLC_ROW.decode(row))
        if raw and not rows:
            raise unreadable("OHLC", "no row has the documented shape")
        return OHLCReply(rows=tuple(rows), last=last, unfit=len(raw) - len(rows))

    async def trades(self, pair: str, since_ns: int, count: int = 1000) -> TradesReply:
        """Ask for a page of trades.

        Args:
            pair: REST key or altname.
            since_ns: Unix nanoseconds after which to begin; 0 = the first trade ever.
            count: 1 to 1000.
        """
        answer = await self._ask_public("Trades", _trades_params(pair, since_ns, count))
        result: dict[str, list[TradeRow] | int | str] = decode_result(
            answer.envelope, dict[str, list[TradeRow] | int | str], "Trades"
        )
        last_ns, rows = _split_last(result, "Trades")
        self._check_pair("Trades", pair, result)
        return TradesReply(rows=tuple(rows), last_ns=last_ns)

    async def trades_bytes(self, pair: str, since_ns: int, count: int = 1000) -> bytes:
        """Ask for a page of trades; the whole reply body. Arguments as for `trades`."""
        answer = await self._ask_public("Trades", _trades_params(pair, since_ns, count))
        if self._pair_of is not None:
            names: dict[str, Any] = decode_result(answer.envelope, dict[str, msgspec.Raw], "Trades")
            self._check_pair("Trades", pair, (name for name in names if name != "last"))
        return answer.body

    async def balance(self, *, otp: Otp | None = None) -> dict[str, str]:
        """Ask for the balances: asset id -> decimal text."""
        otp = one_time(otp)  # no frame shows it
        # no local name for answers to private calls: they would show in tracebacks with locals
        return _or_empty(
            decode_result(
                (await self._fetch_private("Balance", otp=otp)).envelope,
                dict[str, str] | _Nothing,
                "Balance",
            )
        )

    async def balance_ex(self, *, otp: Otp | None = None) -> dict[str, ExtendedBalance]:
        """Ask for the balances with credit and holds, by asset id."""
        otp = one_time(otp)  # no frame shows it
        return _or_empty(
            decode_result(
                (await self._fetch_private("BalanceEx", otp=otp)).envelope,
                dict[str, ExtendedBalance] | _Nothing,
                "BalanceEx",
            )
        )

    async def api_key_info(self, *, otp: Otp | None = None) -> ApiKeyInfo:
        """Ask what the key may do; needs no permission."""
        otp = one_time(otp)  # no frame shows it
        fields: dict[str, Any] = decode_result(
            (await self._fetch_private("GetApiKeyInfo", otp=otp)).envelope,
            dict[str, Any],
            "GetApiKeyInfo",
        )
        return parse_api_key_info(fields)

    async def websockets_token(self, *, otp: Otp | None = None) -> WebSocketsToken:
        """Ask for a token for the private WebSocket channels."""
        otp = one_time(otp)  # no frame shows it
        return decode_result(
            (await self._fetch_private("GetWebSocketsToken", otp=otp)).envelope,
            WebSocketsToken,
            "GetWebSocketsToken",
        )


def _fitting(envelope: Envelope, kind: type[T], endpoint: str) -> dict[str, T]:
    """Decode the entries that have the documented shape: one odd pair must not cost all others."""
    entries: dict[str, msgspec.Raw] = decode_result(envelope, dict[str, msgspec.Raw], endpoint)
    decoder = msgspec.json.Decoder(kind)
    fitting: dict[str, T] = {}
    for name, entry in entries.items():
        with contextlib.suppress(*UNREADABLE):
            fitting[name] = decoder.decode(entry)
    if entries and not fitting:
        raise unreadable(endpoint, "no entry has the documented shape")
    return fitting


def _or_empty(assets: dict[str, T] | list[Any]) -> dict[str, T]:
    """Take ``[]`` for ``{}``, where there is nothing.

    ``OpenPositions`` was seen to do that; of an account without any balance nothing is recorded.
    """
    return assets if isinstance(assets, dict) else {}


def _trades_params(pair: str, since_ns: int, count: int) -> dict[str, Value]:
    return {"pair": pair, "since": since_ns, "count": count}


def _split_last(result: dict[str, list[Any] | int | str], endpoint: str) -> tuple[int, list[Any]]:
    """Return ``last`` (OHLC sends a number, Trades text) and the only list beside it."""
    last = result.pop("last", None)
    rows = next(iter(result.values()), None)
    if len(result) != 1 or not isinstance(rows, list):
        raise unreadable(endpoint, "not exactly one pair in its result")
    if isinstance(last, list) or last is None or not str(last).isdecimal():
        raise unreadable(endpoint, "no usable `last`")
    return int(last), rows
