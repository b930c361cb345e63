//! What a connection's reader has for the event loop: bytes for the WebSocket library, a notice that
//! events or closed candles wait, and at last the reason of the end.
//!
//! Whoever looks and finds nothing arms the inbox in the same call, so nothing can come in between
//! unnoticed. What is left to read comes before the end.

use std::fmt;

/// The socket is not read while so much waits to be forwarded.
pub const MAX_FORWARD_BYTES: usize = 1 << 20;

/// Memory kept for what is forwarded next.
const KEPT_BYTES: usize = 65_536;

/// Why a reader reads no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed properly.
    Eof,
    /// The other side closed the socket without TLS's own farewell.
    Cut,
    /// The operating system reported an error: its number and words.
    Os(Option<i32>, String),
    /// TLS failed, here or by an alert of the other side.
    Tls(String),
    /// A fault of ours.
    Panic,
    /// This side closed.
    Closed,
}

impl End {
    /// Its name for Python.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Cut => "cut",
            Self::Os(..) => "os",
            Self::Tls(_) => "tls",
            Self::Panic => "panic",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("eof"),
            Self::Cut => f.write_str("eof without close_notify"),
            Self::Os(Some(number), words) => write!(f, "os {number}: {words}"),
            Self::Os(None, words) => write!(f, "os: {words}"),
            Self::Tls(words) => write!(f, "tls: {words}"),
            Self::Panic => f.write_str("panic"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What a look brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Events or closed candles wait.
    Notice,
    /// Bytes for the WebSocket library.
    Bytes(Vec<u8>),
    /// Nothing more will come.
    End,
    /// Nothing yet; the inbox is armed.
    Nothing,
}

/// The inbox of one connection. Calls that say so tell whether who waits is to be woken.
#[derive(Debug, Default)]
pub struct Inbox {
    forward: Vec<u8>,
    noticed: bool,
    ready: bool,
    end: Option<End>,
    armed: bool,
}

impl Inbox {
    /// Adds bytes to forward; true: wake.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        self.forward.extend_from_slice(bytes);
        !bytes.is_empty() && self.fire()
    }

    /// Notes that events or closed candles wait; true: wake.
    pub fn notice(&mut self) -> bool {
        self.noticed = true;
        self.fire()
    }

    /// The connection is open, TLS included; true: wake.
    pub fn open(&mut self) -> bool {
        self.ready = true;
        self.fire()
    }

    /// Nothing more comes; the first reason stands. True: wake.
    pub fn end(&mut self, end: End) -> bool {
        self.end.get_or_insert(end);
        self.fire()
    }

    /// Whether the socket may be read.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.forward.len() < MAX_FORWARD_BYTES
    }

    /// Takes what there is, at most `max_bytes` of it, or arms.
    pub fn take_or_arm(&mut self, max_bytes: usize) -> Taken {
        if std::mem::take(&mut self.noticed) {
            return Taken::Notice;
        }
        if !self.forward.is_empty() {
            if max_bytes < self.forward.len() {
                return Taken::Bytes(self.forward.drain(..max_bytes).collect());
            }
            let bytes = self.forward.clone();
            self.forward.clear();
            self.forward.shrink_to(KEPT_BYTES);
            return Taken::Bytes(bytes);
        }
        if self.end.is_some() {
            return Taken::End;
        }
        self.armed = true;
        Taken::Nothing
    }

    /// Whether the connection is open; None when not yet (armed), false when it never will be.
    pub fn open_or_arm(&mut self) -> Option<bool> {
        if self.ready {
            return Some(true);
        }
        if self.end.is_some() {
            return Some(false);
        }
        self.armed = true;
        None
    }

    /// Why it ended.
    #[must_use]
    pub fn reason(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn fire(&mut self) -> bool {
        std::mem::take(&mut self.armed)
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Inbox, MAX_FORWARD_BYTES, Taken};

    #[test]
    fn only_who_found_nothing_is_woken_and_once() {
        let mut inbox = Inbox::default();
        assert!(!inbox.push(b"a"));
        assert_eq!(inbox.take_or_arm(9), Taken::Bytes(b"a".to_vec()));
        assert_eq!(inbox.take_or_arm(9), Taken::Nothing);
        assert!(!inbox.push(b""), "nothing wakes nobody");
        assert!(inbox.push(b"b"));
        assert!(!inbox.push(b"c"));
        assert_eq!(inbox.take_or_arm(9), Taken::Bytes(b"bc".to_vec()));
    }

    #[test]
    fn what_is_left_comes_before_the_end() {
        let mut inbox = Inbox::default();
        inbox.push(b"abc");
        inbox.notice();
        inbox.end(End::Cut);
        inbox.end(End::Closed);
        assert_eq!(inbox.take_or_arm(2), Taken::Notice);
        assert_eq!(inbox.take_or_arm(2), Taken::Bytes(b"ab".to_vec()));
        assert_eq!(inbox.take_or_arm(2), Taken::Bytes(b"c".to_vec()));
        assert_eq!(inbox.take_or_arm(2), Taken::End);
        assert_eq!(inbox.take_or_arm(2), Taken::End);
        assert_eq!(inbox.reason(), Some(&End::Cut));
    }

    #[test]
    fn it_is_full_at_its_limit() {
        let mut inbox = Inbox::default();
        inbox.push(&vec![0; MAX_FORWARD_BYTES - 1]);
        assert!(inbox.has_room());
        inbox.push(b"x");
        assert!(!inbox.has_room());
        inbox.take_or_arm(1);
        assert!(inbox.has_room());
    }

    #[test]
    fn opening_wakes_and_an_end_before_it_is_told() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.open_or_arm(), None);
        assert!(inbox.open());
        assert_eq!(inbox.open_or_arm(), Some(true));
        let mut inbox = Inbox::default();
        assert_eq!(inbox.open_or_arm(), None);
        assert!(inbox.end(End::Tls("no".into())));
        assert_eq!(inbox.open_or_arm(), Some(false));
    }

    #[test]
    fn every_end_has_words() {
        let ends = [
            (End::Eof, "eof", "eof"),
            (End::Cut, "cut", "eof without close_notify"),
            (End::Os(Some(104), "reset".into()), "os", "os 104: reset"),
            (End::Os(None, "odd".into()), "os", "os: odd"),
            (End::Tls("bad record".into()), "tls", "tls: bad record"),
            (End::Panic, "panic", "panic"),
            (End::Closed, "closed", "closed"),
        ];
        for (end, kind, words) in ends {
            assert_eq!((end.kind(), end.to_string().as_str()), (kind, words));
        }
    }
}
