use super::*;
use proptest::prelude::*;

#[test]
fn keeps_the_digits_of_the_wire() {
    for (text, shown) in [
        ("0", "0"),
        ("64.0", "64.0"),
        ("0.00044780", "0.00044780"),
        ("3156.84782110", "3156.84782110"),
        ("-429.3", "-429.3"),
        ("-0.0", "-0.0"),
        ("1e-08", "0.00000001"),
        ("4E+2", "400"),
        ("3.811e-05", "0.00003811"),
        ("1.5e1", "15"),
        ("0e999999999999", "0"),
        ("1200000000000.12345678", "1200000000000.12345678"),
        ("12345678", "12345678"),
        ("123456789.12345678", "123456789.12345678"),
        (
            "79228162514264337593543950335",
            "79228162514264337593543950335",
        ),
    ] {
        let number = Decimal::parse(text).unwrap();
        assert_eq!(number.to_string(), shown);
        assert_eq!(
            number.to_f64().to_bits(),
            text.parse::<f64>().unwrap().to_bits(),
            "{text}"
        );
    }
}

#[test]
fn refuses_what_json_refuses() {
    for text in [
        "", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "NaN", "Infinity", "0x10",
        "1 ", " 1", "1,2", "1_000", "--1", "1..2", "1e5.5",
    ] {
        assert_eq!(
            Decimal::parse(text),
            Err(NumberError::Malformed),
            "{text:?}"
        );
    }
}

#[test]
fn refuses_what_does_not_fit_instead_of_wrapping() {
    let long = format!("0.{}1", "0".repeat(64));
    for text in [
        "79228162514264337593543950336",
        "1e29",
        "1e999999999999999999",
        "1e-65",
        &long,
    ] {
        assert_eq!(Decimal::parse(text), Err(NumberError::TooWide), "{text}");
    }
}

#[test]
fn whole_numbers() {
    for (text, whole) in [
        ("33", Some(33)),
        ("33.0", Some(33)),
        ("33.5", None),
        ("-1", None),
        ("-0", Some(0)),
    ] {
        assert_eq!(Decimal::parse(text).unwrap().to_u64(), whole);
    }
    assert_eq!(
        Decimal::parse("18446744073709551615").unwrap().to_u64(),
        Some(u64::MAX)
    );
    assert_eq!(
        Decimal::parse("18446744073709551616").unwrap().to_u64(),
        None
    );
}

proptest! {
    #[test]
    fn any_number_keeps_value_and_rounds_like_the_standard_parser(
        negative: bool, whole in 0_u64..=u64::MAX, fraction in "[0-9]{0,9}", tail in "[,} ]{0,9}"
    ) {
        let sign = if negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{sign}{whole}{point}{fraction}");
        let framed = format!("{text}{tail}");
        let (number, end) = Decimal::scan(framed.as_bytes(), 0).unwrap();
        prop_assert_eq!(end, text.len());
        prop_assert_eq!(number.to_string(), text.clone());
        prop_assert_eq!(number.to_f64().to_bits(), text.parse::<f64>().unwrap().to_bits());
    }

    #[test]
    fn any_text_ends_in_a_value_or_a_typed_refusal(text in "[-+0-9.eE]{0,40}") {
        match Decimal::parse(&text) {
            Ok(number) => {
                prop_assert_eq!(number.to_f64().abs().to_bits(), text.parse::<f64>().unwrap().abs().to_bits());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
            Err(NumberError::Malformed) => {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
            }
            Err(NumberError::TooWide) => {}
        }
    }
}
