//! Why a message was refused. Fixed texts and field names only: nothing of the message is quoted.

use std::fmt;

/// Why a message, a row of it or a field was refused. Nothing of what is refused reaches the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON, or something behind its end.
    NotJson,
    /// Not valid UTF-8.
    NotUtf8,
    /// Valid JSON, but no object at the top, or a field of the wrong type: which one.
    WrongType(&'static str),
    /// A field that the message cannot do without.
    Missing(&'static str),
    /// A number with more digits than are kept: of which field.
    NumberTooWide(&'static str),
    /// A time that is none, or out of range.
    BadTimestamp,
    /// Nested deeper than [`crate::json::MAX_DEPTH`].
    TooDeep,
    /// More elements than a message may have.
    TooManyElements,
    /// Longer than a message may be.
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => out.write_str("not JSON"),
            Self::NotUtf8 => out.write_str("not UTF-8"),
            Self::WrongType(field) => write!(out, "wrong type: {field}"),
            Self::Missing(field) => write!(out, "missing: {field}"),
            Self::NumberTooWide(field) => write!(out, "number too wide: {field}"),
            Self::BadTimestamp => out.write_str("not a time"),
            Self::TooDeep => out.write_str("nested too deep"),
            Self::TooManyElements => out.write_str("too many elements"),
            Self::TooLong => out.write_str("message too long"),
        }
    }
}

impl std::error::Error for Malformed {}
