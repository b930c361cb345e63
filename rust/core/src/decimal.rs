//! Exact decimal numbers as Kraken spells them, held as scaled integers. Never wraps, never rounds:
//! a number too wide for 96 bits is refused with a type of its own.

use std::fmt;
use std::num::NonZeroU64;

/// Largest number of decimals kept. Kraken's finest listed step is 10 decimals; the rest is room for
/// exponents such as `1e-08` and for whatever comes next.
pub const MAX_SCALE: u8 = 64;

const MAX_MAGNITUDE: u128 = (1 << 96) - 1;

/// Powers of ten, for up to eight digits of fraction.
const POW10: [u64; 16] = {
    let mut table = [1_u64; 16];
    let mut at = 1;
    while at < 16 {
        table[at] = table[at - 1] * 10;
        at += 1;
    }
    table
};

/// Powers of ten that a double holds exactly.
const EXACT_F64_POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A decimal number with the digits of the wire: `0.00044780` keeps its last zero.
///
/// Sixteen bytes: 96 bits of magnitude (28 digits), the number of decimals and the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    low: u64,
    /// From the highest bit: 32 bits of magnitude, the sign, 8 bits of scale, and [`MARK`].
    ///
    /// Two words and no more fields: written and read as such, they never make a load wait for
    /// several narrower stores (which was a quarter of the time of a ticker). `MARK` keeps the word
    /// from being zero, so that `Option<Decimal>` needs no more room.
    rest: NonZeroU64,
}

const MARK: NonZeroU64 = NonZeroU64::MIN;
const SIGN: u64 = 1 << 16;

impl Default for Decimal {
    fn default() -> Self {
        Self::pack(false, 0, 0, 0)
    }
}

/// Why a piece of text is not a number we keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// Not a number in JSON's grammar.
    Malformed,
    /// A number, but with more digits than 96 bits or [`MAX_SCALE`] decimals hold.
    TooWide,
}

impl Decimal {
    /// Builds `magnitude / 10^scale`, or None when it does not fit.
    #[must_use]
    pub fn new(negative: bool, magnitude: u128, scale: u8) -> Option<Self> {
        if magnitude > MAX_MAGNITUDE || scale > MAX_SCALE {
            return None;
        }
        let low = u64::try_from(magnitude & u128::from(u64::MAX)).ok()?;
        Some(Self::pack(
            negative,
            low,
            u32::try_from(magnitude >> 64).ok()?,
            scale,
        ))
    }

    #[inline]
    fn pack(negative: bool, low: u64, high: u32, scale: u8) -> Self {
        let sign = if negative { SIGN } else { 0 };
        Self {
            low,
            rest: MARK | u64::from(high) << 32 | u64::from(scale) << 8 | sign,
        }
    }

    /// Parses a whole text by JSON's number grammar.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let (number, end) = Self::scan(text.as_bytes(), 0)?;
        if end == text.len() {
            Ok(number)
        } else {
            Err(NumberError::Malformed)
        }
    }

    /// Reads the number that begins at `start`; gives it and the place just behind it.
    #[inline]
    pub fn scan(bytes: &[u8], start: usize) -> Result<(Self, usize), NumberError> {
        match Self::scan_plain(bytes, start) {
            Some(found) => Ok(found),
            None => Self::scan_wide(bytes, start),
        }
    }

    /// The same for the usual number: at most 19 digits and no exponent. None for any other.
    #[expect(clippy::inline_always, reason = "measured: saves a fifth of a ticker")]
    #[inline(always)]
    pub(crate) fn scan_plain(bytes: &[u8], start: usize) -> Option<(Self, usize)> {
        let negative = bytes.get(start) == Some(&b'-');
        let at = start + usize::from(negative);
        let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk::<24>) else {
            return Self::scan_bytewise(bytes, at, negative);
        };
        let lifted = lift(window, 0);
        let others = not_digits(lifted);
        let whole_digits = (others.trailing_zeros() / 8) as usize;
        if whole_digits == 0 || (whole_digits > 1 && window[0] == b'0') {
            return None;
        }
        if window[whole_digits] != b'.' {
            return match window[whole_digits] {
                b'0'..=b'9' => Self::scan_bytewise(bytes, at, negative),
                b'e' | b'E' => None,
                _ => {
                    let whole = fold(lifted, whole_digits);
                    Some((Self::pack(negative, whole, 0, 0), at + whole_digits))
                }
            };
        }
        // Most prices end within eight bytes: close the gap of the point and fold once.
        let end = ((others & others.wrapping_sub(1)).trailing_zeros() / 8) as usize;
        let (low, end) = if end < 8 {
            let below = (1_u64 << (8 * (whole_digits & 7))) - 1;
            let packed = (lifted & below) | ((lifted >> 8) & !below);
            (fold(packed, end - 1), end)
        } else {
            let fraction = lift(window, whole_digits + 1);
            let digits = (not_digits(fraction).trailing_zeros() / 8) as usize;
            let whole = fold(lifted, whole_digits).wrapping_mul(POW10[digits & 15]);
            if digits == 0 {
                return None;
            }
            (
                whole.wrapping_add(fold(fraction, digits)),
                whole_digits + 1 + digits,
            )
        };
        if end == whole_digits + 1 || matches!(window[end], b'e' | b'E') {
            return None;
        }
        if window[end].is_ascii_digit() {
            return Self::scan_bytewise(bytes, at, negative);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        let scale = (end - whole_digits - 1) as u8;
        Some((Self::pack(negative, low, 0, scale), at + end))
    }

    /// The same near the end of the text, or with more than 8 digits on a side.
    #[cold]
    fn scan_bytewise(bytes: &[u8], whole_at: usize, negative: bool) -> Option<(Self, usize)> {
        let (mut low, whole_end) = take_digits(bytes, whole_at, 0);
        let mut digits = whole_end - whole_at;
        if digits == 0 || (digits > 1 && bytes[whole_at] == b'0') {
            return None;
        }
        let mut end = whole_end;
        let mut scale = 0;
        if bytes.get(end) == Some(&b'.') {
            (low, end) = take_digits(bytes, whole_end + 1, low);
            scale = end - whole_end - 1;
            digits += scale;
            if scale == 0 {
                return None;
            }
        }
        // 19 digits always fit 64 bits.
        if digits > 19 || matches!(bytes.get(end), Some(b'e' | b'E')) {
            return None;
        }
        let scale = u8::try_from(scale).ok()?;
        Some((Self::pack(negative, low, 0, scale), end))
    }

    /// The long way, for any number: checks the grammar and carries 96 bits.
    #[cold]
    fn scan_wide(bytes: &[u8], start: usize) -> Result<(Self, usize), NumberError> {
        let negative = bytes.get(start) == Some(&b'-');
        let whole_at = start + usize::from(negative);
        let (_, whole_end) = take_digits(bytes, whole_at, 0);
        if whole_end == whole_at || (whole_end - whole_at > 1 && bytes[whole_at] == b'0') {
            return Err(NumberError::Malformed);
        }
        if bytes.get(whole_end) == Some(&b'.')
            && !bytes.get(whole_end + 1).is_some_and(u8::is_ascii_digit)
        {
            return Err(NumberError::Malformed);
        }
        let mut magnitude: u128 = 0;
        let mut fits = true;
        let mut scale: i64 = 0;
        let mut at = whole_at;
        let mut point = false;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'0'..=b'9' => {
                    if fits {
                        magnitude = magnitude * 10 + u128::from(byte - b'0');
                        fits = magnitude <= MAX_MAGNITUDE;
                        scale += i64::from(point);
                    }
                }
                b'.' if !point => point = true,
                _ => break,
            }
            at += 1;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            let minus = bytes.get(at) == Some(&b'-');
            if matches!(bytes.get(at), Some(b'-' | b'+')) {
                at += 1;
            }
            let digits_at = at;
            let mut exponent: i64 = 0;
            while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
                // Saturated far beyond anything that fits.
                exponent = (exponent * 10 + i64::from(byte - b'0')).min(1_000_000);
                at += 1;
            }
            if at == digits_at {
                return Err(NumberError::Malformed);
            }
            scale += if minus { exponent } else { -exponent };
        }
        if !fits {
            return Err(NumberError::TooWide);
        }
        if magnitude == 0 {
            scale = scale.clamp(0, i64::from(MAX_SCALE));
        }
        while scale < 0 {
            magnitude *= 10;
            if magnitude > MAX_MAGNITUDE {
                return Err(NumberError::TooWide);
            }
            scale += 1;
        }
        let scale = u8::try_from(scale).map_err(|_| NumberError::TooWide)?;
        Self::new(negative, magnitude, scale).map_or(Err(NumberError::TooWide), |it| Ok((it, at)))
    }

    /// The digits without point and sign.
    #[must_use]
    pub fn magnitude(self) -> u128 {
        (u128::from(self.high()) << 64) | u128::from(self.low)
    }

    /// How many of the digits stand behind the point.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its eight bits")]
    pub fn scale(self) -> u8 {
        (self.rest.get() >> 8) as u8
    }

    fn high(self) -> u64 {
        self.rest.get() >> 32
    }

    /// Whether a minus sign was sent (also of zero).
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.rest.get() & SIGN != 0
    }

    /// The nearest double, correctly rounded: what Python's `float(text)` gives.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Below 2^53 and 10^22 both operands are exact doubles, so one division rounds correctly.
        if self.high() == 0 && self.low <= 1 << 53 && self.scale() <= 22 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact up to 2^53, checked above"
            )]
            let value = self.low as f64 / EXACT_F64_POW10[usize::from(self.scale())];
            return if self.is_negative() { -value } else { value };
        }
        // The standard parser rounds correctly for any length; our own text always parses.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The value as a whole number, or None when it is negative, has a fraction or is too large.
    #[must_use]
    pub fn to_u64(self) -> Option<u64> {
        if self.is_negative() && self.magnitude() != 0 {
            return None;
        }
        if self.scale() == 0 && self.high() == 0 {
            return Some(self.low);
        }
        let unit = 10_u128.checked_pow(u32::from(self.scale()));
        match unit {
            Some(unit) if self.magnitude().is_multiple_of(unit) => {
                u64::try_from(self.magnitude() / unit).ok()
            }
            None if self.magnitude() == 0 => Some(0),
            _ => None,
        }
    }
}

impl fmt::Display for Decimal {
    /// Plain positional text: as many decimals as sent, no exponent.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale());
        let digits = format!("{:0>width$}", self.magnitude(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.is_negative() { "-" } else { "" };
        if fraction.is_empty() {
            write!(out, "{sign}{whole}")
        } else {
            write!(out, "{sign}{whole}.{fraction}")
        }
    }
}

/// The number of up to eight digits that `bytes` begin with, and how many they are.
#[inline]
pub(crate) fn leading_digits(bytes: [u8; 8]) -> (u64, usize) {
    let lifted = u64::from_le_bytes(bytes) ^ ZEROS;
    let count = (not_digits(lifted).trailing_zeros() / 8) as usize;
    (if count == 0 { 0 } else { fold(lifted, count) }, count)
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight bytes less `0`, the first one lowest; no digits behind the window.
#[expect(clippy::inline_always, reason = "measured, as above")]
#[inline(always)]
fn lift(window: &[u8; 24], at: usize) -> u64 {
    let eight = window.get(at..).and_then(<[u8]>::first_chunk::<8>);
    eight.map_or(u64::MAX, |eight| u64::from_le_bytes(*eight) ^ ZEROS)
}

/// The high bit of each byte that is not 0-9, given bytes less `0`. A byte above ASCII may spoil
/// those behind it, never those before it.
#[expect(clippy::inline_always, reason = "measured, as above")]
#[inline(always)]
fn not_digits(lifted: u64) -> u64 {
    (lifted.wrapping_add(0x7676_7676_7676_7676) | lifted) & 0x8080_8080_8080_8080
}

/// The number that the first `count` (1 to 8) digits make: moves them to the end, zeros before them,
/// and folds by pairs, fours, eight.
#[expect(clippy::inline_always, reason = "measured, as above")]
#[inline(always)]
fn fold(lifted: u64, count: usize) -> u64 {
    let digits = lifted << ((64 - 8 * count) & 63);
    let pairs = digits.wrapping_mul(2561) >> 8;
    let fours = (pairs & 0x00FF_00FF_00FF_00FF).wrapping_mul(6_553_601) >> 16;
    (fours & 0x0000_FFFF_0000_FFFF).wrapping_mul(42_949_672_960_001) >> 32
}

/// Folds the digits from `at` on into `value`; gives it and the end. Wraps silently beyond 19 digits
/// (the caller counts them).
fn take_digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    (value, at)
}

#[cfg(test)]
mod tests;
