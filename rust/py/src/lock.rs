//! Taking a lock. A panic elsewhere (there should be none) poisons nothing, a forked child is refused
//! before it touches one, and a writer that never rests hands over to who waits.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::prelude::*;

use crate::owner::Owner;

/// Waits for the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock of one binding, for its process alone.
pub(crate) struct OwnedLock<T> {
    owner: Owner,
    mutex: Mutex<T>,
}

impl<T> OwnedLock<T> {
    /// `what` is for the error.
    pub(crate) fn new(what: &'static str, value: T) -> Self {
        Self {
            owner: Owner::new(what),
            mutex: Mutex::new(value),
        }
    }

    /// Waits for the lock; refuses a forked child.
    pub(crate) fn lock(&self) -> PyResult<MutexGuard<'_, T>> {
        self.owner.check()?;
        Ok(lock(&self.mutex))
    }
}

/// So often a writer steps back for who waits: each time the waiter has a turn of the processor.
#[cfg(unix)]
const TURNS: usize = 64;

/// So often who waits looks again before it sleeps: about as long as a writer's slice takes.
const SPINS: usize = 2_000;

/// A lock between a reader's thread, which would take it again at once, and everybody else.
#[derive(Default)]
pub(crate) struct FairLock<T> {
    waiting: AtomicUsize,
    mutex: Mutex<T>,
}

impl<T> FairLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            mutex: Mutex::new(value),
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // The writer is about to step back: being put to sleep and woken would take longer.
            let soon = (0..SPINS).find_map(|_| {
                hint::spin_loop();
                self.try_lock()
            });
            let guard = soon.unwrap_or_else(|| lock(&self.mutex));
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            guard
        })
    }

    /// For the writer, which does not hold it just now: lets those go first who wait.
    #[cfg(unix)]
    pub(crate) fn hand_over(&self) {
        for _ in 0..TURNS {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The same for a Python thread, which does not keep the interpreter while it waits.
    pub(crate) fn with<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut T) -> R + Send) -> R
    where
        T: Send,
    {
        if let Some(mut guard) = self.try_lock() {
            return work(&mut guard);
        }
        py.detach(|| work(&mut self.lock()))
    }
}
