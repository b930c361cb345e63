"""What the exchange announces: coming maintenance and emergencies, read field by field. Pure.

Both arrays stand in the `status` channel and in REST's SystemStatus since autumn 2026, with every
field optional. Source: Kraken "Status" of WebSocket v2 and "Get System Status".
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from krakked._market.times import FAR_S, utc_minute
from krakked._public import public
from krakked._unreadable import UNREADABLE

_LONGEST: Final = 200
_EVERYTHING: Final = frozenset({"all", "unspecified"})
_SPOT: Final = "spot"

_ADVICE: Final = {
    "reduce_activity": "reduce activity",
    "cancel_open_orders": "cancel open orders",
    "stop_new_orders": "place no new orders",
    "disconnect_and_wait": "disconnect and wait",
}
"""Kraken's `recommended_action` in words; others are shown as they are, `continue` is no advice."""


@public
class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """Maintenance that the exchange announces, up to 72 hours ahead."""

    event_id: int | None = None
    """Kraken's number."""
    title: str = ""
    """In Kraken's words."""
    phase: str = ""
    """``announced``, ``reminder_24h``, ``approaching_30m``, ``imminent_5m``, ..., or new."""
    services: tuple[str, ...] = ()
    """``spot_ws``, ``spot_rest``, ``spot_trading``, ``futures_...``, ``all``, ..., or new."""
    action: str = ""
    """Recommended: ``continue``, ``stop_new_orders``, ``disconnect_and_wait``, ..., or new."""
    starts_s: int | None = None
    """Expected start, unix seconds."""
    ends_s: int | None = None
    """Expected end, unix seconds."""
    cancel_before_s: int | None = None
    """Orders should be cancelled before this, unix seconds."""
    url: str = ""
    """Where Kraken says more; empty when it names no page."""

    def sentence(self) -> str:
        """Say it in one sentence."""
        text = f"Kraken announces maintenance{_quoted(self.title)}{_span(self)}"
        advice = _ADVICE.get(self.action, self.action.replace("_", " "))
        if advice and self.action not in {"continue", "unspecified"}:
            text += f"; it advises to {advice}"
        if self.cancel_before_s is not None:
            text += f"; cancel orders before {utc_minute(self.cancel_before_s)} UTC"
        return f"{text}{_at(self.url)}."


@public
class Emergency(msgspec.Struct, frozen=True, kw_only=True):
    """Trouble that the exchange reports of itself."""

    event_id: int | None = None
    """Kraken's number."""
    title: str = ""
    """In Kraken's words."""
    status: str = ""
    """Of the incident, in Kraken's words."""
    impact: str = ""
    """In Kraken's words."""
    services: tuple[str, ...] = ()
    """As in `Maintenance`."""
    started_s: int | None = None
    """Unix seconds."""
    next_steps: tuple[str, ...] = ()
    """What Kraken plans or advises, in words."""
    url: str = ""
    """Where Kraken says more; empty when it names no page."""

    def sentence(self) -> str:
        """Say it in one sentence."""
        text = f"Kraken reports an emergency{_quoted(self.title)}"
        facts = ", ".join(part for part in (self.status, self.impact) if part)
        text += f" ({facts})" if facts else ""
        if self.started_s is not None:
            text += f" since {utc_minute(self.started_s)} UTC"
        if self.next_steps:
            text += f"; next: {', '.join(self.next_steps)}"
        return f"{text}{_at(self.url)}."


@public
class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """All that is announced now and concerns spot markets."""

    maintenance: tuple[Maintenance, ...] = ()
    """Coming maintenance."""
    emergencies: tuple[Emergency, ...] = ()
    """Trouble that Kraken reports of itself."""

    def at(self, now_s: float) -> "Notices":
        """Leave out maintenance whose expected end is past: the exchange tells only the start."""
        due = tuple(m for m in self.maintenance if m.ends_s is None or m.ends_s > now_s)
        return Notices(maintenance=due, emergencies=self.emergencies)


class _Arrays(msgspec.Struct):
    upcoming_maintenance: Any = ()
    emergency: Any = ()


def read_notices(raw_json: str | bytes) -> "Notices":
    """Read both arrays of a status object; what makes no sense in there is left out.

    Notices about futures alone are left out too.
    """
    try:
        arrays = msgspec.json.decode(raw_json, type=_Arrays)
    except UNREADABLE:
        return Notices()
    maintenance = [_maintenance(each) for each in _objects(arrays.upcoming_maintenance)]
    emergencies = [_emergency(each) for each in _objects(arrays.emergency)]
    return Notices(
        maintenance=tuple(each for each in maintenance if _concerns_spot(each.services)),
        emergencies=tuple(each for each in emergencies if _concerns_spot(each.services)),
    )


def _objects(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _concerns_spot(services: Collection[str]) -> bool:
    return not services or any(s in _EVERYTHING or s.startswith(_SPOT) for s in services)


def _maintenance(fields: Mapping[str, object]) -> Maintenance:
    return Maintenance(
        event_id=_whole(fields.get("event_id")),
        title=_text(fields.get("title")),
        phase=_text(fields.get("phase")),
        services=_texts(fields.get("affected_services")),
        action=_text(fields.get("recommended_action")),
        starts_s=_seconds(fields.get("expected_start_utc")),
        ends_s=_seconds(fields.get("expected_end_utc")),
        cancel_before_s=_seconds(fields.get("cancel_before_utc")),
        url=_text(fields.get("source_url")),
    )


def _emergency(fields: Mapping[str, object]) -> Emergency:
    steps = [_step(each) for each in _objects(fields.get("next_steps"))]
    return Emergency(
        event_id=_whole(fields.get("event_id")),
        title=_text(fields.get("title")),
        status=_text(fields.get("incident_status")),
        impact=_text(fields.get("impact")),
        services=_texts(fields.get("affected_services")),
        started_s=_seconds(fields.get("started_at_utc")),
        next_steps=tuple(step for step in steps if step),
        url=_text(fields.get("source_url")),
    )


def _step(fields: Mapping[str, object]) -> str:
    kind, expected_s = _text(fields.get("type")), _seconds(fields.get("expected_at_utc"))
    words = [kind.replace("_", " "), _text(fields.get("applies_to"))]
    words += [] if expected_s is None else [f"at {utc_minute(expected_s)} UTC"]
    return " ".join(word for word in words if word)


def _text(value: object) -> str:
    """Take a text, printable and short: it is shown on terminals and in logs."""
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value).strip()[:_LONGEST]


def _texts(value: object) -> tuple[str, ...]:
    texts = [_text(each) for each in value] if isinstance(value, list) else []
    return tuple(text.lower() for text in texts if text)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: object) -> int | None:
    """Read an RFC 3339 time, UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds if 0 <= seconds < FAR_S else None


def _quoted(title: str) -> str:
    return f' "{title}"' if title else ""


def _at(url: str) -> str:
    return f"; see {url}" if url.startswith("https://") else ""


def _span(notice: Maintenance) -> str:
    words = ""
    if notice.starts_s is not None:
        words += f" from {utc_minute(notice.starts_s)}"
    if notice.ends_s is not None:
        words += f" to {utc_minute(notice.ends_s)}"
    services = f" of {', '.join(notice.services)}" if notice.services else ""
    return services + (f"{words} UTC" if words else "")
