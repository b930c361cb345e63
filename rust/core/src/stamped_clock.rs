//! Kraken's time as its own answers tell it, never as this machine has it.
//!
//! Acknowledgements and pongs leave the gateway within 60 us of the time they bear (recorded
//! 2026-09-25), so `time_out - arrival` is the offset of Kraken's clock, short by the way here.

/// How many answers are remembered.
const KEPT: usize = 32;

/// A stamp further ahead of Kraken's clock than this is no time at all.
const AHEAD_NS: i64 = 60_000_000_000;

/// So many stamps in a row, all ahead by the same, and it is the clock that was wrong.
const AGREEING: u32 = 32;

/// A stamp this near to a clock was made just now.
const ON_TIME_NS: i64 = 5_000_000_000;

/// What is known of Kraken's clock. Offsets are unix nanoseconds minus elapsed nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct StampedClock {
    offsets: Vec<i64>,
    next: usize,
    offset_ns: Option<i64>,
    strays: u32,
    stray_offset_ns: i64,
    /// The same of this machine's wall clock, as last told.
    wall_offset_ns: Option<i64>,
}

impl StampedClock {
    /// Takes in the time that an answer bears.
    pub(crate) fn learn(&mut self, told_ns: i64, now_ns: i64) {
        let offset = told_ns.saturating_sub(now_ns);
        if self.offsets.len() < KEPT {
            self.offsets.push(offset);
        } else {
            self.offsets[self.next % KEPT] = offset;
        }
        self.next = (self.next + 1) % KEPT;
        // An answer may come late but hardly early: high, yet no single one decides.
        let mut ordered = self.offsets.clone();
        ordered.sort_unstable();
        self.offset_ns = Some(ordered[(ordered.len() - 1) * 3 / 4]);
    }

    /// Kraken's time, unix nanoseconds; None before the first answer.
    pub(crate) fn at(&self, now_ns: i64) -> Option<i64> {
        self.offset_ns.map(|it| it.saturating_add(now_ns))
    }

    /// Takes in what this machine's wall clock shows.
    pub(crate) fn learn_wall(&mut self, wall_ns: i64, now_ns: i64) {
        self.wall_offset_ns = Some(wall_ns.saturating_sub(now_ns));
    }

    /// How long ago a stamp was made; 0 while nothing tells.
    ///
    /// The gateway's clock may be wrong, and this machine's, too. A row that either of them says was
    /// made just now was: two clocks err by the very time that a row is late only by design.
    #[inline]
    pub(crate) fn age_ns(&self, stamp_ns: i64, now_ns: i64) -> i64 {
        let made_ns = stamp_ns.saturating_sub(now_ns);
        let Some(by_gateway) = self.offset_ns.map(|it| it.saturating_sub(made_ns)) else {
            return 0;
        };
        if by_gateway <= ON_TIME_NS {
            return by_gateway.max(0);
        }
        match self.wall_offset_ns.map(|it| it.saturating_sub(made_ns)) {
            Some(by_wall) if by_wall.abs() <= ON_TIME_NS => by_wall.max(0),
            _ => by_gateway,
        }
    }

    /// Whether a stamp lies further ahead than any true one can.
    #[inline]
    pub(crate) fn is_ahead(&self, stamp_ns: i64, now_ns: i64) -> bool {
        self.at(now_ns)
            .is_some_and(|server_ns| stamp_ns > server_ns.saturating_add(AHEAD_NS))
    }

    /// Judges a stamp that is about to be applied; false refuses it.
    #[inline]
    pub(crate) fn admits(&mut self, stamp_ns: i64, now_ns: i64) -> bool {
        if self.is_ahead(stamp_ns, now_ns) {
            return self.admits_stray(stamp_ns.saturating_sub(now_ns));
        }
        if self.strays != 0 {
            self.strays = 0;
        }
        true
    }

    /// One mad stamp among good ones is refused. Many in a row that agree with each other are how
    /// Kraken's engine sees the time, whatever the gateway says.
    #[cold]
    fn admits_stray(&mut self, offset_ns: i64) -> bool {
        if self.strays == 0 || offset_ns.abs_diff(self.stray_offset_ns) > AHEAD_NS.unsigned_abs() {
            (self.strays, self.stray_offset_ns) = (0, offset_ns);
        }
        self.strays += 1;
        if self.strays < AGREEING {
            return false;
        }
        self.strays = 0;
        self.offsets = vec![offset_ns; KEPT];
        self.offset_ns = Some(offset_ns);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const UNIX: i64 = 1_790_000_000 * SECOND;

    #[test]
    fn before_the_first_answer_everything_is_admitted() {
        let mut clock = StampedClock::default();
        assert_eq!(clock.at(5), None);
        assert!(clock.admits(i64::MAX, 5));
    }

    #[test]
    fn neither_slow_answers_nor_one_mad_one_decide() {
        let mut clock = StampedClock::default();
        for answer in 0..KEPT {
            let slow = if answer % 3 == 0 { 9 * SECOND } else { 0 };
            clock.learn(UNIX, slow);
        }
        clock.learn(UNIX * 5, 0);
        assert_eq!(clock.at(7), Some(UNIX + 7));
    }

    #[test]
    fn far_ahead_is_refused_and_a_little_is_not() {
        let mut clock = StampedClock::default();
        clock.learn(UNIX, 0);
        assert!(clock.admits(UNIX + AHEAD_NS, 0));
        assert!(!clock.admits(UNIX + AHEAD_NS + 1, 0));
        assert!(clock.admits(UNIX + AHEAD_NS + 1, 1));
        assert!(clock.admits(UNIX - 1_000_000 * SECOND, 0));
    }

    #[test]
    fn a_stamp_is_as_old_as_the_kindlier_of_two_clocks_says() {
        let mut clock = StampedClock::default();
        assert_eq!(clock.age_ns(UNIX, 0), 0);
        clock.learn(UNIX, 0);
        assert_eq!(clock.age_ns(UNIX, 70 * SECOND), 70 * SECOND);
        assert_eq!(clock.age_ns(UNIX + 9 * SECOND, 0), 0);
        clock.learn_wall(UNIX - 70 * SECOND, 0); // the gateway runs 70 s ahead of us
        assert_eq!(clock.age_ns(UNIX, 70 * SECOND), 0);
        assert_eq!(clock.age_ns(UNIX, 71 * SECOND), SECOND);
        assert_eq!(clock.age_ns(UNIX, 130 * SECOND), 130 * SECOND); // neither of them
        clock.learn_wall(UNIX - 3_600 * SECOND, 0); // ours is an hour slow: it proves nothing
        assert_eq!(clock.age_ns(UNIX, 70 * SECOND), 70 * SECOND);
        assert_eq!(clock.age_ns(UNIX, 4 * SECOND), 4 * SECOND);
    }

    #[test]
    fn a_gateway_an_hour_slow_does_not_shut_the_stream_out() {
        let mut clock = StampedClock::default();
        clock.learn(UNIX - 3_600 * SECOND, 0);
        let refused = (0..1_000)
            .filter(|it| !clock.admits(UNIX + it * SECOND, it * SECOND))
            .count();
        assert_eq!(refused, AGREEING as usize - 1);
    }

    #[test]
    fn mad_stamps_among_good_ones_never_take_over() {
        let mut clock = StampedClock::default();
        clock.learn(UNIX, 0);
        for it in 0..1_000 {
            assert!(!clock.admits(UNIX * 3, it));
            assert!(clock.admits(UNIX, it));
        }
        assert_eq!(clock.at(0), Some(UNIX));
    }
}
