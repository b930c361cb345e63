"""What one connection should be subscribed to, and what the exchange has said about each of it.

Owns the desired state and its life on the wire: wanted, acknowledged, live, mute, refused, ended.
Reads no clock, opens no socket: times come in as seconds of one steady clock, and what has to be
sent comes out as `Request`.

Three facts of Kraken's WebSocket v2 shape it: every symbol of a request is answered on its own, all
answers carry the same ``req_id``; a refusal comes in three shapes, one without a symbol, and may
lack the ``req_id``; a second ohlc interval of a symbol is refused with a text that begins like the
harmless one for a plain duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

from krakked._market.stream.channels import CHANNELS
from krakked._market.stream.requests import (
    SUBSCRIBE,
    UNSUBSCRIBE,
    InFlight,
    Refusal,
    Request,
    RequestAnswer,
    SubscriptionKey,
    SubscriptionState,
    encode_request,
    is_lasting,
    is_other_interval,
    is_plain_duplicate,
    is_rate_complaint,
)
from krakked._market.stream.subscription import Phase, Subscription

BATCH_SYMBOLS: Final = 100
"""Symbols in one request. A convention of clients (50 to 250), not a documented limit."""
ACK_TIMEOUT_S: Final = 10.0
"""A request without all its answers after this long is sent again for the symbols left out."""
MAX_TRIES: Final = 3
"""Unanswered this often, a subscription makes the connection worthless."""
RECYCLE_AFTER_S: Final = 60.0
"""A mute subscription is dropped and asked for again at once, then at doubling distances."""
RECYCLE_AT_MOST_S: Final = 900.0
REFUSED_AGAIN_S: Final = 60.0
"""A passing refusal is asked again after so long, then at doubling distances."""
REFUSED_AGAIN_AT_MOST_S: Final = 900.0
RATE_PAUSE_S: Final = 1.0
"""First pause after the exchange said "Exceeded msg rate"; doubles, up to the next figure."""
RATE_PAUSE_AT_MOST_S: Final = 30.0
PATIENCE_AT_MOST_S: Final = 60.0
"""A slow link is given so much more time for answers and snapshots."""
ENDED: Final = "The exchange ended the subscription"

_ORDER: Final = {name: place for place, name in enumerate(CHANNELS)}


class SubscriptionTable:
    """The desired state of one connection, and how far the exchange has followed."""

    def __init__(self, req_ids: Iterator[int] | None = None) -> None:
        self._entries: dict[SubscriptionKey, Subscription] = {}
        self._unsent: dict[SubscriptionKey, None] = {}  # an ordered set: these need a message
        self._in_flight = InFlight()
        self._awaiting_data: dict[SubscriptionKey, None] = {}
        self._mute: set[SubscriptionKey] = set()
        self._req_ids = req_ids if req_ids is not None else count(1)
        self._pause_until_s = 0.0
        self._pause_s = RATE_PAUSE_S
        self._answered_s = 0.0
        self.slow_s: float = 0.0
        """How far behind the link is, in seconds: answers wait behind what came before them."""
        self.acknowledged: int = 0
        """How many subscriptions the exchange holds for this connection."""
        self.showing_life: int = 0
        """How many of those that show a connection's life have brought data on this one."""
        self.worthless: bool = False
        """Set when the exchange leaves requests unanswered: only a new connection can help."""

    # --- what is wanted ---

    def want(self, keys: Iterable[SubscriptionKey]) -> None:
        """Ask for subscriptions; those already wanted stay as they are."""
        for key in keys:
            entry = self._entries.setdefault(key, Subscription())
            if not entry.wanted:
                entry.wanted, entry.reason, entry.retry_at_s = True, None, None
                # What it brought was forgotten: only a new subscription brings a snapshot.
                entry.renew = entry.phase in {Phase.SUBSCRIBING, Phase.SUBSCRIBED}
                if not entry.renew:
                    self._unsent.pop(key, None)
            if entry.phase is Phase.IDLE and entry.reason is None:
                self._unsent[key] = None

    def ask_again(self, keys: Iterable[SubscriptionKey] | None = None) -> int:
        """Ask once more for what was refused (all of it by default); give how many that are."""
        asked = 0
        for key in list(self._entries) if keys is None else keys:
            entry = self._entries.get(key)
            if entry is None or not entry.wanted or entry.reason is None:
                continue
            entry.reason = entry.retry_at_s = None
            entry.refusals = 0
            # Served no more, and yet never unsubscribed: only a new subscription helps.
            entry.renew = entry.phase is Phase.SUBSCRIBED
            if entry.phase in {Phase.IDLE, Phase.SUBSCRIBED}:
                self._unsent[key] = None
                asked += 1
        return asked

    def unwant(self, keys: Iterable[SubscriptionKey]) -> None:
        """Give subscriptions up; what was never sent is forgotten at once."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                continue
            entry.wanted = entry.renew = False
            self._stop_waiting(key)
            if entry.phase is Phase.IDLE:
                self._drop(key)
            elif entry.phase is Phase.SUBSCRIBED:
                self._unsent[key] = None

    def connected(self, now_s: float) -> None:
        """Start on a fresh connection: nothing is acknowledged there, refused ones are retried."""
        self.disconnected(now_s)
        self._pause_s, self._pause_until_s = RATE_PAUSE_S, 0.0
        self.worthless = False

    def disconnected(self, now_s: float) -> None:
        """Take every acknowledgement back."""
        for key, entry in list(self._entries.items()):
            if entry.wanted:
                entry.reset(now_s)
            else:
                del self._entries[key]
        self._unsent = dict.fromkeys(sorted(self._entries, key=lambda k: _ORDER[k.channel]))
        self._answered_s = now_s
        self._in_flight.clear()
        self._awaiting_data.clear()
        self._mute.clear()
        self.acknowledged = self.showing_life = 0

    # --- what has to be sent ---

    def next_request(self, now_s: float) -> Request | None:
        """Return the next message to send, or None when there is none now."""
        if now_s < self._pause_until_s:
            return None
        batch = self._next_batch()
        if not batch:
            return None
        first = batch[0]
        if first.row.is_heavy and self._must_wait():
            return None
        subscribing = self._entries[first].phase is Phase.IDLE
        method = SUBSCRIBE if subscribing else UNSUBSCRIBE
        req_id = next(self._req_ids)
        symbols = tuple(key.symbol for key in batch if key.symbol is not None)
        for key in batch:
            del self._unsent[key]
            entry = self._entries[key]
            entry.phase = Phase.SUBSCRIBING if subscribing else Phase.UNSUBSCRIBING
            self.acknowledged -= not subscribing
            entry.since_s = now_s
            entry.tries += 1
            entry.asked += subscribing
            if subscribing:
                entry.asked_s, entry.retry_at_s = now_s, None
            else:
                entry.renew = False
        self._in_flight.sent(req_id, method, set(batch), now_s)
        text = encode_request(method, first.channel, first.interval, symbols, req_id)
        return Request(req_id, method, first.channel, first.interval, symbols, text)

    def _must_wait(self) -> bool:
        """Whether half a megabyte of reference data would stand before prices."""
        return bool(self._in_flight) or bool(self._awaiting_data)

    def _next_batch(self) -> list[SubscriptionKey]:
        batch: list[SubscriptionKey] = []
        kind: tuple[str, int | None, Phase] | None = None
        for key in self._unsent:
            this = (key.channel, key.interval, self._entries[key].phase)
            if kind is None:
                kind = this
            elif this != kind:
                continue
            batch.append(key)
            if key.symbol is None or len(batch) == BATCH_SYMBOLS:
                break
        return batch

    def next_send_s(self, now_s: float) -> float | None:
        """When `next_request` may have something, or None when only an event can bring it."""
        if not self._unsent:
            return None
        if self._must_wait() and all(key.row.is_heavy for key in self._unsent):
            return None
        return max(now_s, self._pause_until_s)

    @property
    def settled(self) -> bool:
        """Whether everything wanted has been answered."""
        return not self._unsent and not self._in_flight

    # --- what the exchange said ---

    def subscribed(
        self, channel: str, symbol: str | None, interval: int | None, now_s: float
    ) -> SubscriptionKey | None:
        """Note an acknowledgement; give the subscription, or None when it was not asked for."""
        key = SubscriptionKey(channel, symbol, interval)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.phase is Phase.IDLE and entry.asked and key in self._unsent:
            del self._unsent[key]  # given up too early: the answer came after all
        elif entry.phase is not Phase.SUBSCRIBING:
            return None
        self._in_flight.answered(key, SUBSCRIBE)
        entry.phase = Phase.SUBSCRIBED
        entry.reason = entry.retry_at_s = None
        entry.tries = 0
        entry.since_s = self._answered_s = now_s
        self.acknowledged += 1
        if not entry.wanted or entry.renew:
            self._unsent[key] = None
        elif key.row.snapshot_due_s is not None and not entry.live:
            self._awaiting_data[key] = None
        return key

    def unsubscribed(self, answer: RequestAnswer, now_s: float = 0.0) -> list[SubscriptionKey]:
        """Note the end of subscriptions, asked for or not; give those that ended though wanted."""
        ended: list[SubscriptionKey] = []
        for key in self._in_flight.find(answer) or self._held(answer):
            entry = self._entries[key]
            self._in_flight.answered(key, UNSUBSCRIBE)
            unasked = entry.phase is Phase.SUBSCRIBED
            self.acknowledged -= unasked
            entry.phase = Phase.IDLE
            entry.tries = 0
            if not entry.wanted:
                self._stop_waiting(key)
                self._drop(key)
            elif unasked:
                self._stop_waiting(key)
                self._refuse(entry, ENDED, now_s)
                ended.append(key)
            else:  # dropped only to be asked for again
                self._unsent[key] = None
        return ended

    def refused(self, answer: RequestAnswer, error: str, now_s: float) -> Refusal:
        """Note a refusal of any of the three shapes; give what it came to."""
        keys = self._in_flight.find(answer)
        self._answered_s = now_s
        if is_rate_complaint(error):
            self._slow_down(keys, answer.method, now_s)
            return Refusal((), error, slow_down=True)
        if answer.method == UNSUBSCRIBE:
            # "Subscription Not Found": the aim is reached all the same.
            self.unsubscribed(answer, now_s)
            return Refusal((), error)
        if is_plain_duplicate(error) or (is_other_interval(error) and self._asked_before(keys)):
            for key in keys:
                self.subscribed(key.channel, key.symbol, key.interval, now_s)
            return Refusal((), error)
        for key in keys:
            self._in_flight.answered(key, answer.method)
            entry = self._entries[key]
            entry.phase = Phase.IDLE
            entry.since_s = now_s
            entry.renew = False
            self._refuse(entry, error, now_s)
            self._stop_waiting(key)
            if not entry.wanted:
                self._drop(key)
        left = tuple(key for key in keys if key in self._entries)
        waits = [e.retry_at_s - now_s for key in left if (e := self._entries[key]).retry_at_s]
        return Refusal(left, error, retry_after_s=min(waits, default=None))

    def _refuse(self, entry: Subscription, reason: str, now_s: float) -> None:
        entry.reason = reason
        if is_lasting(reason):
            entry.retry_at_s = None
            return
        pause_s = min(REFUSED_AGAIN_S * 2.0 ** min(entry.refusals, 10), REFUSED_AGAIN_AT_MOST_S)
        entry.refusals += 1
        entry.retry_at_s = now_s + pause_s

    def data(self, key: SubscriptionKey, at_s: float) -> bool:
        """Note that data of a subscription arrived; True when it was mute before.

        Data from before the subscription was asked for on this connection is of an earlier one.
        """
        entry = self._entries.get(key)
        if entry is None or entry.live or not entry.wanted or entry.reason is not None:
            return False
        if entry.renew or at_s < entry.asked_s:
            return False
        recovered = False
        if entry.phase is Phase.SUBSCRIBED or entry.phase is Phase.SUBSCRIBING:
            self.showing_life += key.row.shows_life
            recovered, entry.live, entry.mute = entry.mute, True, False
            entry.recycles = entry.refusals = 0
            self._awaiting_data.pop(key, None)
            self._mute.discard(key)
        return recovered

    def end(self, keys: Iterable[SubscriptionKey], reason: str) -> None:
        """Note that the exchange will serve these no more (a delisting)."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and entry.wanted:
                entry.reason, entry.retry_at_s = reason, None
                self._stop_waiting(key)

    # --- what time brings ---

    def tick(self, now_s: float) -> list[SubscriptionKey]:
        """Let time pass; give the subscriptions that turned mute just now."""
        patience_s = min(self.slow_s, PATIENCE_AT_MOST_S)
        # While answers come, those that are left out may still stand behind them.
        due_s = now_s if self._answered_s + ACK_TIMEOUT_S <= now_s else now_s - PATIENCE_AT_MOST_S
        for key in self._in_flight.expired(due_s, ACK_TIMEOUT_S + patience_s):
            entry = self._entries[key]
            if entry.tries < MAX_TRIES:
                self._back_to_unsent(key)
            elif not key.row.is_vital:
                entry.phase, entry.reason = Phase.IDLE, "The exchange never answered"
            else:
                self.worthless = True
                self._back_to_unsent(key)
        due = [
            key
            for key in self._awaiting_data
            if now_s - self._entries[key].since_s >= (key.row.snapshot_due_s or 0.0) + patience_s
        ]
        turned = [key for key in due if self.mark_mute(key, now_s)]
        for key in self._mute:
            entry = self._entries[key]
            if entry.phase is Phase.SUBSCRIBED and now_s >= entry.recycle_at_s:
                pause_s = min(RECYCLE_AFTER_S * 2**entry.recycles, RECYCLE_AT_MOST_S)
                entry.recycle_at_s = now_s + pause_s
                entry.recycles += 1
                self._unsent[key] = None
        for key, entry in self._entries.items():
            if entry.retry_at_s is not None and now_s >= entry.retry_at_s:
                entry.retry_at_s = None
                if entry.wanted and entry.phase is Phase.IDLE:
                    self._unsent[key] = None
        return turned

    def mark_mute(self, key: SubscriptionKey, now_s: float) -> bool:
        """Note that a subscription is acknowledged and yet brings nothing; True if that is news."""
        self._awaiting_data.pop(key, None)
        entry = self._entries.get(key)
        if entry is None or not entry.wanted or entry.reason is not None or entry.mute:
            return False
        self.showing_life -= key.row.shows_life and entry.live
        entry.live, entry.mute = False, True
        entry.recycle_at_s = max(entry.recycle_at_s, now_s)
        self._mute.add(key)
        return True

    # --- how things stand ---

    @property
    def mute(self) -> int:
        """How many are acknowledged and bring nothing."""
        return len(self._mute)

    def state(self, key: SubscriptionKey) -> tuple[SubscriptionState, str | None]:
        """Return the state of a subscription and, when refused, the exchange's reason."""
        entry = self._entries.get(key)
        if entry is None:
            return SubscriptionState.ENDED, None
        return entry.state, entry.reason

    def retry_after_s(self, key: SubscriptionKey, now_s: float) -> float | None:
        """Return the seconds until a refused subscription is asked for again, or None."""
        entry = self._entries.get(key)
        if entry is None or entry.reason is None:
            return None
        if key in self._unsent or entry.phase is Phase.SUBSCRIBING:
            return 0.0
        return None if entry.retry_at_s is None else max(0.0, entry.retry_at_s - now_s)

    def states(self) -> dict[SubscriptionKey, tuple[SubscriptionState, str | None]]:
        """Return the state of every subscription that is wanted, oldest first."""
        return {key: (e.state, e.reason) for key, e in self._entries.items() if e.wanted}

    # --- inside ---

    def _held(self, answer: RequestAnswer) -> list[SubscriptionKey]:
        if answer.channel is None:
            return []
        key = SubscriptionKey(answer.channel, answer.symbol, answer.interval)
        entry = self._entries.get(key)
        return [key] if entry is not None and entry.phase is Phase.SUBSCRIBED else []

    def _asked_before(self, keys: list[SubscriptionKey]) -> bool:
        """Whether these were asked for twice here, and no other interval of their symbols ever.

        The subscription that the exchange then holds for a symbol can only be ours.
        """
        ours = [key for key, entry in self._entries.items() if entry.asked]
        return all(
            self._entries[key].asked > 1
            and not any(
                o.symbol == key.symbol and o.interval not in {None, key.interval} for o in ours
            )
            for key in keys
        )

    def _back_to_unsent(self, key: SubscriptionKey) -> None:
        entry = self._entries[key]
        if entry.phase is Phase.UNSUBSCRIBING:
            entry.phase = Phase.SUBSCRIBED
            self.acknowledged += 1
        else:
            entry.phase = Phase.IDLE
            if not entry.wanted:
                self._drop(key)
                return
        self._unsent[key] = None

    def _slow_down(self, keys: list[SubscriptionKey], method: str, now_s: float) -> None:
        self._pause_until_s = now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, RATE_PAUSE_AT_MOST_S)
        for key in keys:
            self._in_flight.answered(key, method)
            self._entries[key].tries = 0
            self._back_to_unsent(key)

    def _stop_waiting(self, key: SubscriptionKey) -> None:
        entry = self._entries[key]
        self.showing_life -= key.row.shows_life and entry.live
        entry.live = entry.mute = False
        self._awaiting_data.pop(key, None)
        self._mute.discard(key)

    def _drop(self, key: SubscriptionKey) -> None:
        del self._entries[key]
        self._unsent.pop(key, None)
