//! The frame tap: takes complete, unfragmented server text frames out of a client's byte stream and
//! hands on everything else, unchanged and in order.
//!
//! RFC 6455 stays the business of the WebSocket library behind the tap. Two rules keep it so:
//!
//! * Tapping begins after a `101` reply and ends for good ("surrender") at Close and at the first
//!   thing that a correct server without extensions would not send: reserved bits or opcodes, a mask,
//!   a length not in its shortest form, a message inside a fragmented one, text that is not UTF-8.
//!   From there on the library sees every byte and gives the verdict.
//! * Once a byte of a frame was handed on, all of it is; a tapped frame is complete and valid.

use crate::upgrade_head::{HeadEnd, ReplyHead};

/// Memory kept for the next partial frame. One large message must not hold its memory for ever.
const KEPT_PARTIAL_BYTES: usize = 65_536;

/// Pings that wait to be answered; of more only the newest counts.
const MAX_PINGS: usize = 64;

/// What the tap has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Bytes received, handshake included.
    pub bytes: u64,
    /// Frames taken out.
    pub tapped: u64,
    /// Frames handed on, as far as frames are still told apart.
    pub forwarded: u64,
}

/// The tap of one connection.
#[derive(Debug)]
pub struct FrameSplitter {
    state: State,
    /// Bytes of a frame that is not yet judged or not yet complete; nothing of it was handed on.
    partial: Vec<u8>,
    /// What is known of the frame in `partial`, once its header is complete.
    pending: Option<PendingFrame>,
    /// Whether complete pings are taken out, too.
    takes_pings: bool,
    pings: Vec<Vec<u8>>,
    in_fragmented_message: bool,
    max_message_bytes: usize,
    counts: FrameCounts,
}

#[derive(Debug)]
enum State {
    /// Handing on the HTTP reply.
    Head(ReplyHead),
    /// At a frame's first byte, or inside the frame in `partial`.
    Frames,
    /// Inside a frame that is handed on: bytes left of it.
    Passing(u64),
    /// Handing on everything, for good.
    Surrendered,
}

#[derive(Clone, Copy, Debug)]
struct PendingFrame {
    is_ping: bool,
    header_bytes: usize,
    frame_bytes: usize,
    /// End of what is known to be valid UTF-8.
    valid_until: usize,
}

enum Judgement {
    /// The header is not complete.
    Incomplete,
    /// A text frame, or a ping, to be taken out when complete.
    Take {
        is_ping: bool,
        header_bytes: usize,
        frame_bytes: usize,
    },
    /// A frame to be handed on.
    Forward {
        frame_bytes: u64,
        in_fragmented_message: bool,
    },
    /// Close, or what a correct server would not send.
    Surrender,
}

impl FrameSplitter {
    /// A tap at the start of a connection; text frames over `max_message_bytes` are handed on.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            state: State::Head(ReplyHead::default()),
            partial: Vec::new(),
            pending: None,
            takes_pings: false,
            pings: Vec::new(),
            in_fragmented_message: false,
            max_message_bytes,
            counts: FrameCounts::default(),
        }
    }

    /// From here on complete pings are taken out for [`FrameSplitter::take_pings`]: whoever calls
    /// this answers them.
    pub fn answer_pings(&mut self) {
        self.takes_pings = true;
    }

    /// Payloads of the pings to be answered, oldest first.
    pub fn take_pings(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pings)
    }

    fn keep_ping(&mut self, payload: &[u8]) {
        self.pings.truncate(MAX_PINGS - 1);
        self.pings.push(payload.to_vec());
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> FrameCounts {
        self.counts
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub fn mid_frame(&self) -> bool {
        match self.state {
            State::Frames => !self.partial.is_empty() || self.in_fragmented_message,
            State::Passing(_) => true,
            State::Head(_) | State::Surrendered => false,
        }
    }

    /// Whether everything is handed on for good.
    #[must_use]
    pub fn surrendered(&self) -> bool {
        matches!(self.state, State::Surrendered)
    }

    /// Feeds one chunk: calls `on_text` for each complete text frame and appends to `forward` what
    /// the WebSocket library must see.
    pub fn receive(&mut self, data: &[u8], forward: &mut Vec<u8>, on_text: &mut impl FnMut(&str)) {
        self.counts.bytes += data.len() as u64;
        let mut rest = data;
        while !rest.is_empty() {
            match &mut self.state {
                State::Surrendered => {
                    forward.extend_from_slice(rest);
                    return;
                }
                State::Head(head) => {
                    let (taken, end) = head.watch(rest);
                    forward.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                    match end {
                        Some(HeadEnd::SwitchingProtocols) => self.state = State::Frames,
                        Some(HeadEnd::Anything) => self.state = State::Surrendered,
                        None => {}
                    }
                }
                State::Passing(left) => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    forward.extend_from_slice(&rest[..count]);
                    rest = &rest[count..];
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::Frames;
                    }
                }
                State::Frames if self.partial.is_empty() => {
                    rest = self.take_frames(rest, forward, on_text);
                }
                State::Frames => rest = self.continue_partial(rest, forward, on_text),
            }
        }
    }

    /// At the first byte of a frame: takes frames that lie whole in `rest`; gives what is left for
    /// another state.
    fn take_frames<'a>(
        &mut self,
        mut rest: &'a [u8],
        forward: &mut Vec<u8>,
        on_text: &mut impl FnMut(&str),
    ) -> &'a [u8] {
        loop {
            match self.judge(rest) {
                Judgement::Take {
                    is_ping,
                    header_bytes,
                    frame_bytes,
                } => {
                    let Some(payload) = rest.get(header_bytes..frame_bytes) else {
                        self.pending = Some(PendingFrame {
                            is_ping,
                            header_bytes,
                            frame_bytes,
                            valid_until: header_bytes,
                        });
                        self.partial.extend_from_slice(rest);
                        self.check_partial_text(forward);
                        return &[];
                    };
                    if is_ping {
                        self.keep_ping(payload);
                    } else {
                        let Ok(text) = std::str::from_utf8(payload) else {
                            self.state = State::Surrendered;
                            return rest;
                        };
                        on_text(text);
                    }
                    self.counts.tapped += 1;
                    rest = &rest[frame_bytes..];
                    if rest.is_empty() {
                        return rest;
                    }
                }
                Judgement::Incomplete => {
                    self.partial.extend_from_slice(rest);
                    return &[];
                }
                Judgement::Forward {
                    frame_bytes,
                    in_fragmented_message,
                } => {
                    self.in_fragmented_message = in_fragmented_message;
                    self.counts.forwarded += 1;
                    self.state = State::Passing(frame_bytes);
                    return rest;
                }
                Judgement::Surrender => {
                    self.counts.forwarded += 1;
                    self.state = State::Surrendered;
                    return rest;
                }
            }
        }
    }

    /// Inside the frame in `partial`: takes from `rest` what belongs to it.
    fn continue_partial<'a>(
        &mut self,
        rest: &'a [u8],
        forward: &mut Vec<u8>,
        on_text: &mut impl FnMut(&str),
    ) -> &'a [u8] {
        let Some(pending) = self.pending else {
            // A header has at most ten bytes, so one at a time costs nothing.
            self.partial.push(rest[0]);
            self.judge_partial(forward);
            self.finish_partial_text(on_text);
            return &rest[1..];
        };
        let count = rest.len().min(pending.frame_bytes - self.partial.len());
        self.partial.extend_from_slice(&rest[..count]);
        self.check_partial_text(forward);
        self.finish_partial_text(on_text);
        &rest[count..]
    }

    fn judge_partial(&mut self, forward: &mut Vec<u8>) {
        match self.judge(&self.partial) {
            Judgement::Incomplete => {}
            Judgement::Take {
                is_ping,
                header_bytes,
                frame_bytes,
            } => {
                self.pending = Some(PendingFrame {
                    is_ping,
                    header_bytes,
                    frame_bytes,
                    valid_until: header_bytes,
                });
            }
            Judgement::Forward {
                frame_bytes,
                in_fragmented_message,
            } => {
                self.in_fragmented_message = in_fragmented_message;
                self.counts.forwarded += 1;
                let left = frame_bytes - self.partial.len() as u64;
                self.state = if left == 0 {
                    State::Frames
                } else {
                    State::Passing(left)
                };
                forward.append(&mut self.partial);
            }
            Judgement::Surrender => {
                self.counts.forwarded += 1;
                self.surrender_partial(forward);
            }
        }
    }

    /// Looks at the new bytes of a partial text once: what is not UTF-8 goes to the library at once,
    /// which then fails as fast as it would have without the tap.
    fn check_partial_text(&mut self, forward: &mut Vec<u8>) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        if pending.is_ping {
            return;
        }
        if let Err(error) = std::str::from_utf8(&self.partial[pending.valid_until..]) {
            pending.valid_until += error.valid_up_to();
            if error.error_len().is_some() || self.partial.len() == pending.frame_bytes {
                self.surrender_partial(forward);
            }
        } else {
            pending.valid_until = self.partial.len();
        }
    }

    fn finish_partial_text(&mut self, on_text: &mut impl FnMut(&str)) {
        let Some(pending) = self.pending else { return };
        if self.partial.len() < pending.frame_bytes {
            return;
        }
        if pending.is_ping {
            let payload = self.partial[pending.header_bytes..].to_vec();
            self.counts.tapped += 1;
            self.keep_ping(&payload);
        }
        // Valid: looked at piece by piece as it came.
        else if let Ok(text) = std::str::from_utf8(&self.partial[pending.header_bytes..]) {
            self.counts.tapped += 1;
            on_text(text);
        }
        self.pending = None;
        self.partial.clear();
        self.partial.shrink_to(KEPT_PARTIAL_BYTES);
    }

    fn surrender_partial(&mut self, forward: &mut Vec<u8>) {
        forward.append(&mut self.partial);
        self.partial = Vec::new();
        self.pending = None;
        self.state = State::Surrendered;
    }

    /// Judges a frame by its header. Source: RFC 6455 section 5.2.
    #[inline]
    fn judge(&self, bytes: &[u8]) -> Judgement {
        let &[first, second, ref more @ ..] = bytes else {
            return Judgement::Incomplete;
        };
        let last_fragment = first & 0x80 != 0;
        let reserved_or_mask = first & 0x70 != 0 || second & 0x80 != 0;
        let opcode = first & 0x0F;
        let allowed = match opcode {
            0x0 => self.in_fragmented_message,
            0x1 | 0x2 => !self.in_fragmented_message,
            0x9 | 0xA => last_fragment && second <= 125,
            // Close, and opcodes that do not exist.
            _ => false,
        };
        if reserved_or_mask || !allowed {
            return Judgement::Surrender;
        }
        let (header_bytes, payload_bytes) = match second {
            126 => match *more {
                [a, b, ..] => (4_u8, u64::from(u16::from_be_bytes([a, b]))),
                _ => return Judgement::Incomplete,
            },
            127 => match more.first_chunk::<8>() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Judgement::Incomplete,
            },
            short => (2, u64::from(short)),
        };
        let shortest = match header_bytes {
            2 => 0,
            4 => 126,
            _ => 65_536,
        };
        if payload_bytes < shortest || payload_bytes >> 63 != 0 {
            return Judgement::Surrender;
        }
        match usize::try_from(payload_bytes) {
            Ok(length)
                if (opcode == 0x1 && last_fragment && length <= self.max_message_bytes)
                    || (opcode == 0x9 && self.takes_pings) =>
            {
                let header_bytes = usize::from(header_bytes);
                Judgement::Take {
                    is_ping: opcode == 0x9,
                    header_bytes,
                    frame_bytes: header_bytes + length,
                }
            }
            _ => Judgement::Forward {
                frame_bytes: u64::from(header_bytes) + payload_bytes,
                in_fragmented_message: match opcode {
                    0x0..=0x2 => !last_fragment,
                    _ => self.in_fragmented_message,
                },
            },
        }
    }
}
