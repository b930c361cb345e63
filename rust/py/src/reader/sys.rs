//! The calls to the operating system that Rust's library lacks.

use std::io;
use std::os::fd::RawFd;
use std::thread::{Builder, JoinHandle};

/// Ready to be read, ended or broken.
pub(crate) const READABLE: i16 = libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;

/// Something to wait for; `None` as descriptor waits for nothing.
pub(crate) fn wanted(descriptor: Option<RawFd>, read: bool, write: bool) -> libc::pollfd {
    let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
    libc::pollfd {
        fd: descriptor.unwrap_or(-1),
        events,
        revents: 0,
    }
}

/// Waits until one is ready, or for so many nanoseconds; None: without limit.
pub(crate) fn poll(wanted: &mut [libc::pollfd], timeout_ns: Option<i64>) -> io::Result<()> {
    let milliseconds = timeout_ns.map_or(-1, |ns| {
        // rounded up: a timer that comes early would come again at once
        i32::try_from(ns.max(0).div_euclid(1_000_000) + 1).unwrap_or(i32::MAX)
    });
    let count = libc::nfds_t::try_from(wanted.len()).unwrap_or(0);
    // SAFETY: the slice is ours for the time of the call, and `count` is its length.
    let done = unsafe { libc::poll(wanted.as_mut_ptr(), count, milliseconds) };
    if done >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Elapsed nanoseconds: the clock of Python's `SystemClock.elapsed_ns`.
pub(crate) fn elapsed_ns() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours; the clock exists wherever Python has it.
    unsafe { libc::clock_gettime(CLOCK, &raw mut now) };
    #[expect(clippy::useless_conversion, reason = "32 bits wide on some systems")]
    i64::from(now.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(now.tv_nsec))
}

/// Where a write to a closed socket would raise a signal, it is told not to.
pub(crate) fn no_signal_on_write(descriptor: RawFd) {
    #[cfg(target_vendor = "apple")]
    {
        let on: libc::c_int = 1;
        let size = std::mem::size_of_val(&on) as libc::socklen_t;
        // SAFETY: `on` outlives the call and `size` is its size.
        unsafe {
            libc::setsockopt(
                descriptor,
                libc::SOL_SOCKET,
                libc::SO_NOSIGPIPE,
                (&raw const on).cast(),
                size,
            )
        };
    }
    #[cfg(not(target_vendor = "apple"))]
    let _ = descriptor; // the library's writes say so each time
}

/// Starts a thread in which no signal is handled: those are Python's main thread's.
pub(crate) fn spawn_without_signals(
    builder: Builder,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // SAFETY: both sets are ours, and filled before they are read.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let thread = builder.spawn(work); // it inherits what is blocked
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        thread
    }
}
