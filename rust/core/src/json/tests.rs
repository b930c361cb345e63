use super::*;
use proptest::prelude::*;

fn skips(text: &str) -> Scan<&str> {
    let mut scanner = Scanner::new(text);
    let value = scanner.skip_value()?;
    scanner.end()?;
    Ok(value)
}

#[test]
fn takes_valid_json() {
    for text in [
        "0",
        " [ ] ",
        "{}",
        "[1,[2,{\"a\":[]}],null,true,false]",
        "{\"a\":{\"b\":\"\\u00e9\\ud83d\\ude00\"}}",
        "123456789012345678901234567890123456789012345678901234567890",
        "[1e999,0.0e-1,1E+99]",
        "\"\"",
    ] {
        assert_eq!(skips(text), Ok(text.trim()), "{text}");
    }
}

#[test]
fn refuses_everything_else() {
    for text in [
        "",
        " ",
        "[",
        "]",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{1:2}",
        "[1 2]",
        "01",
        "1.",
        "nul",
        "tru",
        "'a'",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "NaN",
        "[1],",
        "{\"a\":1}}",
        "\"abc",
        "{\"a\" 1}",
        "[}",
        "{]",
        "-",
        "[,1]",
        "{,}",
        "1e",
        "123456789012345678901234567890e",
        "123456789012345678901234567890.",
    ] {
        assert_eq!(skips(text), Err(Malformed::NotJson), "{text:?}");
    }
}

#[test]
fn depth_is_limited() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(skips(&deep(32)).is_ok());
    assert_eq!(skips(&deep(33)), Err(Malformed::TooDeep));
    assert_eq!(skips(&"[".repeat(1_000_000)), Err(Malformed::TooDeep));
}

#[test]
fn escapes_are_undone() {
    let mut scanner = Scanner::new(r#""a\/b\n\u00e9\ud83d\ude00\"""#);
    assert_eq!(scanner.string().unwrap(), "a/b\né😀\"");
}

proptest! {
    #[test]
    fn agrees_with_serde_json(text in "[-0-9.eE{}\\[\\],: \"a\\\\u]{0,24}") {
        let known = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(skips(&text).is_ok(), known, "{}", text);
    }
}
