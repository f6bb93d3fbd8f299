//! The scan accepts what serde_json accepts, but for our stricter rules, and nothing else.
//!
//! The judge shares no code with the scan. Texts are arbitrary, then damaged in a few bytes, so
//! that both sides of every rule are tried.

use bytes::Bytes;
use proptest::prelude::*;

use super::{generate, oracle};
use crate::{
    domain::limits::JSON_DEPTH_MAX,
    wire::{Object, WireError, json::elements},
};

/// Scans `text`, whatever its root, as the only element of an array.
fn scan(text: &[u8]) -> Result<Vec<Bytes>, WireError> {
    elements([b"[", text, b"]"].concat().into(), 2)
}

/// Both judges on one text. It must hold no lone surrogate, on which the judge gives up.
#[track_caller]
fn agree(text: &[u8]) {
    let wrapped = [b"[", text, b"]"].concat();
    let want = oracle::is_json(&wrapped)
        && oracle::depth(&wrapped) <= JSON_DEPTH_MAX
        && oracle::is_distinct(&wrapped);
    let got = scan(text);
    assert_eq!(got.is_ok(), want, "{got:?} for {}", String::from_utf8_lossy(text));
}

const DAMAGE: &[u8] = b"{}[]\",:\\u0019eE+-.tfn \n\t\r\x00\x1f\x7f\x80\xc3\xe2/abd";

proptest! {
    #[test]
    fn every_json_text_is_accepted(value in generate::value()) {
        prop_assert!(scan(value.as_bytes()).is_ok(), "{value}");
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        value in generate::value(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..DAMAGE.len(), 0..3), 1..4),
    ) {
        let mut text = value.into_bytes();
        for (at, with, how) in damage {
            let at = at.index(text.len() + 1);
            match how {
                0 => text.insert(at, DAMAGE[with]),
                1 if at < text.len() => text[at] = DAMAGE[with],
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let lower = text.to_ascii_lowercase();
        prop_assume!(memchr::memmem::find(&lower, b"\\ud").is_none());
        agree(&text);
    }

    #[test]
    fn a_key_that_stands_twice_is_found_wherever_it_stands(
        members in prop::collection::vec(generate::value(), 1..40),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        spelled in prop::sample::select(vec!["twin", "\\u0074win", "tw\\u0069n", "t\\u0077i\\u006e"]),
    ) {
        let mut written: Vec<String> =
            members.iter().enumerate().map(|(nth, value)| format!("\"m{nth}\":{value}")).collect();
        written.insert(first.index(written.len() + 1), "\"twin\":1".to_owned());
        let distinct = format!("{{{}}}", written.join(","));
        prop_assert!(scan(distinct.as_bytes()).is_ok());
        written.insert(second.index(written.len() + 1), format!("\"{spelled}\":1"));
        let nested = format!("[{{\"deep\":{{{}}}}}]", written.join(","));
        let refused = matches!(scan(nested.as_bytes()), Err(WireError::DuplicateKey { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn what_is_looked_up_is_what_was_written(object in generate::object()) {
        let scanned = Object::parse(Bytes::from(object.clone())).unwrap();
        // The judge cannot read keys from raw text with newlines taken out, so we take them out
        // too.
        let line: String = object.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        let want = oracle::members(line.as_bytes());
        let got: Vec<_> = scanned
            .members()
            .map(|(key, value)| (key.into_owned(), String::from_utf8(value.to_vec()).unwrap()))
            .collect();
        prop_assert_eq!(&got, &want);
        for (key, value) in &want {
            prop_assert_eq!(scanned.get(key).unwrap(), value.as_bytes());
        }
        prop_assert!(!scanned.raw().iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    }
}

#[test]
fn the_depth_limit_is_exact() {
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(elements(nest(JSON_DEPTH_MAX).into(), 1).is_ok());
    let deeper = elements(nest(JSON_DEPTH_MAX + 1).into(), 1);
    assert!(matches!(deeper, Err(WireError::TooDeep { .. })), "{deeper:?}");
}

#[test]
fn the_grammar_is_rfc_8259_and_no_more() {
    for text in ["01", "+1", "1.", ".5", "1e", "1e+", "-", "0x1", "NaN", "Infinity", "1_0", "--1"] {
        assert!(scan(text.as_bytes()).is_err(), "{text}");
        agree(text.as_bytes());
    }
    for text in [
        "'a'",
        "\"\t\"",
        "\"\x00\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a",
        "tru",
        "nulls",
        "{1:2}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "{,}",
        "/*c*/1",
        "1//c",
        "\u{feff}1",
        "\u{a0}1",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "",
    ] {
        assert!(scan(text.as_bytes()).is_err() || text.is_empty(), "{text}");
        agree(text.as_bytes());
    }
    for text in ["-0", "0.0e-0", "1E+2", "\"\\ud800\"", "\"\u{7f}\u{2028}\"", "{}", "[]", " [ ] "] {
        assert!(scan(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn a_string_may_end_or_break_anywhere_in_a_word_or_window() {
    for len in (0..200).chain(4090..4110).chain([8191, 8192, 10_000]) {
        let plain = "é".repeat(len / 2) + &"x".repeat(len % 2);
        agree(format!("\"{plain}\"").as_bytes());
        agree(format!("\"{plain}\\n\"").as_bytes());
        agree(format!("\"{plain}\u{1}{plain}\"").as_bytes());
        agree(format!("\"{plain}").as_bytes());
        agree(format!("\"{plain}\n\"").as_bytes());
    }
}

#[test]
fn every_byte_in_a_string_is_judged_like_serde_json() {
    for byte in 0..=u8::MAX {
        for lead in [0, 3, 7, 8, 70, 4100] {
            let text = [b"\"".as_slice(), &b"a".repeat(lead), &[byte], b"bcdefghi\""].concat();
            agree(&text);
        }
    }
}

#[test]
fn many_keys_are_compared_in_bearable_time() {
    // In pairs these would be 10^10 comparisons.
    let prefix = "k".repeat(40);
    let keys: Vec<_> = (0..100_000).map(|nth| format!("\"{prefix}{nth}\":0")).collect();
    assert!(scan(format!("{{{}}}", keys.join(",")).as_bytes()).is_ok());
    let twice = format!("{{{},\"{prefix}500\":0}}", keys.join(","));
    assert!(matches!(scan(twice.as_bytes()), Err(WireError::DuplicateKey { .. })));
}
