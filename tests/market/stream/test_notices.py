"""Announced maintenance and emergencies: every field is optional, nothing in there can hurt."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krakked._market.stream.notices import Emergency, Maintenance, Notices, read_notices

FULL = {
    "event_id": 41,
    "title": "Spot engine upgrade",
    "phase": "reminder_24h",
    "affected_services": ["spot_ws", "spot_rest", "spot_trading"],
    "order_submission": "unavailable",
    "recommended_action": "cancel_open_orders",
    "expected_start_utc": "2026-10-05T09:00:00Z",
    "expected_end_utc": "2026-10-05T09:30:00Z",
    "cancel_before_utc": "2026-10-05T08:55:00Z",
    "time_to_start_s": 86400,
    "source_url": "https://status.kraken.com/incidents/x",
}


def read(maintenance: object = (), emergency: object = ()) -> Notices:
    return read_notices(
        json.dumps(
            {"upcoming_maintenance": maintenance, "emergency": emergency, "system": "online"}
        )
    )


def test_a_whole_notice_is_one_sentence() -> None:
    (notice,) = read([FULL]).maintenance
    assert (notice.event_id, notice.phase, notice.action) == (
        41,
        "reminder_24h",
        "cancel_open_orders",
    )
    assert notice.starts_s == 1_791_190_800
    assert notice.ends_s == 1_791_190_800 + 1800
    assert notice.sentence() == (
        'Kraken announces maintenance "Spot engine upgrade" of spot_ws, spot_rest, spot_trading '
        "from 2026-10-05 09:00 to 2026-10-05 09:30 UTC; it advises to cancel open orders; cancel "
        "orders before 2026-10-05 08:55 UTC; see https://status.kraken.com/incidents/x."
    )


def test_an_empty_notice_is_a_sentence_too() -> None:
    assert read([{}]).maintenance[0].sentence() == "Kraken announces maintenance."
    assert read((), [{}]).emergencies[0].sentence() == "Kraken reports an emergency."


def test_a_whole_emergency() -> None:
    emergency = {
        "event_id": 3,
        "title": "Degraded matching",
        "incident_status": "identified",
        "impact": "major",
        "affected_services": ["all"],
        "started_at_utc": "2026-10-05T10:00:00+02:00",
        "next_steps": [
            {
                "applies_to": "spot",
                "type": "cancel_only",
                "expected_at_utc": "2026-10-05T09:00:00Z",
            },
            {"type": "resume"},
            {},
            None,
        ],
        "source_url": "javascript:alert(1)",
    }
    (notice,) = read((), [emergency]).emergencies
    assert notice.sentence() == (
        'Kraken reports an emergency "Degraded matching" (identified, major) since 2026-10-05 '
        "08:00 UTC; next: cancel only spot at 2026-10-05 09:00 UTC, resume."
    )


@pytest.mark.parametrize(
    ("services", "shown"),
    [
        (["spot_ws"], True),
        (["SPOT_FIX"], True),
        (["spot_something_new"], True),
        (["futures_ws", "spot_rest"], True),
        (["all"], True),
        (["unspecified"], True),
        ([], True),
        (None, True),
        (["futures_ws", "futures_trading"], False),
        (["funding"], False),
    ],
)
def test_only_what_concerns_spot_is_told(services: object, shown: bool) -> None:
    told = read([{"affected_services": services}], [{"affected_services": services}])
    assert len(told.maintenance) == len(told.emergencies) == int(shown)


@pytest.mark.parametrize("action", ["continue", "unspecified", "", None, 7])
def test_no_advice_is_no_advice(action: object) -> None:
    (notice,) = read([{"recommended_action": action}]).maintenance
    assert notice.sentence() == "Kraken announces maintenance."


def test_advice_that_is_new_is_shown_as_it_is() -> None:
    (notice,) = read([{"recommended_action": "call_support"}]).maintenance
    assert notice.sentence() == "Kraken announces maintenance; it advises to call support."


def test_maintenance_that_is_over_is_told_no_more() -> None:
    notices = read([FULL, {"title": "open end"}], [{}])
    end = 1_791_190_800 + 1800
    assert len(notices.at(end - 1).maintenance) == 2
    assert [each.title for each in notices.at(end).maintenance] == ["open end"]
    assert len(notices.at(end).emergencies) == 1


@pytest.mark.parametrize(
    "raw",
    [
        "nonsense",
        "[]",
        "{}",
        '{"upcoming_maintenance":null,"emergency":7}',
        '{"emergency":[1,"x"]}',
    ],
)
def test_what_makes_no_sense_announces_nothing(raw: str) -> None:
    assert read_notices(raw) == Notices()


def test_texts_cannot_paint_a_terminal_or_fill_it() -> None:
    (notice,) = read([{"title": "a\x1b[31m\nb" + "x" * 5000}]).maintenance
    assert notice.title.startswith("a [31m b")
    assert len(notice.title) == 200


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(FULL, ANY)),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("title", "incident_status", "next_steps", "started_at_utc"), ANY),
    ),
)
def test_no_field_can_break_the_reading(maintenance: object, emergency: object) -> None:
    notices = read([maintenance, FULL], [emergency])
    assert notices.maintenance[-1].event_id == 41
    for notice in (*notices.maintenance, *notices.emergencies):
        assert isinstance(notice, Maintenance | Emergency)
        assert notice.sentence().startswith("Kraken ")
        assert "\n" not in notice.sentence()
    msgspec.json.encode(notices)


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z"]
)
def test_times_at_the_end_of_the_calendar_are_none(moment: str) -> None:
    (notice,) = read(
        [{**FULL, "expected_end_utc": moment, "cancel_before_utc": moment}]
    ).maintenance
    assert notice.ends_s is None
    assert "cancel orders before" not in notice.sentence()
