//! One TLS session in memory: ciphertext in, plaintext out, and back.
//!
//! Built on rustls' unbuffered interface: its buffered one copies three times more, takes 4 KiB at a
//! call and refuses to queue more than 64 KiB.

use std::sync::Mutex;

use krakked_core::outbox::Outbox;
use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus};

use crate::lock::lock;

/// One read at most.
const INCOMING_BYTES: usize = 256 << 10;

/// No more is encrypted while so much waits to be written.
const WIRE_BYTES: usize = 128 << 10;

/// Plaintext of one record at most: RFC 8446 5.1.
const RECORD_BYTES: usize = 16 << 10;

/// What a record may need beside its plaintext, a farewell included.
const OVERHEAD_BYTES: usize = 512;

/// The session.
pub(super) struct Session {
    connection: UnbufferedClientConnection,
    /// Ciphertext that came; `from..to` is not worked through.
    incoming: Vec<u8>,
    from: usize,
    to: usize,
    /// Ciphertext to be sent; `gone` bytes of it have been.
    wire: Vec<u8>,
    gone: usize,
    open: bool,
    fresh: bool,
}

/// What working through brought.
#[derive(Default)]
pub(super) struct Told {
    /// Somebody waits for room in the outbox, and there is some.
    pub(super) room: bool,
    /// The other side said farewell.
    pub(super) ended: bool,
}

impl Session {
    pub(super) fn new(connection: UnbufferedClientConnection) -> Self {
        Self {
            connection,
            incoming: vec![0; INCOMING_BYTES],
            from: 0,
            to: 0,
            wire: Vec::new(),
            gone: 0,
            open: false,
            fresh: true,
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether nothing was done yet, so that the greeting is still to be made.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Where the next ciphertext goes; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.from > 0 {
            self.incoming.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        if self.to == self.incoming.len() {
            // no record is so long; a handshake message may be, and rustls limits those
            self.incoming.resize(2 * self.to, 0);
        }
        &mut self.incoming[self.to..]
    }

    /// So much ciphertext came.
    pub(super) fn received(&mut self, count: usize) {
        self.to += count;
    }

    /// Ciphertext to be sent.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire[self.gone..]
    }

    /// So much of it has gone.
    pub(super) fn sent(&mut self, count: usize) {
        self.gone += count;
        if self.gone == self.wire.len() {
            self.wire.clear();
            self.gone = 0;
        }
    }

    /// Works through what came, and encrypts what waits in the outbox.
    pub(super) fn drive(
        &mut self,
        outbox: &Mutex<Outbox>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<Told, Error> {
        self.fresh = false;
        let mut told = Told::default();
        let mut failure = None;
        loop {
            // After a failure only the alert is wanted: the same bytes again would make another one.
            let upto = if failure.is_some() {
                self.from
            } else {
                self.to
            };
            let incoming = &mut self.incoming[self.from..upto];
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(incoming);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        deliver(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    extend(&mut self.wire, OVERHEAD_BYTES, |room| {
                        data.encode(room).map_err(|error| match error {
                            rustls::unbuffered::EncodeError::InsufficientSize(more) => {
                                Some(more.required_size)
                            }
                            rustls::unbuffered::EncodeError::AlreadyEncoded => None,
                        })
                    })?;
                }
                // Whatever is on the wire goes in order, so it counts as sent.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    done = failure.is_some();
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) if failure.is_none() => {
                    self.open = true;
                    let mut outbox = lock(outbox);
                    loop {
                        let count = outbox.front().len().min(RECORD_BYTES);
                        if count == 0 || self.wire.len() - self.gone >= WIRE_BYTES {
                            break;
                        }
                        let plain = &outbox.front()[..count];
                        extend(&mut self.wire, count + OVERHEAD_BYTES, |room| {
                            traffic.encrypt(plain, room).map_err(|it| size(&it))
                        })?;
                        told.room |= outbox.sent(count);
                        outbox.settle(random_mask);
                    }
                    done = true;
                }
                Ok(ConnectionState::PeerClosed) => told.ended = true,
                Ok(_) => done = true, // BlockedHandshake, Closed; after a failure WriteTraffic
                Err(error) => {
                    // Once more: the alert that tells the other side is made by the next call.
                    done = failure.is_some();
                    failure.get_or_insert(error);
                }
            }
            self.from += discard;
            if done {
                break;
            }
        }
        failure.map_or(Ok(told), Err)
    }

    /// Says farewell, if there is anybody to hear it.
    pub(super) fn close(&mut self) {
        if !self.open {
            return;
        }
        let incoming = &mut self.incoming[self.from..self.to];
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let _ = extend(&mut self.wire, OVERHEAD_BYTES, |room| {
                traffic.queue_close_notify(room).map_err(|it| size(&it))
            });
        }
    }
}

/// Four bytes that nobody can foretell.
pub(super) fn random_mask() -> [u8; 4] {
    let mut mask = [0; 4];
    // Without chance the mask is zero: masks protect proxies from pages, and this is no browser.
    let _ = rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut mask);
    mask
}

fn size(error: &EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(more) => Some(more.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends what `write` puts into the room it is given; it may ask for more, once.
fn extend(
    wire: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    let at = wire.len();
    wire.resize(at + room, 0);
    let mut written = write(&mut wire[at..]);
    if let Err(Some(required)) = written {
        wire.resize(at + required, 0);
        written = write(&mut wire[at..]);
    }
    wire.truncate(at + written.unwrap_or(0));
    match written {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::EncryptError),
    }
}
