"""Assets that got another name: what a stored pair of the old one may be called now. Pure.

A hint for people, nothing more. Old and new pair are two series: units may differ, and days may lie
between the last trade of one and the first of the other, so they are never joined.
"""

from __future__ import annotations

from typing import Final

from krakked._market.pairs import PairTable

RENAMED: Final = {"MATIC": "POL", "RNDR": "RENDER", "LUNA": "LUNA2", "REP": "REPV2"}
"""Old short name to new one, by the projects' own announcements. Unverified for Kraken, which lists
LUNA and LUNA2, REP and REPV2 side by side; so a hint is given only where it lists the new pair."""


def successor_of(pair: str, table: PairTable) -> str | None:
    """Return the listed pair that may go on from one that is listed no more; None without any.

    Args:
        pair: Canonical name as stored, such as ``MATICUSD``.
        table: The pairs that Kraken lists.
    """
    for old, new in RENAMED.items():
        name = new + pair.removeprefix(old)
        if pair.startswith(old) and name in table:
            return table.resolve(name)
    return None
