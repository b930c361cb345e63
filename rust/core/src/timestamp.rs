//! Kraken's RFC 3339 times (`2026-09-25T17:48:26.844359566Z`) to integer unix nanoseconds, strictly.

/// Why a text is not a time we keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampError {
    /// Not `YYYY-MM-DDThh:mm:ss[.0-9 digits]Z`, or a field out of its range.
    Malformed,
    /// A real time outside of what 64 bits of nanoseconds hold (1677-2262).
    OutOfRange,
}

/// Parses a UTC time with 0 to 9 digits of fraction; gives unix nanoseconds.
///
/// A leap second (`23:59:60`) counts as the first second of the next day, as unix time has it.
pub fn parse_rfc3339_ns(text: &str) -> Result<i64, TimestampError> {
    let Some((minute, tail)) = text.as_bytes().split_first_chunk::<16>() else {
        return Err(TimestampError::Malformed);
    };
    let [b':', tens, ones, tail @ ..] = tail else {
        return Err(TimestampError::Malformed);
    };
    let (Some(minute_s), Some(second)) = (minute_s(minute), pair(*tens, *ones)) else {
        return Err(TimestampError::Malformed);
    };
    let leap_second = second == 60 && minute.ends_with(b"T23:59");
    if second > 59 && !leap_second {
        return Err(TimestampError::Malformed);
    }
    let nanoseconds = fraction_ns(tail)?;
    (minute_s + second)
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(nanoseconds))
        .ok_or(TimestampError::OutOfRange)
}

/// Unix seconds of `YYYY-MM-DDThh:mm`, or None when it is none.
pub(crate) fn minute_s(text: &[u8; 16]) -> Option<i64> {
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        mo0,
        mo1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        mi0,
        mi1,
    ] = *text
    else {
        return None;
    };
    let year = pair(y0, y1)? * 100 + pair(y2, y3)?;
    let (month, day) = (pair(mo0, mo1)?, pair(d0, d1)?);
    let (hour, minute) = (pair(h0, h1)?, pair(mi0, mi1)?);
    let real = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59;
    real.then(|| days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60)
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Reads `Z` or `.digitsZ`.
fn fraction_ns(tail: &[u8]) -> Result<i64, TimestampError> {
    // RFC 3339 writes UTC in three ways; Kraken's is `Z`.
    let rest = [b"Z".as_slice(), b"+00:00", b"-00:00"]
        .iter()
        .find_map(|zone| tail.strip_suffix(*zone))
        .ok_or(TimestampError::Malformed)?;
    let digits = match rest {
        [] => return Ok(0),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return Err(TimestampError::Malformed),
    };
    let mut value = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return Err(TimestampError::Malformed);
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    for _ in digits.len()..9 {
        value *= 10;
    }
    Ok(value)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March so that the leap
/// day is the last one. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("1970-01-01T00:00:00.5+00:00", 500_000_000),
            ("1970-01-01T00:00:01-00:00", 1_000_000_000),
            ("1969-12-31T23:59:59.5Z", -500_000_000),
            ("2026-09-25T17:48:26.844359566Z", 1_790_358_506_844_359_566),
            ("2026-09-25T17:48:26.844359Z", 1_790_358_506_844_359_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
            ("2000-02-29T23:59:59Z", 951_868_799_000_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
            ("2262-04-11T23:47:16.854775807Z", i64::MAX),
            ("1677-09-21T00:12:44Z", -9_223_372_036_000_000_000),
        ] {
            assert_eq!(parse_rfc3339_ns(text), Ok(ns), "{text}");
        }
        for text in [
            "2262-04-11T23:47:16.854775808Z",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(
                parse_rfc3339_ns(text),
                Err(TimestampError::OutOfRange),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2026-09-25",
            "2026-09-25T17:48:26",
            "2026-09-25 17:48:26Z",
            "2026-09-25t17:48:26z",
            "2026-09-25T17:48:26.Z",
            "2026-09-25T17:48:26.1234567890Z",
            "2026-09-25T17:48:26+01:00",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T23:59:61Z",
            "2026-01-01T00:00:00.1a3Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00ZZ",
            "２026-01-01T00:00:00Z",
            "2026-01-01T00:00:00,5Z",
        ] {
            assert_eq!(
                parse_rfc3339_ns(text),
                Err(TimestampError::Malformed),
                "{text:?}"
            );
        }
    }

    /// The plain way: count the days one year and one month at a time.
    fn plain_days(year: i64, month: i64, day: i64) -> i64 {
        let years: i64 = (1970..year).map(|it| 337 + days_in_month(it, 2)).sum();
        let months: i64 = (1..month).map(|it| days_in_month(year, it)).sum();
        years + months + day - 1
    }

    proptest! {
        #[test]
        fn equals_the_plain_count(
            year in 1970_i64..2262, month in 1_i64..=12, day in 1_i64..=28,
            second in 0_i64..86_400, fraction in "[0-9]{0,9}",
        ) {
            let (hour, minute) = (second / 3600, second / 60 % 60);
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}{point}{fraction}Z", second % 60
            );
            let ns: i64 = format!("{fraction:0<9}").parse().unwrap();
            let expected = (plain_days(year, month, day) * 86_400 + second) * 1_000_000_000 + ns;
            prop_assert_eq!(parse_rfc3339_ns(&text), Ok(expected));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse_rfc3339_ns(&text);
        }
    }
}
