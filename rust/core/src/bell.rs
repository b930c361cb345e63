//! When a listener of changes is woken: at once for the first change, then at most once in a while.
//!
//! A listener that found nothing arms the bell, under the lock under which it looked: so no change
//! can fall between the look and the sleep. Nobody listening, nothing rings.

/// What is to be done about the bell now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Nothing.
    No,
    /// Wake the listeners.
    Now,
    /// Look again after so many nanoseconds: a change waits, and the last waking was just now.
    Later(i64),
}

/// The bell of one cache. Times are elapsed nanoseconds.
#[derive(Debug, Default)]
pub struct Bell {
    conflate_ns: i64,
    /// Number of the newest change that the listener saw; None: nobody listens.
    armed_at: Option<u64>,
    rung_ns: Option<i64>,
}

impl Bell {
    /// Two wakings are at least so far apart; 0: every change wakes a waiting listener.
    pub fn conflate(&mut self, nanoseconds: i64) {
        self.conflate_ns = nanoseconds.max(0);
    }

    /// A listener has seen everything up to `change` and is about to sleep.
    pub fn arm(&mut self, change: u64) {
        // of several listeners the one that saw least decides
        self.armed_at = Some(self.armed_at.map_or(change, |known| known.min(change)));
    }

    /// The newest change is `change`: whether to ring.
    #[inline]
    pub fn look(&mut self, change: u64, now_ns: i64) -> Ring {
        let Some(seen) = self.armed_at else {
            return Ring::No;
        };
        if change <= seen {
            return Ring::No;
        }
        let wait_ns = self.rung_ns.map_or(0, |rung_ns| {
            rung_ns
                .saturating_add(self.conflate_ns)
                .saturating_sub(now_ns)
        });
        if wait_ns > 0 {
            return Ring::Later(wait_ns.min(self.conflate_ns));
        }
        self.armed_at = None;
        self.rung_ns = Some(now_ns);
        Ring::Now
    }
}

#[cfg(test)]
mod tests {
    use super::{Bell, Ring};

    #[test]
    fn nobody_listening_nothing_rings() {
        let mut bell = Bell::default();
        assert_eq!(bell.look(5, 100), Ring::No);
    }

    #[test]
    fn the_first_change_rings_at_once_and_the_next_when_it_is_due() {
        let mut bell = Bell::default();
        bell.conflate(2_000);
        bell.arm(0);
        assert_eq!(bell.look(0, 10), Ring::No);
        assert_eq!(bell.look(1, 10), Ring::Now);
        assert_eq!(
            bell.look(2, 11),
            Ring::No,
            "not before the listener is back"
        );
        bell.arm(2);
        assert_eq!(bell.look(2, 12), Ring::No);
        assert_eq!(bell.look(3, 1_010), Ring::Later(1_000));
        assert_eq!(bell.look(3, 2_010), Ring::Now, "no change is lost");
        bell.arm(3);
        assert_eq!(bell.look(4, 9_000), Ring::Now);
    }

    #[test]
    fn without_conflation_every_change_rings_for_who_waits() {
        let mut bell = Bell::default();
        for change in 1..5 {
            bell.arm(change - 1);
            assert_eq!(bell.look(change, 7), Ring::Now);
        }
    }

    #[test]
    fn a_second_listener_takes_nothing_from_the_first() {
        let mut bell = Bell::default();
        bell.arm(3);
        bell.arm(4);
        assert_eq!(bell.look(4, 1), Ring::Now);
    }

    #[test]
    fn a_clock_that_stepped_back_delays_by_no_more_than_the_conflation() {
        let mut bell = Bell::default();
        bell.conflate(2_000);
        bell.arm(0);
        assert_eq!(bell.look(1, 1_000_000), Ring::Now);
        bell.arm(1);
        assert_eq!(bell.look(2, 0), Ring::Later(2_000));
    }
}
