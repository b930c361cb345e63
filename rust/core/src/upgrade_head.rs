//! The end of the HTTP reply that opens a WebSocket, found while its bytes pass by.

/// Longest HTTP reply head looked through; far above what servers send.
const MAX_HEAD_BYTES: usize = 65_536;

/// Watches an HTTP reply pass by until its head ends.
#[derive(Debug, Default)]
pub(crate) struct ReplyHead {
    seen: usize,
    /// The first bytes, enough for `HTTP/1.1 101 `.
    start: [u8; 13],
    /// How much of `\n\r?\n` the last bytes match: 0, 1 (`\n`) or 2 (`\n\r`).
    blank_line: u8,
}

/// How a head ended.
#[derive(Debug)]
pub(crate) enum HeadEnd {
    /// `101`: frames follow.
    SwitchingProtocols,
    /// Any other reply, or none at all.
    Anything,
}

impl ReplyHead {
    /// Gives how many bytes belong to the head, and how it ended when it did.
    ///
    /// The end is what h11 takes for it, which reads the reply inside the WebSocket library: the
    /// first empty line, with or without carriage returns.
    pub(crate) fn watch(&mut self, data: &[u8]) -> (usize, Option<HeadEnd>) {
        for (at, &byte) in data.iter().enumerate() {
            if let Some(slot) = self.start.get_mut(self.seen) {
                *slot = byte;
            }
            self.seen += 1;
            match (byte, self.blank_line) {
                (b'\n', 1 | 2) => return (at + 1, Some(self.end())),
                (b'\n', _) => self.blank_line = 1,
                (b'\r', 1) => self.blank_line = 2,
                _ => self.blank_line = 0,
            }
            if self.seen >= MAX_HEAD_BYTES {
                return (at + 1, Some(HeadEnd::Anything));
            }
        }
        (data.len(), None)
    }

    fn end(&self) -> HeadEnd {
        match &self.start {
            [
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'1',
                b'.',
                b'0'..=b'9',
                b' ',
                b'1',
                b'0',
                b'1',
                b' ' | b'\r' | b'\n',
            ] => HeadEnd::SwitchingProtocols,
            _ => HeadEnd::Anything,
        }
    }
}
