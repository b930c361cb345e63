//! Trades as Kraken hands them out: a page of the REST `Trades` endpoint. Numbers keep their digits;
//! times become whole nanoseconds.

use crate::candle_builder::Trade;
use crate::decimal::Decimal;
use crate::json::{Scan, Scanner};
use crate::malformed::Malformed;

/// Reads the trades of one `Trades` reply in order and gives its `last` (nanoseconds), if any.
///
/// Fields and keys other than those of the documentation are passed over. Source: Kraken REST "Get
/// Recent Trades": rows are price, volume, time, side, order type, miscellaneous, trade id.
pub fn read_reply(reply: &[u8], mut each: impl FnMut(&Trade)) -> Result<Option<u64>, Malformed> {
    let text = std::str::from_utf8(reply).map_err(|_| Malformed::NotUtf8)?;
    let mut scan = Scanner::new(text);
    let mut last = None;
    let mut found = false;
    let mut first = true;
    if !scan.open(b'{') {
        return Err(Malformed::WrongType("reply"));
    }
    while scan.next_item(first, b'}')? {
        first = false;
        if scan.key()? == "result" {
            found = true;
            last = read_result(&mut scan, &mut each)?;
        } else {
            scan.skip_value()?;
        }
    }
    scan.end()?;
    if found {
        Ok(last)
    } else {
        Err(Malformed::Missing("result"))
    }
}

fn read_result(scan: &mut Scanner<'_>, each: &mut impl FnMut(&Trade)) -> Scan<Option<u64>> {
    let mut last = None;
    let mut first = true;
    if !scan.open(b'{') {
        return Err(Malformed::WrongType("result"));
    }
    while scan.next_item(first, b'}')? {
        first = false;
        if scan.key()? == "last" {
            let number = decimal(scan, "last")?;
            last = Some(number.to_u64().ok_or(Malformed::WrongType("last"))?);
            continue;
        }
        // The only other key is the pair, under whatever name the server prefers.
        if !scan.open(b'[') {
            return Err(Malformed::WrongType("trades"));
        }
        let mut first = true;
        while scan.next_item(first, b']')? {
            first = false;
            each(&read_row(scan)?);
        }
    }
    Ok(last)
}

fn read_row(scan: &mut Scanner<'_>) -> Scan<Trade> {
    if !scan.open(b'[') {
        return Err(Malformed::WrongType("trade"));
    }
    column(scan, true, "price")?;
    let price = decimal(scan, "price")?;
    column(scan, false, "volume")?;
    let volume = decimal(scan, "volume")?;
    column(scan, false, "time")?;
    let time_ns = time_ns(decimal(scan, "time")?).ok_or(Malformed::WrongType("time"))?;
    for field in ["side", "order type", "miscellaneous"] {
        column(scan, false, field)?;
        scan.skip_value()?;
    }
    column(scan, false, "trade id")?;
    let id = decimal(scan, "trade id")?
        .to_u64()
        .ok_or(Malformed::WrongType("trade id"))?;
    while scan.next_item(false, b']')? {
        scan.skip_value()?;
    }
    Ok(Trade {
        time_ns,
        price,
        volume,
        id: Some(id),
    })
}

#[inline]
fn column(scan: &mut Scanner<'_>, first: bool, field: &'static str) -> Scan<()> {
    if scan.next_item(first, b']')? {
        Ok(())
    } else {
        Err(Malformed::Missing(field))
    }
}

/// A number, bare or in quotes.
#[inline]
fn decimal(scan: &mut Scanner<'_>, field: &'static str) -> Scan<Decimal> {
    if scan.peek() == Some(b'"') {
        return Decimal::parse(&scan.string()?).map_err(|_| Malformed::WrongType(field));
    }
    scan.number(field)
}

/// Unix seconds with any number of decimals, as nanoseconds; what is finer is cut off. None before
/// 1970 and after 2262.
#[inline]
pub(crate) fn time_ns(seconds: Decimal) -> Option<i64> {
    if seconds.is_negative() {
        return None;
    }
    let scale = u32::from(seconds.scale());
    match u64::try_from(seconds.magnitude()) {
        Ok(magnitude) if scale <= 9 => 10_u64
            .pow(9 - scale)
            .checked_mul(magnitude)
            .and_then(|ns| i64::try_from(ns).ok()),
        _ if scale > 9 => match 10_u128.checked_pow(scale - 9) {
            Some(unit) => i64::try_from(seconds.magnitude() / unit).ok(),
            None => Some(0),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Row = (i64, String, String, u64);

    fn read(reply: &str) -> Result<(Vec<Row>, Option<u64>), Malformed> {
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
            assert_eq!(rows, std::slice::from_ref(&wanted));
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
        }
    }
}
