//! Strictly rising nonces. Keeps one number; persistence and locking belong to the caller.

use std::fmt;

/// Gives `max(last + 1, now)`, so a clock stepped back never repeats or lowers a nonce.
///
/// Kraken compares with the highest nonce it has seen of a key.
/// Source: Kraken API guide "Spot REST authentication", section "Nonce".
#[derive(Clone, Debug, Default)]
pub struct NonceSequence {
    last: u64,
}

/// The highest nonce that 64 bits hold was given: the key can never be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceExhausted;

impl fmt::Display for NonceExhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no nonce is left for this API key: the highest 64-bit value was used")
    }
}

impl std::error::Error for NonceExhausted {}

impl NonceSequence {
    /// Starts behind `last`, the highest nonce given so far.
    #[must_use]
    pub fn new(last: u64) -> Self {
        Self { last }
    }

    /// The next nonce for a wall clock of `now_ns` unix nanoseconds.
    pub fn next(&mut self, now_ns: u64) -> Result<u64, NonceExhausted> {
        let next = self.last.checked_add(1).ok_or(NonceExhausted)?.max(now_ns);
        self.last = next;
        Ok(next)
    }

    /// The highest nonce given so far.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_in_a_typed_error() {
        let mut sequence = NonceSequence::new(u64::MAX - 1);
        assert_eq!(sequence.next(0), Ok(u64::MAX));
        assert_eq!(sequence.next(0), Err(NonceExhausted));
        assert_eq!(sequence.last(), u64::MAX);
    }

    proptest! {
        #[test]
        fn rises_whatever_the_clock_does(start in 0_u64..=1 << 62, clock in prop::collection::vec(0_u64..=1 << 62, 1..200)) {
            let mut sequence = NonceSequence::new(start);
            let mut last = start;
            for now in clock {
                let nonce = sequence.next(now).unwrap();
                prop_assert!(nonce > last && nonce >= now);
                last = nonce;
            }
        }
    }
}
