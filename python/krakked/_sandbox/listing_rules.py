"""How the listing is made from its data: names, digits, leverage, statuses, volumes.

The listing is the same for every seed; the seed only decides what the market does with it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

from krakked._sandbox import listing_data as data
from krakked._sandbox.hashing import seed_of
from krakked._sandbox.listing import Asset, Listing, Pair, new_name

# log10 of 24 h USD volume by rank among ZUSD pairs: 52 above $1M, 131 above $100k, 327 above $10k.
_Knots = list[tuple[float, float]]
_VOLUME: _Knots = [(0, 8.5), (4, 7.9), (12, 7.0), (52, 6.0), (131, 5.0), (327, 4.0)]
_VOLUME += [(520, 2.7), (615, 1.5)]
# log10 of trades a second by rank; chosen so that the whole market makes a handful a second.
_RATE: _Knots = [(0, -0.1), (3, -0.6), (10, -1.2), (52, -1.9), (131, -2.4), (327, -3.18)]
_RATE += [(500, -3.95), (600, -5.3), (615, -5.8)]
_QUOTE_SHARE = {"USD": 1.0, "EUR": 0.3, "USDT": 0.15, "USDC": 0.12, "GBP": 0.1, "XBT": 0.1}
# cancel_only, post_only, reduce_only by quote; ZUSD as counted, 47 / 19 / 3 in all.
_ODD = {"USD": (20, 2, 1), "EUR": (22, 14, 2), "USDT": (2, 2, 0), "USDC": (1, 1, 0)}
_ODD |= {"XBT": (2, 0, 0)}
_DIGITS = {"XBTUSD": 1, "XBTEUR": 1, "XBTUSDT": 1, "ETHUSD": 2, "SOLUSD": 2, "XDGUSD": 7}
_DIGITS |= {"ETHXBT": 6, "PAXGUSD": 2, "WBTCUSD": 1, "TBTCUSD": 1, "XBTJPY": 0, "YFIUSD": 0}
_DIGITS |= {"PEPEUSD": 9, "SHIBUSD": 8, "BTTUSD": 10, "MOGUSD": 10, "XRPUSD": 5, "ADAUSD": 6}
_DIGITS |= {"USDTUSD": 5, "USDCUSD": 4, "EURUSD": 5, "GBPUSD": 5, "XBTUSDC": 2}
_OLDEST_S = 1_380_844_800  # 2013-10-04
_YOUNGEST_S = 1_767_225_600  # 2026-01-01
_YEAR_S = 31_557_600


@functools.cache
def build_listing() -> Listing:
    """Make the whole listing."""
    pairs = tuple(_pairs())
    names = [pair.altname for pair in pairs]
    if len(set(names)) != len(names):
        raise AssertionError("an altname occurs twice in the listing data")
    phantoms = [*data.PHANTOM_KEYS]
    phantoms += [f"OLD{name}{quote}" for name, quote in _phantoms(256 - len(phantoms))]
    return Listing(_assets(), pairs, tuple(_tokenized(len(pairs))), tuple(phantoms))


@functools.cache
def entries(text: str) -> dict[str, float]:
    """Read ``NAME:NUMBER`` entries, in order."""
    return {name: float(value) for name, value in (e.split(":") for e in text.split())}


def asset_id(short: str) -> str:
    """Return the REST id of an asset from its short name."""
    if short in data.X_ASSETS:
        return "X" + short
    return "Z" + short if short in data.Z_ASSETS else short


@functools.cache
def leverage_tops() -> dict[str, tuple[int, bool]]:
    """Highest leverage and whether one may also sell, by margin-eligible base."""
    tops: dict[str, tuple[int, bool]] = {}
    for text, top, both in (
        (data.LEVERAGE_10, 10, True),
        (data.LEVERAGE_4, 4, True),
        (data.LEVERAGE_3, 3, True),
        (data.LEVERAGE_2, 2, True),
        (data.LEVERAGE_2_BUY_ONLY, 2, False),
        (data.LEVERAGE_3_BUY_ONLY, 3, False),
    ):
        tops |= dict.fromkeys(entries(text), (top, both))
    return tops


@functools.cache
def usd_bases() -> dict[str, float]:
    """The 615 bases of ZUSD pairs with their prices, busiest first."""
    prices = entries(data.PLAIN)
    for text in (data.LEVERAGE_10, data.LEVERAGE_4, data.LEVERAGE_3, data.LEVERAGE_2):
        prices = entries(text) | prices
    prices |= entries(data.LEVERAGE_2_BUY_ONLY) | entries(data.LEVERAGE_3_BUY_ONLY)
    order: list[str] = []
    plain = iter(entries(data.PLAIN))
    for place, name in enumerate(leverage_tops()):
        order.append(name)
        if place in (3, 6, 10) or (
            place > 12 and place % 6 == 0
        ):  # most volume is margin-eligible, some is not
            order.append(next(plain))
    order.extend(plain)
    invented = _invented_names({*order, *data.Z_ASSETS, "CHF", "FEE"})
    order = [*order, *(next(invented) for _ in range(615 - len(order)))]
    return {n: prices.get(n, round(10 ** (_share("price", n) * 5 - 4), 9)) for n in order}


def _invented_names(known: set[str]) -> Iterator[str]:
    syllables = data.SYLLABLES.split()
    count = len(syllables)
    for n in range(count * count * 2):
        first, second = (n * 7) % count, (n // count + n * 5) % count
        name = syllables[first] + syllables[second] + ("X" if n >= count * count else "")
        if name not in known:
            known.add(name)
            yield name


def _share(*parts: str) -> float:
    """A fixed pseudo-random number in [0, 1) for a name."""
    return seed_of("listing", *parts) / 2**64


def _curve(knots: _Knots, x: float) -> float:
    """Ten to the value interpolated linearly between knots."""
    for (x0, y0), (x1, y1) in itertools.pairwise(knots):
        if x <= x1:
            return float(10 ** (y0 + (y1 - y0) * (x - x0) / (x1 - x0)))
    return float(10 ** knots[-1][1])


def _leverage(base: str, quote: str, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Leverage lists of a pair; EUR pairs and the first XBT pairs follow their base."""
    top, both = leverage_tops().get(base, (0, False))
    if not top or quote not in ("USD", "EUR", "XBT") or (quote == "XBT" and rank > 12):
        return (), ()
    if quote != "USD" and not both:
        return (), ()
    levels = tuple(range(2, (min(top, 5) if quote == "XBT" else top) + 1))
    return levels, levels if both else ()


def _statuses(count: int, odd: tuple[int, int, int]) -> list[str]:
    """Statuses by rank: the odd ones are spread over the slower half."""
    statuses = ["online"] * count
    names = ["cancel_only"] * odd[0] + ["post_only"] * odd[1] + ["reduce_only"] * odd[2]
    for j, name in enumerate(names):
        statuses[count // 2 + j * (count // 2 - 1) // len(names)] = name
    return statuses


def _bases_of(quote: str, count: int) -> list[str]:
    usd = list(usd_bases())
    if quote == "USD":
        return usd[:count]
    first = data.FIRST_BASES.get(quote, "").split()
    rest = (n for n in usd if n not in first and _trades_against(n, quote))
    return [*first, *rest][:count]


def _trades_against(base: str, quote: str) -> bool:
    """Whether an ordinary pair exists; pairs of two stable assets are listed by name only."""
    if base in ("EUR", "GBP", "AUD", quote):
        return False
    if quote in ("XBT", "ETH") and usd_bases()[base] < 0.02:
        return False  # ten digits would not be enough
    return quote == "EUR" or base not in data.STABLE


def _pairs() -> Iterator[Pair]:
    index = 0
    for quote, wanted in entries(data.QUOTE_COUNTS).items():
        bases = _bases_of(quote, int(wanted))
        statuses = _statuses(len(bases), _ODD.get(quote, (0, 0, 0)))
        if quote == "USD":  # one of the margin-eligible pairs is not online
            place, other = bases.index("XTER"), statuses.index("cancel_only")
            statuses[place], statuses[other] = statuses[other], statuses[place]
        for rank, base in enumerate(bases):
            yield _pair(index, rank, base, quote, statuses[rank])
            index += 1


def _listed_s(base: str, rank: int) -> int:
    """Majors are old; the others were listed at any time, more and more often of late."""
    if rank < 12 and base in leverage_tops():
        return _OLDEST_S
    return _YOUNGEST_S - int((_share("listed", base) ** 2) * 7 * _YEAR_S)


def _is_quoted(quote: str, place: int, status: str) -> bool:
    """Someone stands in the book of every online ZUSD pair, but not of all the others."""
    tradable = status in ("online", "post_only")
    return tradable and (quote == "USD" or _curve(_RATE, place) > 1.2e-5)


def _pair(index: int, rank: int, base: str, quote: str, status: str) -> Pair:
    prices = entries(data.QUOTE_PRICES) | usd_bases()
    price, altname = prices[base] / prices[quote], base + quote
    share = _QUOTE_SHARE.get(quote, 0.06)
    place = rank if quote == "USD" else rank + 4
    usd = _curve(_VOLUME, place) * share * (0.85 + 0.3 * _share("volume", altname))
    rate = _curve(_RATE, place) * share**0.7 if status == "online" else 0.0
    buy, sell = _leverage(base, quote, rank)
    digits = _DIGITS.get(altname, min(10, max(0, 4 - math.floor(math.log10(price)))))
    short_lots = price < 1e-3 or (rank >= 60 and _share("lot", altname) < 0.7)
    ordermin = 10 ** math.floor(math.log10(3 / prices[base]))
    return Pair(
        index=index,
        key=asset_id(base) + asset_id(quote) if altname in data.LONG_KEYS else altname,
        altname=altname,
        wsname=f"{base}/{quote}",
        symbol=f"{new_name(base)}/{new_name(quote)}",
        base=asset_id(base),
        quote=asset_id(quote),
        base_short=base,
        quote_short=quote,
        aclass_base="currency",
        pair_decimals=digits,
        lot_decimals=5 if short_lots else 8,
        cost_decimals=max(5, min(10, digits + 2)),
        leverage_buy=buy,
        leverage_sell=sell,
        ordermin=f"{ordermin:.8f}".rstrip("0").rstrip(".") if base != "XBT" else "0.00005",
        costmin={"EUR": "0.45", "XBT": "0.00002", "ETH": "0.0002"}.get(quote, "0.5"),
        status=status,
        price=price,
        stable=base in data.STABLE and quote in data.STABLE,
        daily_cost=usd / prices[quote],
        trades_per_s=rate,
        quoted=_is_quoted(quote, place, status),
        listed_s=_listed_s(base, rank),
        in_ticker=status != "cancel_only" or _share("ticker", altname) > 0.42,
    )


def _tokenized(index: int) -> Iterator[Pair]:
    """XStocks: lower-case x, 24/5 in reality, here at all hours."""
    for rank, (name, price) in enumerate(entries(data.TOKENIZED).items()):
        short = name + "x"
        yield Pair(
            index=index + rank,
            key=short + "USD",
            altname=short + "USD",
            wsname=short + "/USD",
            symbol=short + "/USD",
            base=short,
            quote="ZUSD",
            base_short=short,
            quote_short="USD",
            aclass_base="tokenized_asset",
            pair_decimals=2,
            lot_decimals=8,
            cost_decimals=5,
            leverage_buy=(),
            leverage_sell=(),
            ordermin="0.01",
            costmin="0.5",
            status="online",
            price=price,
            stable=False,
            daily_cost=200_000.0,
            trades_per_s=0.004,
            quoted=True,
            listed_s=1_751_241_600,
            in_ticker=False,
        )


def _phantoms(count: int) -> Iterator[tuple[str, str]]:
    names = list(usd_bases())
    for n in range(count):
        yield names[-1 - n], "USD" if n % 3 else "EUR"


def _assets() -> tuple[Asset, ...]:
    shorts = [*usd_bases(), "USD", "JPY", "CAD", "CHF", "ARS", "COP", "MXN", "FIDD", "SOFID", "FEE"]
    collateral = {*shorts[:110], "USD", "JPY", "CAD"}
    assets = []
    for short in shorts:
        fiat = short in data.Z_ASSETS or short == "CHF"
        assets.append(
            Asset(
                id="KFEE" if short == "FEE" else asset_id(short),
                altname=short,
                decimals={"FEE": 2, "XDG": 8}.get(short, 4 if fiat else 10),
                display_decimals=2 if fiat or short in ("XDG", "FEE") else 5,
                collateral_value=(1.0 if fiat else 0.925) if short in collateral else None,
                margin_rate="0.02" if short in collateral else None,
                status="withdrawal_only" if _share("asset", short) > 0.985 else "enabled",
            )
        )
    for entry in data.SUFFIXED.split():
        short, suffixes = entry.split(".")
        for suffix in suffixes.split(","):
            name = f"{short}.{suffix}"
            assets.append(Asset(id=name, altname=name, decimals=10, display_decimals=5))
    return tuple(assets)
