"""Faults of the stream's content: what is refused, kept back, repeated, delayed or spoiled."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class StreamFaults:
    """The settings of `exchange.faults` which connections read frame by frame."""

    rng: random.Random
    coalesce: bool = False
    refused: set[str] = field(default_factory=set)
    refuse_all: bool = False
    refused_channels: frozenset[str] | None = None
    refusal_text: str | None = None
    refusals_left: int | None = None
    lag_s: float = 0.0
    lag_jitter_s: float = 0.0
    lagging: set[str] | None = None
    late_rows_chance: float = 0.0
    late_rows_s: float = 0.0
    pongs_overtake: bool = False
    ticker_lag_s: float = 0.0
    held: dict[int, float] = field(default_factory=dict)
    hold_all_s: float = 0.0
    muted: set[str] = field(default_factory=set)
    mute_all: bool = False
    muted_channels: frozenset[str] | None = None
    duplicate_chance: float = 0.0
    late_chance: float = 0.0
    malformed_chance: float = 0.0
    oversized_bytes: int = 0
    oversized_times: int = 0
    rate_errors: int = 0
    lost_acks: int = 0
    _before: dict[tuple[int, str], str] = field(default_factory=dict)

    def refuses(self, connection: int, channel: str, symbol: str) -> bool:
        """Whether a subscription is refused."""
        del connection
        refused = self.refuse_all or symbol in self.refused
        if not refused or not _covers(self.refused_channels, channel) or self.refusals_left == 0:
            return False
        if self.refusals_left is not None:
            self.refusals_left -= 1
        return True

    def candle_lag(self, symbol: str) -> tuple[float, bool]:
        """How late the candle maker is with the next row, and whether later rows wait for it."""
        if self.lagging is not None and symbol not in self.lagging:
            return 0.0, True
        lag_s = self.lag_s
        if self.lag_jitter_s:
            lag_s += self.rng.random() * self.lag_jitter_s
        if self.late_rows_chance and self.rng.random() < self.late_rows_chance:
            return lag_s + self.rng.random() * self.late_rows_s, False
        return lag_s, True

    def lags(self, symbol: str) -> bool:
        """Whether the candle maker is late with a symbol."""
        late = self.lag_s > 0.0 or self.lag_jitter_s > 0.0 or self.late_rows_chance > 0.0
        return late and (self.lagging is None or symbol in self.lagging)

    def hold_s(self, connection: int) -> float:
        """How long the gateway keeps data of a connection before it sends it."""
        return self.held.get(connection, self.hold_all_s)

    def take_rate_error(self) -> bool:
        """Whether the next request is answered with a message-rate error."""
        if self.rate_errors <= 0:
            return False
        self.rate_errors -= 1
        return True

    def loses_ack(self) -> bool:
        """Whether the next acknowledgement is never sent."""
        if self.lost_acks <= 0:
            return False
        self.lost_acks -= 1
        return True

    def mutes(self, channel: str, symbol: str) -> bool:
        """Whether an acknowledged subscription gets no data."""
        return (self.mute_all or symbol in self.muted) and _covers(self.muted_channels, channel)

    def data_frames(self, connection: int, channel: str, symbol: str, text: str) -> list[str]:
        """Return the frames to send for one frame of data."""
        if self.mutes(channel, symbol):
            return []
        sent = [text]
        if self.malformed_chance and self.rng.random() < self.malformed_chance:
            sent.insert(0, self._malformed(text))
        if self.oversized_times > 0:
            self.oversized_times -= 1
            padding = "x" * self.oversized_bytes
            sent.insert(0, f'{{"channel":"ticker","type":"update","data":[{{"pad":"{padding}"}}]}}')
        if channel == "ohlc":
            if self.duplicate_chance and self.rng.random() < self.duplicate_chance:
                sent.append(text)
            if self.late_chance:
                before = self._before.get((connection, symbol))
                if before is not None and self.rng.random() < self.late_chance:
                    sent.append(before)
                self._before[connection, symbol] = text
        return sent

    def _malformed(self, text: str) -> str:
        kind = self.rng.randrange(5)
        if kind == 0:
            return text[: self.rng.randrange(1, len(text))]
        if kind == 1:
            return text.replace(":", ";", 1)
        if kind == 2:
            return text.replace('"data":[{', '"data":[{"new_field":{"deep":[1,[2]]},"bid":"x",', 1)
        if kind == 3:
            return "[" * 500
        return '{"channel":"surprise","type":"update","data":[{"symbol":"BTC/USD"}]}'


def _covers(channels: Collection[str] | None, channel: str) -> bool:
    return channels is None or channel in channels
