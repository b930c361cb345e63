//! Exact sums of decimals, and the one rounding at their end.

use crate::decimal::Decimal;
use std::cmp::Ordering;

/// An exact sum of non-negative decimals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) magnitude: u128,
    pub(crate) scale: u32,
}

impl Sum {
    #[inline]
    pub(crate) fn plus(self, magnitude: u128, scale: u32) -> Option<Self> {
        if self.scale == scale {
            return Some(Self {
                magnitude: self.magnitude.checked_add(magnitude)?,
                scale,
            });
        }
        self.plus_rescaled(magnitude, scale)
    }

    #[cold]
    fn plus_rescaled(self, magnitude: u128, scale: u32) -> Option<Self> {
        let (mine, theirs, scale) = match self.scale.cmp(&scale) {
            Ordering::Less => (raise(self.magnitude, scale - self.scale)?, magnitude, scale),
            Ordering::Equal | Ordering::Greater => (
                self.magnitude,
                raise(magnitude, self.scale - scale)?,
                self.scale,
            ),
        };
        Some(Self {
            magnitude: mine.checked_add(theirs)?,
            scale,
        })
    }
}

pub(crate) fn raise(magnitude: u128, digits: u32) -> Option<u128> {
    if magnitude == 0 {
        return Some(0);
    }
    10_u128.checked_pow(digits)?.checked_mul(magnitude)
}

/// The product of two magnitudes, or None when it does not fit.
#[inline]
pub(crate) fn product(left: u128, right: u128) -> Option<u128> {
    // Nearly always both fit 64 bits, and one multiplication is enough.
    match (u64::try_from(left), u64::try_from(right)) {
        (Ok(a), Ok(b)) => Some(u128::from(a) * u128::from(b)),
        _ => left.checked_mul(right),
    }
}

/// Orders two non-negative decimals by value.
#[inline]
pub(crate) fn compare(left: Decimal, right: Decimal) -> Ordering {
    let (a, b) = (left.magnitude(), right.magnitude());
    match left.scale().cmp(&right.scale()) {
        Ordering::Equal => a.cmp(&b),
        // The side that does not fit when raised is the larger one: the other has 96 bits at most.
        Ordering::Less => raise(a, u32::from(right.scale() - left.scale()))
            .map_or(Ordering::Greater, |raised| raised.cmp(&b)),
        Ordering::Greater => raise(b, u32::from(left.scale() - right.scale()))
            .map_or(Ordering::Less, |raised| a.cmp(&raised)),
    }
}

/// The double nearest to `numerator / denominator`, ties to even.
pub(crate) fn nearest_f64(numerator: u128, denominator: u128) -> f64 {
    if denominator == 0 {
        return f64::NAN;
    }
    if numerator == 0 {
        return 0.0;
    }
    // 55 bits of quotient are 53 to keep, one to round by and one spare; the rest is only "sticky".
    let have = i64::from(denominator.leading_zeros()) - i64::from(numerator.leading_zeros());
    let shift = 55 - have;
    let (num, den) = if shift >= 0 {
        let Ok(shift) = u32::try_from(shift) else {
            return f64::NAN;
        };
        if numerator.leading_zeros() < shift {
            return nearest_f64_by_text(numerator, denominator);
        }
        (numerator << shift, denominator)
    } else {
        let Ok(shift) = u32::try_from(-shift) else {
            return f64::NAN;
        };
        if denominator.leading_zeros() < shift {
            return nearest_f64_by_text(numerator, denominator);
        }
        (numerator, denominator << shift)
    };
    let quotient = num / den;
    let sticky = u128::from(!num.is_multiple_of(den));
    // At most 57 bits: one more for the sticky bit keeps everything inside 64.
    let Ok(bits) = u64::try_from((quotient << 1) | sticky) else {
        return nearest_f64_by_text(numerator, denominator);
    };
    // The conversion rounds to nearest, ties to even, and the sticky bit breaks false ties.
    #[expect(clippy::cast_precision_loss, reason = "this is the one rounding")]
    let rounded = bits as f64;
    let exponent = i32::try_from(-shift - 1).unwrap_or(i32::MIN);
    rounded * 2_f64.powi(exponent)
}

/// The same by long division to 40 digits that count; for numbers too wide for the short way.
#[cold]
fn nearest_f64_by_text(numerator: u128, denominator: u128) -> f64 {
    let mut text = (numerator / denominator).to_string();
    let mut counting = text != "0";
    text.push('.');
    let mut rest = numerator % denominator;
    let mut left = 40;
    while left > 0 {
        let mut digit = 0;
        // Ten additions instead of one product: they cannot overflow unnoticed.
        let mut sum: u128 = 0;
        for _ in 0..10 {
            let space = denominator - sum;
            if rest >= space {
                sum = rest - space;
                digit += 1;
            } else {
                sum += rest;
            }
        }
        rest = sum;
        counting |= digit != 0;
        left -= u32::from(counting);
        text.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
    if rest != 0 {
        text.push('1');
    }
    text.parse().unwrap_or(f64::NAN)
}

pub(crate) fn scaled_f64(magnitude: u128, scale: u32) -> f64 {
    match 10_u128.checked_pow(scale) {
        Some(denominator) => nearest_f64(magnitude, denominator),
        None => nearest_f64(magnitude, 1) / power_of_ten(scale),
    }
}

pub(crate) fn power_of_ten(digits: u32) -> f64 {
    10_f64.powi(i32::try_from(digits).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_two_ways_to_the_nearest_double_agree(n in 1_u128..u128::MAX >> 4, d in 1_u128..1_u128 << 90) {
            let text = nearest_f64_by_text(n, d);
            prop_assert_eq!(nearest_f64(n, d).to_bits(), text.to_bits());
        }

        #[test]
        fn doubles_round_like_the_standard_parser(n in 0_u64.., scale in 0_u32..19) {
            let text = format!("{n}e-{scale}");
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(nearest_f64(u128::from(n), 10_u128.pow(scale)).to_bits(), expected.to_bits());
        }
    }
}
