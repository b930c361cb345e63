"""The universe in plain words: how many pairs, why the others are left out, what margin costs you.

Pure text and counts; `krakked universe`, the set-up wizard and the demo print what is built here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from krakked._market.universe import Universe, UniverseRule

MARGIN_LINE: Final = "universe: {margin_eligible: include}"
"""The one line of config.yaml that brings margin-eligible pairs in."""

NAMES_SHOWN: Final = 10
"""How many big names a report spells out."""

RULE_WORDS: Final[dict[UniverseRule, str]] = {
    UniverseRule.UNFIT: "an entry that cannot be read",
    UniverseRule.QUOTE: "another quote currency",
    UniverseRule.SPOT_CLASS: "not plain spot (tokenised assets, dark pools)",
    UniverseRule.STATUS: "not online",
    UniverseRule.BASE: "base named in exclude_bases",
    UniverseRule.MARGIN: "eligible for margin",
    UniverseRule.NO_TICKER: "no ticker, so no known volume",
    UniverseRule.LIQUIDITY: "below the volume floor",
    UniverseRule.EXCLUDED: "named in exclude_pairs",
}
"""Each rule in a few words."""


class MarginReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the margin rule leaves out."""

    left_out: int
    """Pairs that only the margin rule leaves out."""
    considered: int
    """Pairs that reached the margin rule: spot, online, in the default quote."""
    volume_share: float | None
    """Their share of the considered pairs' 24 h volume, 0 to 1; None without a ticker."""
    names: tuple[str, ...]
    """The biggest of them, canonical: by 24 h volume where known, else by leverage."""
    config_line: str = MARGIN_LINE
    """The line of config.yaml that brings them in."""

    def text(self) -> str:
        """Say it in plain words; empty when nothing is left out."""
        if not self.left_out:
            return ""
        share = ""
        if self.volume_share is not None:
            share = f", {self.volume_share:.0%} of the 24 h volume"
        names = ", ".join(self.names)
        return (
            f"{self.left_out} of {self.considered} online spot pairs are left out because Kraken "
            f"also offers them on margin{share}: {names}"
            f"{' and others' if self.left_out > len(self.names) else ''}. They trade on spot like "
            f"any other. To bring them in, write into config.yaml:  {self.config_line}"
        )


def count_rules(universe: Universe) -> dict[UniverseRule, int]:
    """Count the pairs left out, by rule, in the order of the rules; rules without a case absent."""
    return {
        rule: count
        for rule in UniverseRule
        if (count := sum(1 for found in universe.rules.values() if found is rule))
    }


def report_margin(universe: Universe) -> MarginReport:
    """Say what the margin rule costs: pairs, share of volume, big names."""
    left_out = [name for name, rule in universe.rules.items() if rule is UniverseRule.MARGIN]
    later = {UniverseRule.MARGIN, UniverseRule.NO_TICKER, UniverseRule.LIQUIDITY}
    considered = [name for name, rule in universe.rules.items() if rule in later]
    considered += universe.pairs
    volumes = {
        name: volume
        for name in considered
        if (volume := universe.table.metadata(name).volume_24h_usd) is not None
    }
    total = sum(volumes.values())
    share = sum(volumes.get(name, 0.0) for name in left_out) / total if total > 0 else None

    def size(name: str) -> tuple[float, int]:
        return (-volumes.get(name, 0.0), -universe.leverage.get(name, 0))

    return MarginReport(
        left_out=len(left_out),
        considered=len(considered),
        volume_share=share,
        names=tuple(sorted(left_out, key=size)[:NAMES_SHOWN]),
    )


def describe_universe(universe: Universe) -> list[str]:
    """Describe the universe in plain sentences, the margin report and all warnings included."""
    lines = [
        f"{len(universe.pairs)} pairs of {len(universe.table)} known ones are in the universe."
    ]
    lines += [
        f"{count} left out: {RULE_WORDS[rule]}." for rule, count in count_rules(universe).items()
    ]
    margin = report_margin(universe).text()
    if margin:
        lines.append(margin)
    lines += [f"Warning: {warning}" for warning in universe.warnings]
    return lines
