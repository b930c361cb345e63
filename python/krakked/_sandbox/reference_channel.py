"""The `instrument` channel: assets and pairs under their new names; `data` is an object here.

As recorded in September 2026, where it differs from the documentation: assets have a class and no
multiplier, numbers are written out with the digits of their kind, never with an exponent.
"""

from __future__ import annotations

from krakked._sandbox.listing import Asset, Pair
from krakked._sandbox.venue import Venue

_ASSET_STATUS = {"withdrawal_only": "withdrawalonly", "deposit_only": "depositonly"}


def instrument_snapshot(venue: Venue, params: dict[str, object]) -> str:
    """Return the whole snapshot frame."""
    now_ns = venue.clock.now_ns()
    pairs = list(venue.pairs(now_ns))
    if params.get("include_tokenized_assets") is True:
        pairs += venue.pairs(now_ns, tokenized=True)
    assets = ",".join(_asset_row(a) for a in venue.listing.assets if "." not in a.id)
    rows = ",".join(pair_row(venue, pair) for pair in pairs)
    data = f'{{"assets":[{assets}],"pairs":[{rows}]}}'
    return f'{{"channel":"instrument","type":"snapshot","data":{data}}}'


def instrument_update(venue: Venue, pair: Pair) -> str:
    """Return an update frame about one pair."""
    row = pair_row(venue, pair)
    return f'{{"channel":"instrument","type":"update","data":{{"assets":[],"pairs":[{row}]}}}}'


def _step(decimals: int) -> str:
    """Write 10**-decimals the way the channel does: with all its digits."""
    return f"{10.0**-decimals:.{decimals}f}"


def _digits(value: str | float, decimals: int) -> str:
    """Write a number with so many digits behind the point."""
    return f"{float(value):.{decimals}f}"


def _asset_row(asset: Asset) -> str:
    text = (
        f'{{"id":"{asset.symbol}","class":"currency",'
        f'"status":"{_ASSET_STATUS.get(asset.status, asset.status)}",'
        f'"precision":{asset.decimals},"precision_display":{asset.display_decimals},'
        f'"borrowable":{"true" if asset.margin_rate else "false"},'
        f'"collateral_value":{asset.collateral_value or 0.0}'
    )
    rate = f',"margin_rate":{_digits(asset.margin_rate, 6)}' if asset.margin_rate else ""
    return f"{text}{rate}}}"


def pair_row(venue: Venue, pair: Pair) -> str:
    """Return one pair's object."""
    base, quote = pair.symbol.split("/")
    eligible = pair.margin_eligible
    text = (
        f'{{"symbol":"{pair.symbol}","base":"{base}","quote":"{quote}",'
        f'"status":"{venue.status(pair)}","qty_precision":{pair.lot_decimals},'
        f'"qty_increment":{_step(pair.lot_decimals)},"price_precision":{pair.pair_decimals},'
        f'"ws_display_price_precision":{pair.pair_decimals},'
        f'"price_increment":{_step(pair.pair_decimals)},"cost_precision":{pair.cost_decimals},'
        f'"cost_min":{_digits(pair.costmin, pair.cost_decimals)},'
        f'"qty_min":{_digits(pair.ordermin, pair.lot_decimals)},'
        f'"marginable":{"true" if eligible else "false"},"has_index":true'
    )
    if eligible:
        limit = max(10, round(pair.daily_cost / pair.price / 10))
        short = limit if pair.leverage_sell else 0
        text += (
            f',"margin_initial":0.1,"position_limit_long":{limit},"position_limit_short":{short}'
        )
    return f'{text},"tick_size":{_step(pair.pair_decimals)}}}'
