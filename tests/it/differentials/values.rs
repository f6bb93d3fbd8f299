//! The cases whose arguments matter: keys, values, and how they are written.

use super::table::{
    Case,
    Want::{self, Refused, Sent},
    given,
};

/// At most 100 is allowed.
const AMOUNTS_REFUSED: &[&str] = &[
    "101",
    "1e2",
    "1E2",
    "1.0e2",
    "101.0",
    "100.00000000000000000001",
    "100.5",
    "1e3",
    "1e400",
    "-1e400",
    "99999999999999999999",
    "9223372036854775808",
    "9007199254740993",
    "18446744073709551616",
    "-18446744073709551515",
    "-9223372036854775809",
    "\"1\"",
    "\"1000\"",
    "true",
    "[1]",
    "{}",
    "007",
    "+5",
    "0x10",
    "1_000",
    "NaN",
    "Infinity",
    "-Infinity",
    ".5",
    "5.",
    "1e",
    "-",
    "--1",
    "1e+",
    "0b1",
    "1,000",
    "\u{661}",
    "1n",
    "1000e-1x",
];
const AMOUNTS_SENT: &[&str] =
    &["0", "-0", "-5", "100", "100.0", "7.000", "-9223372036854775808", " 7 ", "7\n"];
/// At most 0.5 fits.
const RATIOS_REFUSED: &[&str] = &[
    "0.50000000000000000001",
    "0.5000000000000001",
    "1e-400",
    "49999999999999999999e-20",
    "5000000000000000000001e-22",
    "0.49999999999999999999",
    "51e-2",
    "1e309",
    "0.5.0",
    "0,5",
];
const RATIOS_SENT: &[&str] = &[
    "0.5",
    "5e-1",
    "50e-2",
    "5E-0001",
    "0.05e1",
    "-0.0",
    "0e0",
    "0e999",
    "-1e-7",
    "-1e300",
    "0.30000000000000004",
    "0.1",
    "2.2250738585072014e-308",
    "0.500",
    "0",
];
/// Only what is below `/srv/data` is allowed.
const OUTSIDE: &[&str] = &[
    "/etc/passwd",
    "\\/etc\\/passwd",
    "\\u002fetc",
    "/srv/data",
    "/srv/data/../etc",
    "/srv/data/..",
    "/srv/data/\\u002e\\u002e/x",
    "/srv/data/a/../../x",
    "/srv/data/./../x",
    "/srv/data//../x",
    "/srv/data/%2e%2e/x",
    "/srv/data/%2E%2E%2Fx",
    "/srv/data/%252e%252e/x",
    "/srv/data/..%2fx",
    "/srv/data/%41",
    "/srv/data/..\\\\x",
    "\\\\srv\\\\data\\\\x",
    "/srv/data/\\u0000/../x",
    "/srv/data/a\\u0000",
    "/srv/data/a\\n",
    "/srv/data/\u{ff0e}\u{ff0e}/x",
    "/srv/data/\u{2025}/x",
    "/srv/data/..\u{ff0f}x",
    "/srv/data/..\u{2215}x",
    "/srv/data/..\u{2044}x",
    "/srv/data/.\u{200b}./x",
    "/srv/data/.\\u200c./x",
    "/srv/data/.\\u2060./x",
    "/srv/data/.\u{feff}./x",
    "/srv/data/\u{202e}../x",
    "/srv/data/.\u{ad}./x",
    "~/x",
    "~root/x",
    " /srv/data/x",
    "/srv/data/x ",
    "\u{a0}/srv/data/x",
    "file:///etc/passwd",
    "file://localhost/srv/data/x",
    "FILE:///srv/data/../x",
    "file:///srv/data/x?y",
    "file:srv/data/x",
    "srv/data/x",
    "./srv/data/x",
    "",
    ".",
    "/",
    "/SRV/DATA/x",
    "/srv/data-other/x",
    "/srv/dat\\u0430/x",
    "http://srv/data/x",
    "C:/srv/data/x",
];
const INSIDE: &[&str] = &[
    "/srv/data/a",
    "/srv/data/a/b.txt",
    "/srv/data/../data/a",
    "//srv//data//a",
    "/srv/./data/a",
    "/srv/data/a/../b",
    "/srv/data/...",
    "/srv/data/..a",
    "/srv/data/a..",
    "/srv/data/a b",
    "/srv/data/é",
    "/srv/data/e\\u0301",
    "\\/srv\\/data\\/a",
    "/srv/d\\u0061ta/a",
    "file:///srv/data/a",
    "/srv/data/a/",
    "/srv/data/~",
    "/srv/data/a:b",
];

/// Keys that somebody takes for a declared one, alone and beside it.
pub(super) fn keys() -> Vec<Case> {
    let spellings = [
        "Path",
        "PATH",
        "pATH",
        " path",
        "path ",
        "path\\t",
        "pa\\u0000th",
        "pa\\u200bth",
        "\\ufeffpath",
        "pa\\u00adth",
        "ｐａｔｈ",
        "ＰＡＴＨ",
        "\\u0050ath",
        "p\\u0430th",
        "path\\ufffd",
        "pa\\udb40\\udc41th",
        "path\\ufe0f",
    ];
    let mut all = Vec::new();
    for key in spellings {
        let odd = format!(r#""{key}":"/etc/passwd""#);
        let good = r#""path":"/srv/data/a""#;
        all.push(given(format!("{{{odd}}}"), Refused));
        all.push(given(format!("{{{good},{odd}}}"), Refused));
        all.push(given(format!("{{{odd},{good}}}"), Refused));
    }
    let others = [
        r#"{"Amount":1000}"#,
        r#"{"amount":1,"AMOUNT":1000}"#,
        r#"{"NOTE":"evil"}"#,
        r#"{"to":{"Account":"evil"}}"#,
        r#"{"to":{"account":"ann","ACCOUNT":"evil"}}"#,
        r#"{"To":{"account":"evil"}}"#,
        r#"{"lines":[{"account":"ann"},{"Account":"evil"}]}"#,
        r#"{"Lines":[{"account":"evil"}]}"#,
        r#"{"Ratio":0.9}"#,
        r#"{"nai\u0308ve":true}"#,
        "{\"nai\u{308}ve\":true}",
        r#"{"NA\u00cfVE":true}"#,
        r#"{"\u004eote":"evil"}"#,
    ];
    all.extend(others.map(|text| given(text, Refused)));
    let harmless = [
        "{}",
        r#"{"p\u0061th":"/srv/data/a"}"#,
        r#"{"\u0070\u0061\u0074\u0068":"/srv/data/a","am\u006Funt":7}"#,
        r#"{"other":1,"Other":2}"#,
        r#"{"pathology":"/etc/passwd"}"#,
        r#"{"to":{"Path":"/etc/passwd","account":"ann"}}"#,
        r#"{"extra":{"Amount":1000,"path":"/etc"}}"#,
        r#"{"na\u00efve":false}"#,
        r#"{"":"evil"}"#,
    ];
    all.extend(harmless.map(|text| given(text, Sent)));
    all
}

pub(super) fn duplicates() -> Vec<Case> {
    let many: String = (0..20).map(|n| format!(r#""k{n}":{n},"#)).collect();
    let twice = [
        r#"{"path":"/srv/data/a","path":"/etc/passwd"}"#.to_owned(),
        r#"{"path":"/etc/passwd","path":"/srv/data/a"}"#.to_owned(),
        r#"{"path":"/srv/data/a","p\u0061th":"/etc/passwd"}"#.to_owned(),
        r#"{"\u0070ath":"/etc/passwd","path":"/srv/data/a"}"#.to_owned(),
        r#"{"path":"/srv/data/a","path":"/srv/data/a"}"#.to_owned(),
        r#"{"note":"good","note":null}"#.to_owned(),
        r#"{"to":{"account":"ann","account":"evil"}}"#.to_owned(),
        r#"{"to":{"account":"ann"},"to":{"account":"evil"}}"#.to_owned(),
        r#"{"lines":[{"account":"ann","account":"evil"}]}"#.to_owned(),
        r#"{"lines":[],"x":[[[{"a":1,"\u0061":2}]]]}"#.to_owned(),
        r#"{"x":{"\ud800":1,"\udfff":2}}"#.to_owned(),
        r#"{"x":{"":1,"":2}}"#.to_owned(),
        r#"{"x":{"\/":1,"/":2}}"#.to_owned(),
        r#"{"x":{"\u00e9":1,"é":2}}"#.to_owned(),
        r#"{"x":{"\ud83d\ude00":1,"😀":2}}"#.to_owned(),
        format!(r#"{{{many}"k7":7}}"#),
        format!(r#"{{{many}"\u006b19":7}}"#),
        format!(r#"{{"amount":1,{many}"amount":1000}}"#),
    ];
    let mut all: Vec<_> = twice.into_iter().map(|text| given(text, Refused)).collect();
    let once = [
        r#"{"x":{"a":{"a":{"a":1}}},"y":[{"a":1},{"a":2}]}"#.to_owned(),
        r#"{"x":{"\u00e9":1,"e\u0301":2}}"#.to_owned(),
        r#"{"x":{"a\u0000":1,"a":2}}"#.to_owned(),
        format!(r#"{{{many}"amount":100}}"#),
    ];
    all.extend(once.map(|text| given(text, Sent)));
    all
}

/// The same string in other words, and strings that not everybody reads.
pub(super) fn strings() -> Vec<Case> {
    let evil = [
        "evil",
        "\\u0065vil",
        "ev\\u0069l",
        "\\u0065\\u0076\\u0069\\u006c",
        "\\u0065\\u0076\\u0069\\u006C",
        "\\uD800",
        "\\udfffx",
        "\\ud800\\ud800",
        "ev\\ud800il",
        "\\x65vil",
        "\\u65vil",
        "\\u{65}vil",
        "\\U00000065vil",
        "ev\\il",
        "ev\til",
        "ev\nil",
        "ev\0il",
        "evil\\",
    ];
    let good = [
        "evil ",
        "Evil",
        "\\\\u0065vil",
        "ev\\u0000il",
        "ev\\til",
        "ev\u{200b}il",
        "evil\u{2028}",
        "\\ud83d\\ude00",
        "\u{7f}",
        "\u{feff}evil",
        "\\/\\b\\f\\n\\r\\t\\\"",
        "еvil",
    ];
    let case = |text: &str, want| given(format!(r#"{{"note":"{text}"}}"#), want);
    let evil = evil.map(|text| case(text, Refused));
    evil.into_iter().chain(good.map(|text| case(text, Sent))).collect()
}

pub(super) fn numbers() -> Vec<Case> {
    let amounts =
        each("amount", AMOUNTS_REFUSED, Refused).chain(each("amount", AMOUNTS_SENT, Sent));
    let ratios = each("ratio", RATIOS_REFUSED, Refused).chain(each("ratio", RATIOS_SENT, Sent));
    amounts.chain(ratios).collect()
}

pub(super) fn paths() -> Vec<Case> {
    let path = |want| move |path: &&str| given(format!(r#"{{"path":"{path}"}}"#), want);
    OUTSIDE.iter().map(path(Refused)).chain(INSIDE.iter().map(path(Sent))).collect()
}

/// One argument with each of these values.
fn each(name: &str, values: &[&str], want: Want) -> impl Iterator<Item = Case> {
    values.iter().map(move |value| given(format!(r#"{{"{name}":{value}}}"#), want))
}
