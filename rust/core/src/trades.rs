//! Trades as Kraken hands them out: a page of the REST `Trades` endpoint, and lines of the
//! downloadable time-and-sales CSV. Numbers keep their digits; times become whole nanoseconds.

use crate::candles::Trade;
use crate::decimal::Decimal;

/// Deepest nesting accepted in a reply.
const MAX_DEPTH: usize = 16;

/// Where and why a text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte position in a reply, or 0-based byte position within a line.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// Reads the numbers of one `Trades` reply in order and gives its `last` (nanoseconds), if any.
///
/// Fields and keys other than those of the documentation are passed over. Source: Kraken REST "Get
/// Recent Trades": rows are price, volume, time, side, order type, miscellaneous, trade id.
pub fn read_reply(reply: &[u8], mut each: impl FnMut(&Trade)) -> Result<Option<u64>, Malformed> {
    let mut cursor = Cursor {
        bytes: reply,
        at: 0,
    };
    let mut last = None;
    let mut result = false;
    cursor.object(|cursor, key| {
        if key != b"result" {
            return cursor.skip(0);
        }
        result = true;
        cursor.object(|cursor, key| {
            if key == b"last" {
                last = Some(cursor.whole("last")?);
                return Ok(());
            }
            // The only other key is the pair, under whatever name the server prefers.
            cursor.array(|cursor| {
                let trade = cursor.row()?;
                each(&trade);
                Ok(())
            })
        })
    })?;
    if !result {
        return Err(Malformed {
            at: cursor.at,
            expected: "a result",
        });
    }
    Ok(last)
}

/// Reads one line of a time-and-sales CSV: unix seconds, price, volume.
///
/// Source: Kraken support "Downloadable historical market data (time and sales)".
pub fn read_csv_line(line: &[u8]) -> Result<Trade, Malformed> {
    let mut cursor = Cursor { bytes: line, at: 0 };
    let time_ns = cursor.time_ns()?;
    cursor.comma()?;
    let price = cursor.decimal("a price")?;
    cursor.comma()?;
    let volume = cursor.decimal("a volume")?;
    if cursor.at != line.len() {
        return Err(cursor.expected("the end of the line"));
    }
    Ok(Trade {
        time_ns,
        price,
        volume,
        id: None,
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn expected(&self, expected: &'static str) -> Malformed {
        Malformed {
            at: self.at,
            expected,
        }
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes the byte when it is next, white space before it aside.
    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        if self.bytes.get(self.at) != Some(&byte) {
            self.space();
        }
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn comma(&mut self) -> Result<(), Malformed> {
        if self.takes(b',') {
            Ok(())
        } else {
            Err(self.expected("a comma"))
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        if !self.takes(b'"') {
            return Err(self.expected("a string"));
        }
        let start = self.at;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return Ok(&self.bytes[start..self.at - 1]),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        Err(self.expected("the end of a string"))
    }

    fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.takes(b'{') {
            return Err(self.expected("an object"));
        }
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(self.expected("a colon"));
            }
            each(self, key)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.comma()?;
        }
    }

    fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.takes(b'[') {
            return Err(self.expected("an array"));
        }
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.comma()?;
        }
    }

    fn skip(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.expected("less nesting"));
        }
        self.space();
        match self.bytes.get(self.at) {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|cursor, _| cursor.skip(depth + 1)),
            Some(b'[') => self.array(|cursor| cursor.skip(depth + 1)),
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                while matches!(
                    self.bytes.get(self.at),
                    Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
                ) {
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(self.expected("a value")),
        }
    }

    /// A number, bare or in quotes.
    #[inline]
    fn decimal(&mut self, expected: &'static str) -> Result<Decimal, Malformed> {
        let quoted = self.takes(b'"');
        let Ok((number, end)) = Decimal::scan(self.bytes, self.at) else {
            return Err(self.expected(expected));
        };
        self.at = end;
        if quoted && !self.takes(b'"') {
            return Err(self.expected("the end of a string"));
        }
        Ok(number)
    }

    fn whole(&mut self, expected: &'static str) -> Result<u64, Malformed> {
        let at = self.at;
        self.decimal(expected)?
            .to_u64()
            .ok_or(Malformed { at, expected })
    }

    /// Unix seconds with any number of decimals, as nanoseconds; what is finer is cut off.
    #[inline]
    fn time_ns(&mut self) -> Result<i64, Malformed> {
        let at = self.at;
        let wrong = Malformed {
            at,
            expected: "a time in unix seconds",
        };
        let seconds = self.decimal("a time in unix seconds")?;
        if seconds.is_negative() {
            return Err(wrong);
        }
        let scale = u32::from(seconds.scale());
        let ns = if scale <= 9 {
            seconds
                .magnitude()
                .checked_mul(10_u128.pow(9 - scale))
                .ok_or(wrong)?
        } else {
            10_u128
                .checked_pow(scale - 9)
                .map_or(0, |unit| seconds.magnitude() / unit)
        };
        i64::try_from(ns).map_err(|_| wrong)
    }

    fn row(&mut self) -> Result<Trade, Malformed> {
        if !self.takes(b'[') {
            return Err(self.expected("a row"));
        }
        let price = self.decimal("a price")?;
        self.comma()?;
        let volume = self.decimal("a volume")?;
        self.comma()?;
        let time_ns = self.time_ns()?;
        for _ in 0..3 {
            self.comma()?;
            self.space();
            self.skip(0)?;
        }
        self.comma()?;
        let id = self.whole("a trade id")?;
        while self.takes(b',') {
            self.skip(0)?;
        }
        if !self.takes(b']') {
            return Err(self.expected("the end of a row"));
        }
        Ok(Trade {
            time_ns,
            price,
            volume,
            id: Some(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(reply: &str) -> Result<(Vec<(i64, String, String, u64)>, Option<u64>), Malformed> {
        let mut rows = Vec::new();
        let last = read_reply(reply.as_bytes(), |t| {
            rows.push((
                t.time_ns,
                t.price.to_string(),
                t.volume.to_string(),
                t.id.unwrap(),
            ));
        })?;
        Ok((rows, last))
    }

    const ROW: &str = r#"["83928.00000","0.00044682",1790359841.1382287,"b","m","",109118759]"#;

    #[test]
    fn a_reply_in_any_layout() {
        let wanted = (
            1_790_359_841_138_228_700,
            "83928.00000".to_owned(),
            "0.00044682".to_owned(),
            109_118_759,
        );
        for reply in [
            format!(
                r#"{{"error":[],"result":{{"BTC/USD":[{ROW}],"last":"1790359841138228746"}}}}"#
            ),
            format!(
                "{{ \"result\" : {{ \"last\" : 1790359841138228746 ,\n \"XXBTZUSD\" : [ {ROW} ]\n}}, \"error\":[\"W\"]}}"
            ),
        ] {
            let (rows, last) = read(&reply).unwrap();
            assert_eq!(rows, [wanted.clone()]);
            assert_eq!(last, Some(1_790_359_841_138_228_746));
        }
        assert_eq!(
            read(r#"{"error":[],"result":{"A":[],"last":"0"}}"#),
            Ok((vec![], Some(0)))
        );
    }

    #[test]
    fn rows_that_are_none_are_refused() {
        for row in [
            "[]",
            r#"["1","1",1.5,"b","m",""]"#,
            r#"["1","1",1.5,"b","m","","x"]"#,
            r#"["x","1",1.5,"b","m","",1]"#,
            r#"["1",1e99,1.5,"b","m","",1]"#,
            r#"["1","1",-1.5,"b","m","",1]"#,
            r#"["1","1",1e11,"b","m","",1]"#,
            r#"["1","1",1.5,"b","m","",-1]"#,
            r#"["1","1",1.5,"b","m","",1"#,
        ] {
            assert!(
                read(&format!(r#"{{"result":{{"A":[{row}],"last":"0"}}}}"#)).is_err(),
                "{row}"
            );
        }
        assert!(read("{}").is_err());
        assert!(read(r#"{"result":7}"#).is_err());
    }

    #[test]
    fn a_line_of_the_archive() {
        let trade = read_csv_line(b"1381095255.5,122.0,4E+2").unwrap();
        assert_eq!(trade.time_ns, 1_381_095_255_500_000_000);
        assert_eq!(
            (trade.price.to_f64(), trade.volume.to_f64()),
            (122.0, 400.0)
        );
        for line in ["", "1,2", "1,2,3,4", "a,2,3", "1,,3", "1,2,3 "] {
            assert!(read_csv_line(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(
            cut in 0_usize..120, noise in prop::collection::vec(any::<u8>(), 0..20), at in 0_usize..120
        ) {
            let good = format!(r#"{{"error":[],"result":{{"A":[{ROW},{ROW}],"last":"1"}}}}"#);
            let mut bytes = good.into_bytes();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let at = at.min(bytes.len());
            bytes.splice(at..at, noise);
            let _ = read_reply(&bytes, |_| {});
            let _ = read_csv_line(&bytes);
        }
    }
}
