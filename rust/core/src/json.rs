//! A strict, copy-free JSON scanner: the grammar of RFC 8259 and limits, no tree, no allocation
//! except for strings that hold escapes.

use std::borrow::Cow;

use crate::decimal::{Decimal, NumberError};
use crate::malformed::Malformed;
use crate::timestamp::{TimestampError, parse_rfc3339_ns};

/// How deep values may nest. Kraken's own frames reach 5.
pub const MAX_DEPTH: u32 = 32;

/// Shorthand of the scanner.
pub(crate) type Scan<T> = Result<T, Malformed>;

/// A cursor over one JSON text.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// A cursor in the middle of a text.
    pub(crate) fn at(text: &'a str, at: usize) -> Self {
        Self {
            at,
            ..Self::new(text)
        }
    }

    /// Where the cursor is.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Takes `literal` when it comes next, byte for byte.
    #[inline]
    pub(crate) fn take(&mut self, literal: &[u8]) -> bool {
        let found = self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(literal));
        if found {
            self.at += literal.len();
        }
        found
    }

    /// Skips white space; gives the next byte without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(Malformed::NotJson)
        }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Scan<()> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(Malformed::NotJson)
        }
    }

    /// Enters an object or array when the next value is one; false leaves the cursor alone.
    pub(crate) fn open(&mut self, bracket: u8) -> bool {
        let found = self.peek() == Some(bracket);
        self.at += usize::from(found);
        found
    }

    /// Moves to the next item of an object or array. `first` is true before the first item.
    /// False: the closing bracket was taken.
    #[inline]
    pub(crate) fn next_item(&mut self, first: bool, close: u8) -> Scan<bool> {
        let byte = self.peek();
        if byte == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        if byte == Some(b',') {
            self.at += 1;
            // A comma promises another item.
            return if self.peek() == Some(close) {
                Err(Malformed::NotJson)
            } else {
                Ok(true)
            };
        }
        Err(Malformed::NotJson)
    }

    /// Reads a key and its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Scan<Cow<'a, str>> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Reads a string; borrowed unless it holds escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Scan<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let inner = self.text.get(start..self.at).ok_or(Malformed::NotJson)?;
                    self.at += 1;
                    return Ok(Cow::Borrowed(inner));
                }
                Some(b'\\') => return self.string_with_escapes(start).map(Cow::Owned),
                Some(0x20..) => self.at += 1,
                _ => return Err(Malformed::NotJson),
            }
        }
    }

    #[cold]
    fn string_with_escapes(&mut self, start: usize) -> Scan<String> {
        let mut out = String::new();
        let mut copied = start;
        loop {
            let byte = *self.bytes.get(self.at).ok_or(Malformed::NotJson)?;
            match byte {
                b'"' | b'\\' => {
                    out.push_str(self.text.get(copied..self.at).ok_or(Malformed::NotJson)?);
                    self.at += 1;
                    if byte == b'"' {
                        return Ok(out);
                    }
                    out.push(self.escape()?);
                    copied = self.at;
                }
                0x20.. => self.at += 1,
                _ => return Err(Malformed::NotJson),
            }
        }
    }

    fn escape(&mut self) -> Scan<char> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed::NotJson)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4()?;
                let code = if (0xD800..0xDC00).contains(&unit) {
                    if !self.take(b"\\u") {
                        return Err(Malformed::NotJson);
                    }
                    let low = self.hex4()?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return Err(Malformed::NotJson);
                    }
                    0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
                } else {
                    unit
                };
                // A lone surrogate is no character: refused, as most decoders do.
                char::from_u32(code).ok_or(Malformed::NotJson)?
            }
            _ => return Err(Malformed::NotJson),
        })
    }

    fn hex4(&mut self) -> Scan<u32> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .ok_or(Malformed::NotJson)?;
        let mut value = 0;
        for &digit in digits {
            let nibble = char::from(digit).to_digit(16).ok_or(Malformed::NotJson)?;
            value = value * 16 + nibble;
        }
        self.at += 4;
        Ok(value)
    }

    /// Reads a number; `field` names it in a refusal.
    #[inline]
    pub(crate) fn number(&mut self, field: &'static str) -> Scan<Decimal> {
        match self.peek() {
            Some(b'0'..=b'9' | b'-') => {}
            Some(_) => return Err(self.wrong_type(field)),
            None => return Err(Malformed::NotJson),
        }
        match Decimal::scan(self.bytes, self.at) {
            Ok((number, end)) => {
                self.at = end;
                Ok(number)
            }
            Err(NumberError::TooWide) => Err(Malformed::NumberTooWide(field)),
            Err(NumberError::Malformed) => Err(Malformed::NotJson),
        }
    }

    /// Takes `null` when it comes next.
    #[inline]
    pub(crate) fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.take(b"null")
    }

    /// Reads a number or null.
    #[inline]
    pub(crate) fn number_or_null(&mut self, field: &'static str) -> Scan<Option<Decimal>> {
        if self.null() {
            Ok(None)
        } else {
            self.number(field).map(Some)
        }
    }

    /// Reads a whole number (`33` and `33.0` alike) or null; None when negative or too large.
    pub(crate) fn count_or_null(&mut self, field: &'static str) -> Scan<Option<u64>> {
        match self.number_or_null(field)? {
            None => Ok(None),
            Some(number) => number.to_u64().map(Some).ok_or(Malformed::WrongType(field)),
        }
    }

    /// Reads a string or null.
    pub(crate) fn string_or_null(&mut self, field: &'static str) -> Scan<Option<Cow<'a, str>>> {
        if self.null() {
            return Ok(None);
        }
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        Err(self.wrong_type(field))
    }

    /// Reads an RFC 3339 time or null; gives unix nanoseconds.
    pub(crate) fn time_or_null(&mut self, field: &'static str) -> Scan<Option<i64>> {
        let Some(text) = self.string_or_null(field)? else {
            return Ok(None);
        };
        parse_rfc3339_ns(&text)
            .map(Some)
            .map_err(|error| match error {
                TimestampError::Malformed | TimestampError::OutOfRange => Malformed::BadTimestamp,
            })
    }

    /// Reads a boolean or null.
    pub(crate) fn bool_or_null(&mut self, field: &'static str) -> Scan<Option<bool>> {
        match self.peek() {
            Some(b't') if self.take(b"true") => Ok(Some(true)),
            Some(b'f') if self.take(b"false") => Ok(Some(false)),
            Some(b'n') if self.take(b"null") => Ok(None),
            _ => Err(self.wrong_type(field)),
        }
    }

    /// Names the fault when a value has another type than expected: bad JSON stays bad JSON.
    #[cold]
    pub(crate) fn wrong_type(&mut self, field: &'static str) -> Malformed {
        match self.skip_value() {
            Ok(_) => Malformed::WrongType(field),
            Err(error) => error,
        }
    }

    /// Lets `read` take one value. What is good JSON but no such value is passed over: the reason
    /// comes inside.
    #[inline]
    pub(crate) fn tolerant<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Scan<T>,
    ) -> Scan<Result<T, Malformed>> {
        let before = self.at;
        match read(self) {
            Ok(value) => Ok(Ok(value)),
            Err(
                reason @ (Malformed::WrongType(_)
                | Malformed::NumberTooWide(_)
                | Malformed::BadTimestamp),
            ) => {
                self.at = before;
                self.skip_value()?;
                Ok(Err(reason))
            }
            Err(reason) => Err(reason),
        }
    }

    /// Lets `read` take one value; gives its text.
    #[inline]
    pub(crate) fn capture(&mut self, read: impl FnOnce(&mut Self) -> Scan<()>) -> Scan<&'a str> {
        self.peek();
        let start = self.at;
        read(self)?;
        self.text.get(start..self.at).ok_or(Malformed::NotJson)
    }

    /// Checks and passes one value of any type; gives its text.
    pub(crate) fn skip_value(&mut self) -> Scan<&'a str> {
        self.peek();
        let start = self.at;
        // One bit a level: 1 in an object, 0 in an array.
        let mut levels: u64 = 0;
        let mut depth = 0;
        loop {
            match self.peek().ok_or(Malformed::NotJson)? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Malformed::TooDeep);
                    }
                    let object = bracket == b'{';
                    levels = levels << 1 | u64::from(object);
                    if self.next_item(true, if object { b'}' } else { b']' })? {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                    depth -= 1;
                    levels >>= 1;
                }
                _ => self.skip_scalar()?,
            }
            // A value ended: close what ends here, or go to the next item.
            loop {
                if depth == 0 {
                    return self.text.get(start..self.at).ok_or(Malformed::NotJson);
                }
                let object = levels & 1 == 1;
                if self.next_item(false, if object { b'}' } else { b']' })? {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                depth -= 1;
                levels >>= 1;
            }
        }
    }

    fn skip_scalar(&mut self) -> Scan<()> {
        match self.bytes.get(self.at) {
            Some(b'"') => self.skip_string(),
            Some(b't') if self.take(b"true") => Ok(()),
            Some(b'f') if self.take(b"false") => Ok(()),
            Some(b'n') if self.take(b"null") => Ok(()),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => Err(Malformed::NotJson),
        }
    }

    fn skip_string(&mut self) -> Scan<()> {
        self.string().map(drop)
    }

    /// Passes a number of any width: an unknown field may hold what we do not keep.
    fn skip_number(&mut self) -> Scan<()> {
        match Decimal::scan(self.bytes, self.at) {
            Ok((_, end)) => self.at = end,
            Err(NumberError::Malformed) => return Err(Malformed::NotJson),
            // Its grammar was checked; find its end.
            Err(NumberError::TooWide) => {
                self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
                self.pass_digits();
                if self.bytes.get(self.at) == Some(&b'.') {
                    self.at += 1;
                    self.pass_digits();
                }
                if let Some(b'e' | b'E') = self.bytes.get(self.at) {
                    self.at += 1;
                    let signed = matches!(self.bytes.get(self.at), Some(b'+' | b'-'));
                    self.at += usize::from(signed);
                    self.pass_digits();
                }
            }
        }
        Ok(())
    }

    fn pass_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
