//! The thread of one reader: waits for the socket and for the event loop, and does what either wants.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use krakked_core::bell::Ring;
use krakked_core::inbox::End;

use super::Shared;
use super::sys::{self, READABLE, elapsed_ns, wanted};
use super::tls::{Session, random_mask};
use super::wake::Link;
use crate::lock::lock;

/// One read of a plain socket at most: 860 frames of a ticker.
const READ_BYTES: usize = 256 << 10;

/// So much is decoded at once, about 40 us; in between others may have the cache.
const SLICE_BYTES: usize = 32 << 10;

/// What the thread works with.
pub(super) struct Worker {
    link: Arc<Link>,
    socket: TcpStream,
    session: Option<Session>,
    /// Where a plain socket is read into.
    buffer: Vec<u8>,
    sink: Sink,
    /// Whether the other side may still send something.
    reading: bool,
    /// Whether the socket takes no more for now.
    blocked: bool,
}

/// Where received bytes go; apart from socket and session, so that all can be borrowed at once.
struct Sink {
    shared: Arc<Shared>,
    link: Arc<Link>,
    /// What is to be forwarded of one slice; kept for its memory.
    forward: Vec<u8>,
    /// Elapsed time at which the bell is to be looked at again.
    bell_due_ns: Option<i64>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        socket: TcpStream,
        session: Option<Session>,
    ) -> Self {
        let buffer = if session.is_some() { 0 } else { READ_BYTES };
        Self {
            link: link.clone(),
            socket,
            session,
            buffer: vec![0; buffer],
            sink: Sink {
                shared,
                link,
                forward: Vec::new(),
                bell_due_ns: None,
            },
            reading: true,
            blocked: false,
        }
    }

    /// All of the thread; the reason why it ends is left in the inbox.
    pub(super) fn work(mut self) {
        let end = catch_unwind(AssertUnwindSafe(|| self.serve())).unwrap_or(End::Panic);
        lock(&self.sink.shared.inbox).end(end);
        self.sink.shared.finished.store(true, Ordering::SeqCst);
        self.link.ring();
        // A copy of the descriptor in a forked child must not keep the connection open.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn serve(&mut self) -> End {
        sys::no_signal_on_write(self.socket.as_raw_fd());
        if self.session.is_none() {
            self.opened();
        }
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return End::Closed,
                Err(end) => return end,
            }
        }
    }

    /// Sends what is to be sent, waits, reads what came; false: this side closes.
    fn turn(&mut self) -> Result<bool, End> {
        if self.sink.shared.closing.load(Ordering::SeqCst) {
            self.farewell();
            return Ok(false);
        }
        self.write()?;
        let read = self.reading && lock(&self.sink.shared.inbox).has_room();
        let socket = (read || self.blocked).then(|| self.socket.as_raw_fd());
        let mut ready = [
            wanted(socket, read, self.blocked),
            wanted(Some(self.link.thread_descriptor()), true, false),
        ];
        let until_bell_ns = self.sink.bell_due_ns.map(|due_ns| due_ns - elapsed_ns());
        sys::poll(&mut ready, until_bell_ns).map_err(|error| os(&error))?;
        if ready[1].revents != 0 {
            self.link.poked();
        }
        if read && ready[0].revents & READABLE != 0 {
            self.read()?;
        }
        self.sink.look_at_bell();
        Ok(true)
    }

    fn opened(&self) {
        // Only now: where TLS fails, Python takes the tap over, and answers pings by itself.
        self.sink.shared.connection.lock().answer_pings();
        if lock(&self.sink.shared.inbox).open() {
            self.link.ring();
        }
    }

    // --- receiving ---

    fn read(&mut self) -> Result<(), End> {
        let room = match &mut self.session {
            Some(session) => session.room(),
            None => &mut self.buffer[..],
        };
        let count = match self.socket.read(room) {
            Ok(count) => count,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(os(&error)),
        };
        if count == 0 {
            match &self.session {
                Some(session) if !session.is_open() => return Err(End::Cut),
                Some(_) => self.half_closed(End::Cut),
                None => self.half_closed(End::Eof),
            }
            return Ok(());
        }
        let now_ns = elapsed_ns();
        let last = &self.sink.shared.last_bytes_ns;
        last.store(now_ns, Ordering::Relaxed);
        if let Some(session) = &mut self.session {
            session.received(count);
            self.drive()
        } else {
            for slice in self.buffer[..count].chunks(SLICE_BYTES) {
                self.sink.take(slice, now_ns);
            }
            Ok(())
        }
    }

    /// Nothing more comes. What is to be sent still is, until this side closes.
    fn half_closed(&mut self, end: End) {
        self.reading = false;
        if lock(&self.sink.shared.inbox).end(end) {
            self.link.ring();
        }
    }

    /// Works through what came over TLS, and encrypts what is to be sent.
    fn drive(&mut self) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let (was_open, now_ns) = (session.is_open(), elapsed_ns());
        let Self { sink, .. } = self;
        let shared = sink.shared.clone();
        let driven = session.drive(&shared.outbox, |plain| sink.take(plain, now_ns));
        let opens = session.is_open() && !was_open;
        if opens {
            self.opened();
        }
        match driven {
            Ok(told) => {
                if told.room {
                    self.link.ring();
                }
                if told.ended && self.reading {
                    self.half_closed(End::Eof);
                }
                Ok(())
            }
            Err(error) => {
                let _ = self.flush(); // the alert that says so to the other side
                Err(End::Tls(error.to_string()))
            }
        }
    }

    // --- sending ---

    fn write(&mut self) -> Result<(), End> {
        self.blocked = false;
        {
            let mut outbox = lock(&self.sink.shared.outbox);
            outbox.settle(random_mask);
            if self.session.is_none() {
                let mut room = false;
                while !outbox.front().is_empty() {
                    match self.socket.write(outbox.front()) {
                        Ok(count) => room |= outbox.sent(count),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            self.blocked = true;
                            break;
                        }
                        Err(error) => return Err(os(&error)),
                    }
                    outbox.settle(random_mask);
                }
                drop(outbox);
                if room {
                    self.link.ring();
                }
                return Ok(());
            }
        }
        loop {
            let fresh = self.session.as_ref().is_some_and(Session::is_fresh);
            if fresh || !lock(&self.sink.shared.outbox).front().is_empty() {
                self.drive()?;
            }
            if !self.flush()? {
                return Ok(());
            }
        }
    }

    /// Sends what is encrypted; true when something was, and all of it has gone.
    fn flush(&mut self) -> Result<bool, End> {
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let mut any = false;
        while !session.wire().is_empty() {
            match self.socket.write(session.wire()) {
                Ok(count) => session.sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(error) => return Err(os(&error)),
            }
            any = true;
        }
        Ok(any)
    }

    /// Sends what the socket takes at once, and TLS's farewell.
    fn farewell(&mut self) {
        let _ = self.write();
        if let Some(session) = &mut self.session {
            session.close();
            let _ = self.flush();
        }
    }
}

impl Sink {
    /// Decodes one slice into the cache, and wakes whom it concerns.
    fn take(&mut self, slice: &[u8], now_ns: i64) {
        let Shared {
            inbox,
            outbox,
            connection,
            cache,
            received_bytes,
            ..
        } = &*self.shared;
        received_bytes.fetch_add(slice.len() as u64, Ordering::Relaxed);
        self.forward.clear();
        let (noticed, pings, ring) = {
            let mut connection = connection.lock();
            let mut cache = cache.lock.lock();
            connection.receive(&mut cache, slice, now_ns, &mut self.forward);
            (
                connection.events_pending() || cache.closed_pending(),
                connection.take_pings(),
                cache.ring(now_ns),
            )
        };
        connection.hand_over();
        cache.lock.hand_over();
        if !pings.is_empty() {
            let mut outbox = lock(outbox);
            for ping in pings {
                outbox.answer(&ping);
                outbox.settle(random_mask);
            }
        }
        if noticed || !self.forward.is_empty() {
            let mut inbox = lock(inbox);
            let wake = (noticed && inbox.notice()) | inbox.push(&self.forward);
            drop(inbox);
            if wake {
                self.link.ring();
            }
        }
        self.heed(ring, now_ns);
    }

    fn look_at_bell(&mut self) {
        let Some(due_ns) = self.bell_due_ns else {
            return;
        };
        let now_ns = elapsed_ns();
        if now_ns >= due_ns {
            let ring = self.shared.cache.lock.lock().ring(now_ns);
            self.heed(ring, now_ns);
        }
    }

    fn heed(&mut self, ring: Ring, now_ns: i64) {
        self.bell_due_ns = match ring {
            Ring::No => None,
            Ring::Later(wait_ns) => Some(now_ns.saturating_add(wait_ns)),
            Ring::Now => {
                self.shared.cache.bell().inspect(|it| it.ring());
                None
            }
        };
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn os(error: &io::Error) -> End {
    let number = error.raw_os_error();
    let words = error.to_string();
    let suffix = number.map(|number| format!(" (os error {number})"));
    let words = suffix.and_then(|suffix| words.strip_suffix(&suffix).map(str::to_owned));
    End::Os(number, words.unwrap_or_else(|| error.to_string()))
}
