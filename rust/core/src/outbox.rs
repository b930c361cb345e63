//! What a connection is to send: the WebSocket library's frames, and our answers to pings between
//! them.
//!
//! The library hands over whole frames. One that does not fit is taken piece by piece, and until its
//! last piece is in, no answer may stand between. An answer that has to wait gives way to the newest
//! one: RFC 6455 5.5.3 allows to answer only the most recent ping. After our Close nothing is
//! answered.

/// How much waits to be sent at most, answers to pings aside.
pub const MAX_BYTES: usize = 256 << 10;

/// An answer to a ping fits in this.
const PONG_BYTES: usize = 131;

/// Memory kept for what is sent next.
const KEPT_BYTES: usize = 16_384;

const CLOSE: u8 = 0x88;

/// The outbox of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of them have gone.
    sent: usize,
    mid_frame: bool,
    owed: Option<Vec<u8>>,
    said_close: bool,
    armed: bool,
}

impl Outbox {
    /// Takes what there is room for of a frame, or of what is left of one; gives how much. Who could
    /// not leave everything waits, and is woken by [`Outbox::sent`].
    pub fn offer(&mut self, data: &[u8]) -> usize {
        if !self.mid_frame && data.first() == Some(&CLOSE) {
            self.said_close = true;
        }
        let count = data.len().min(MAX_BYTES.saturating_sub(self.waiting()));
        self.bytes.extend_from_slice(&data[..count]);
        self.mid_frame = count < data.len();
        self.armed |= self.mid_frame;
        count
    }

    /// Answers a ping, now or as soon as a frame is not in between.
    pub fn answer(&mut self, ping: &[u8]) {
        if !self.said_close {
            self.owed = Some(ping.to_vec());
        }
    }

    /// Puts the owed answer into the queue if it may stand there; `mask` as RFC 6455 5.3 wants it.
    pub fn settle(&mut self, mask: impl FnOnce() -> [u8; 4]) {
        if self.mid_frame || self.waiting() > MAX_BYTES + PONG_BYTES {
            return;
        }
        if let Some(payload) = self.owed.take() {
            let mask = mask();
            let length = u8::try_from(payload.len().min(125)).unwrap_or(125);
            self.bytes.extend_from_slice(&[0x8A, 0x80 | length]);
            self.bytes.extend_from_slice(&mask);
            let masked = payload.iter().zip(mask.iter().cycle());
            self.bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        }
    }

    /// What is to go next.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// So much of [`Outbox::front`] has gone; true: wake who waits for room.
    pub fn sent(&mut self, count: usize) -> bool {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.sent = 0;
        } else if self.sent >= MAX_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.waiting() <= MAX_BYTES / 2 && std::mem::take(&mut self.armed)
    }

    /// Whether there is room for more; arms when there is none.
    pub fn room_or_arm(&mut self) -> bool {
        let room = self.waiting() < MAX_BYTES;
        self.armed |= !room;
        room
    }

    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, Outbox};

    const PONG: [u8; 8] = [0x8A, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];

    fn mask() -> [u8; 4] {
        [1, 2, 3, 4]
    }

    #[test]
    fn frames_go_in_order_and_an_answer_between_them() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.offer(&[0x81, 0x80]), 2);
        outbox.answer(b"hi");
        outbox.settle(mask);
        assert_eq!(outbox.front(), [&[0x81, 0x80][..], &PONG].concat());
        outbox.sent(2);
        assert_eq!(outbox.front(), PONG);
        outbox.sent(8);
        assert!(outbox.front().is_empty());
    }

    #[test]
    fn no_answer_stands_inside_a_frame_and_the_newest_one_is_given() {
        let mut outbox = Outbox::default();
        let frame = vec![0x81; MAX_BYTES + 10];
        assert_eq!(outbox.offer(&frame), MAX_BYTES);
        outbox.answer(b"old");
        outbox.answer(b"hi");
        outbox.settle(mask);
        assert_eq!(outbox.front().len(), MAX_BYTES);
        assert!(!outbox.room_or_arm());
        assert!(!outbox.sent(1));
        assert!(outbox.sent(MAX_BYTES - 1), "there is room: wake");
        assert_eq!(outbox.offer(&frame[MAX_BYTES..]), 10);
        outbox.settle(mask);
        assert_eq!(outbox.front()[10..], PONG);
    }

    #[test]
    fn after_our_close_nothing_is_answered() {
        let mut outbox = Outbox::default();
        outbox.offer(&[0x88, 0x80, 0, 0, 0, 0]);
        outbox.answer(b"hi");
        outbox.settle(mask);
        assert_eq!(outbox.front().len(), 6);
    }

    #[test]
    fn what_has_gone_takes_no_room() {
        let mut outbox = Outbox::default();
        for _ in 0..50 {
            let count = outbox.offer(&vec![7; MAX_BYTES]);
            outbox.sent(count / 2);
            assert!(outbox.front().len() <= MAX_BYTES);
            assert!(outbox.bytes.len() <= 2 * MAX_BYTES);
        }
    }
}
