//! Arbitrary JSON as text: odd but legal spellings that a parse and re-print would not survive.

use proptest::{collection::vec, prelude::*};

pub(super) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,3})",
        "-?(0|[1-9][0-9]{0,28})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,4})?",
        Just("-0".to_owned()),
        Just("1E400".to_owned()),
        Just("5.0".to_owned()),
        Just("12345678901234567890123".to_owned()),
    ]
}

/// A string with its quotes, perhaps with a lone surrogate: legal in the grammar, but not a text.
pub(super) fn string() -> impl Strategy<Value = String> {
    string_with("\\ud800")
}

/// A string with its quotes that means something.
pub(super) fn text() -> impl Strategy<Value = String> {
    string_with("\\u0020")
}

fn string_with(escape: &'static str) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9 _./:{}\\[\\],'-]{1,12}",
        2 => "\\PC{1,4}".prop_map(|text| text.replace(['"', '\\'], "?")),
        1 => "[a-z]{60,140}",
        4 => prop::sample::select(vec![
            "\\n", "\\\"", "\\\\", "\\/", "\\b", "\\u00e9", "\\u00E9", "\\u0000", "\\ud83d\\ude00",
            "é", "😀", "\u{7f}", "\u{2028}", escape,
        ])
        .prop_map(str::to_owned),
    ];
    vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

pub(super) fn blank() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \\t\\r\\n]{1,3}"]
}

/// A key's text between its quotes, unlike every other `nth`, sometimes written with escapes.
pub(super) fn key(nth: usize, seed: u8) -> String {
    match seed % 6 {
        0 => format!("k{nth}"),
        1 => format!("\\u006b{nth}"),
        2 => format!("ключ {nth}"),
        3 => format!("{nth}\\/{nth}"),
        4 => format!("\\\"{nth}\\\""),
        _ => format!("aVeryLongKeyThatIsLongerThanAnyWordOfTheMachine_{nth}"),
    }
}

/// Any value, up to some depth, with blanks and newlines between the tokens.
pub(super) fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number(),
        string(),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let array = vec((blank(), inner.clone(), blank()), 0..8).prop_map(|items| {
            let items: Vec<_> = items.into_iter().map(|(a, v, b)| a + &v + &b).collect();
            format!("[{}]", items.join(","))
        });
        prop_oneof![array, object_of(inner)]
    })
}

pub(super) fn object() -> impl Strategy<Value = String> {
    object_of(value())
}

fn object_of(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    members(inner).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// Members `"key": value` with distinct keys; now and then more than are compared in pairs.
pub(super) fn members(inner: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    vec((blank(), any::<u8>(), blank(), inner, blank()), 0..14).prop_map(|items| {
        let written =
            |(nth, (a, seed, b, value, c)): (usize, (String, u8, String, String, String))| {
                format!("{a}\"{}\"{b}:{c}{value}", key(nth, seed))
            };
        items.into_iter().enumerate().map(written).collect()
    })
}
