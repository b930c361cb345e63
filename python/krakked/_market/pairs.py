"""One tradable pair, and the one table that converts between its four spellings.

Kraken names a pair in four ways (AssetPairs key ``XXBTZUSD``, altname ``XBTUSD``, wsname
``XBT/USD``, WebSocket v2 symbol ``BTC/USD``). Everywhere in krakked a pair is its *canonical* name,
the altname; only this module converts. What people write beside the four (``BTCUSD``, ``xbtusd``,
``BTC-USD``) is understood where it can mean one pair only.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from krakked._errors import UnknownPairError
from krakked._market.arguments import shown
from krakked._public import public

V2_ASSET_NAMES: Final[dict[str, str]] = {"XBT": "BTC", "XDG": "DOGE"}
"""The only two assets that WebSocket v2 names differently, on either side of the slash.

Source: Kraken guide "Spot WebSocket introduction", FAQ (XBT/USD missing); an `instrument` snapshot
wins where it disagrees.
"""

_KNOWN: Final = " `krakked universe` lists the pairs that there are."

NEAR: Final = 0.8
"""How much of two names must agree before one is suggested for the other (1 = all): about one
letter of five may differ."""

_UNWRITTEN: Final = str.maketrans("", "", " \t/-_:")
"""What people write between base and quote."""


@public
class PairMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What Kraken says about one pair."""

    canonical: str
    """Kraken's altname, such as ``XBTUSD``: krakked's only name for the pair."""
    base: str
    """Short name of the base asset, such as ``XBT`` (left of the wsname's slash)."""
    quote: str
    """Short name of the quote asset, such as ``USD``."""
    rest_symbol: str
    """Name for REST calls: the altname."""
    ws_symbol: str
    """Name that WebSocket v2 accepts, such as ``BTC/USD`` (v2 refuses ``XBT/USD``)."""
    wsname: str
    """Kraken's wsname, such as ``XBT/USD`` (WebSocket v1)."""
    raw_name: str
    """Key in the AssetPairs reply, such as ``XXBTZUSD``."""
    price_decimals: int
    """Digits of a price (``pair_decimals``)."""
    volume_decimals: int
    """Digits of a volume (``lot_decimals``)."""
    lot_size: float
    """Kraken's ``lot_multiplier``."""
    status: str
    """``online``, ``cancel_only``, ... ; an open set."""
    ordermin: float | None = None
    """Least order volume, base units."""
    costmin: float | None = None
    """Least order cost, quote units."""
    tick_size: float | None = None
    """Price step, quote units."""
    margin_eligible: bool = False
    """Whether ``leverage_buy`` or ``leverage_sell`` is non-empty; spot orders need no leverage."""
    volume_24h_usd: float | None = None
    """24 h volume in quote units (``v[1] * p[1]`` of Ticker), where known."""
    unfit: str = ""
    """What of Kraken's entry could not be read, in words; the numbers concerned are stand-ins (0
    decimals, a lot of 1). Such a pair is in the universe only when `include_pairs` names it."""


@public
class PairTable:
    """Every spelling of every known pair, looked up in one step. Immutable once built."""

    def __init__(self, pairs: Iterable[PairMetadata]) -> None:
        self._by_canonical: dict[str, PairMetadata] = {p.canonical: p for p in pairs}
        spellings: dict[str, str] = {}
        # Weaker spellings first, so that a canonical name always means itself.
        for attribute in ("wsname", "ws_symbol", "raw_name", "canonical"):
            for pair in self._by_canonical.values():
                spellings[getattr(pair, attribute)] = pair.canonical
        self._canonical_by_spelling = spellings
        self._canonicals_by_folded: dict[str, set[str]] = {}
        for spelling, canonical in self._loose_spellings():
            self._canonicals_by_folded.setdefault(fold(spelling), set()).add(canonical)

    def _loose_spellings(self) -> Iterator[tuple[str, str]]:
        yield from self._canonical_by_spelling.items()
        for pair in self._by_canonical.values():
            base, slash, quote = pair.wsname.partition("/")
            for one in asset_names(base) if slash else ():
                for other in asset_names(quote):
                    yield one + other, pair.canonical

    @property
    def by_canonical(self) -> Mapping[str, PairMetadata]:
        """Metadata by canonical name, in order."""
        return self._by_canonical

    def __contains__(self, name: object) -> bool:
        return len(self._meant(name)) == 1

    def __len__(self) -> int:
        return len(self._by_canonical)

    def resolve(self, name: str) -> str:
        """Return the canonical name of any spelling.

        Kraken's own spellings mean themselves. Others are understood without regard to capitals,
        separators and the two names of Bitcoin and Dogecoin, where that leaves one pair.

        Raises:
            UnknownPairError: No pair is spelled so, or several may be meant; a near name is
                suggested.
        """
        meant = self._meant(name)
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise UnknownPairError(
                f"{name!r} can mean {' or '.join(meant)}: write one of them as it stands here.",
                pair=str(name),
                suggestion=meant[0],
            )
        suggestion = self.nearest(name)
        hint = f" Did you mean {suggestion}?" if suggestion else _KNOWN
        raise UnknownPairError(
            f"Unknown pair {shown(name)}.{hint}", pair=str(name), suggestion=suggestion
        )

    def metadata(self, name: str) -> PairMetadata:
        """Return the metadata of a pair by any spelling; raises `UnknownPairError`."""
        return self._by_canonical[self.resolve(name)]

    def nearest(self, name: str) -> str | None:
        """Return the canonical name most like `name`, or None when none is near."""
        folded = self._canonicals_by_folded
        near = difflib.get_close_matches(fold(str(name)), folded, n=1, cutoff=NEAR)
        return min(folded[near[0]]) if near else None

    def _meant(self, name: object) -> list[str]:
        if not isinstance(name, str):
            return []
        exact = self._canonical_by_spelling.get(name)
        return (
            [exact] if exact is not None else sorted(self._canonicals_by_folded.get(fold(name), ()))
        )


def fold(name: str) -> str:
    """Leave out what people write differently: capitals and what stands between base and quote."""
    return name.translate(_UNWRITTEN).upper()


def asset_names(asset: str) -> tuple[str, ...]:
    """Return the names of an asset: its own, and its other one where it has two."""
    for old, new in V2_ASSET_NAMES.items():
        if asset in {old, new}:
            return (old, new)
    return (asset,)
