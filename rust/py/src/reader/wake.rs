//! Waking across threads: a pair of sockets, since an event loop waits for sockets everywhere.
//!
//! A flag keeps it to one byte at a time. Whoever is woken clears first and looks at the state
//! afterwards; so a state that changed before the flag was seen up is never missed.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one who waits for a descriptor.
pub(crate) struct Wake {
    sender: UnixStream,
    waiter: UnixStream,
    rung: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, waiter) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        waiter.set_nonblocking(true)?;
        Ok(Self {
            sender,
            waiter,
            rung: AtomicBool::new(false),
        })
    }

    /// What to wait for, to be readable.
    pub(crate) fn descriptor(&self) -> i32 {
        self.waiter.as_raw_fd()
    }

    /// Wakes; cheap when it has been done already.
    pub(crate) fn ring(&self) {
        ring(&self.rung, &self.sender);
    }

    /// To be called when woken, before looking at the state.
    pub(crate) fn clear(&self) {
        clear(&self.rung, &self.waiter);
    }
}

/// The same in both directions, over one pair: between the event loop and a reader's thread.
pub(crate) struct Link {
    event_loop: UnixStream,
    thread: UnixStream,
    rung: AtomicBool,
    poked: AtomicBool,
}

impl Link {
    pub(crate) fn new() -> io::Result<Self> {
        let (event_loop, thread) = UnixStream::pair()?;
        event_loop.set_nonblocking(true)?;
        thread.set_nonblocking(true)?;
        Ok(Self {
            event_loop,
            thread,
            rung: AtomicBool::new(false),
            poked: AtomicBool::new(false),
        })
    }

    /// What the event loop waits for.
    pub(crate) fn event_loop_descriptor(&self) -> i32 {
        self.event_loop.as_raw_fd()
    }

    /// What the thread waits for.
    pub(crate) fn thread_descriptor(&self) -> i32 {
        self.thread.as_raw_fd()
    }

    /// Wakes the event loop.
    pub(crate) fn ring(&self) {
        ring(&self.rung, &self.thread);
    }

    /// For the event loop when woken, before it looks.
    pub(crate) fn clear(&self) {
        clear(&self.rung, &self.event_loop);
    }

    /// Wakes the thread.
    pub(crate) fn poke(&self) {
        ring(&self.poked, &self.event_loop);
    }

    /// For the thread when woken, before it looks.
    pub(crate) fn poked(&self) {
        clear(&self.poked, &self.thread);
    }
}

fn ring(flag: &AtomicBool, mut socket: &UnixStream) {
    if !flag.swap(true, Ordering::SeqCst) {
        // A full pair is as good as a byte: somebody is being woken.
        let _ = socket.write(&[1]);
    }
}

fn clear(flag: &AtomicBool, mut socket: &UnixStream) {
    let mut bytes = [0; 16];
    while matches!(socket.read(&mut bytes), Ok(count) if count == bytes.len()) {}
    flag.store(false, Ordering::SeqCst);
}
