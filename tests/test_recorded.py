"""Recorded reality that no single room owns: every refusal on record, and the assets reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from krakked._core import FrameTap, MarketCache, WireEvent
from krakked._errors import ApiError, RateLimitError, RequestError
from krakked._rest.reply import classify, read_envelope

REST_CLASSES: dict[str, type[ApiError]] = {
    "EQuery:Unknown asset pair": RequestError,
    "EQuery:Invalid asset pair": RequestError,
    "EGeneral:Too many requests": RateLimitError,
}


def test_every_recorded_rest_refusal_has_its_class(recorded: Callable[[str], Path]) -> None:
    refusals = json.loads(recorded("observed_errors").read_text("utf-8"))
    bodies = [entry["body"] for entry in refusals if entry["kind"] == "REST"]
    assert len(bodies) == 3
    for body in bodies:
        (text,) = json.loads(body)["error"]
        envelope = read_envelope(body.encode(), "OHLC")
        assert envelope.errors == (text,)
        error = classify(envelope.errors, "OHLC")
        assert type(error) is REST_CLASSES[text]
        assert error.code == text


def test_every_recorded_websocket_refusal_is_told_as_one(
    recorded: Callable[[str], Path],
) -> None:
    refusals = json.loads(recorded("observed_errors").read_text("utf-8"))
    bodies = [entry["body"] for entry in refusals if entry["kind"] == "WSv2"]
    assert len(bodies) == 4
    for body in bodies:
        plain = json.loads(body)
        tap = FrameTap(MarketCache())
        tap.apply_message(body, 1)
        (event,) = tap.take_events()
        names = ("method", "channel", "symbol", "interval", "req_id", "error")
        assert event == WireEvent.Refused(*(plain.get(name) for name in names))


def test_untyped_replies_are_what_json_says(recorded: Callable[[str], Path]) -> None:
    body = recorded("rest_assets").read_bytes()
    envelope = read_envelope(body, "Assets")
    assert not envelope.errors
    assert json.loads(bytes(envelope.result)) == json.loads(body)["result"]
