//! How others may read what arrives: the first of two equal keys or the last, keys without regard
//! to case, width, composition or what cannot be seen, numbers as doubles or digit by digit, paths
//! as shells, browsers and other file systems take them. Knows nothing of the gateway's own code.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object as they are written, also those that stand there twice.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    all.push((key, value.get().to_owned()));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Every member of `object` that somebody may take for `name`, with its key.
pub(super) fn readings(object: &str, name: &str) -> Vec<(String, String)> {
    let Ok(Members(all)) = serde_json::from_str(object) else { return Vec::new() };
    all.into_iter().filter(|(key, _)| fold(key) == fold(name)).collect()
}

fn fold(key: &str) -> String {
    let plain = key.chars().map(|c| match u32::from(c) {
        0xff01..=0xff5e => char::from_u32(u32::from(c) - 0xfee0).unwrap(),
        // Without its two dots.
        0xef => 'i',
        // Dotless; Cyrillic.
        0x131 => 'i',
        0x430 => 'a',
        0x440 => 'p',
        _ => c,
    });
    let upper: String = plain.collect::<String>().to_uppercase();
    upper.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// What somebody reads in these arguments that no policy and no schema would let through.
pub(super) fn forbidden(arguments: &str) -> Option<String> {
    let values = |object: &str, name: &str| -> Vec<String> {
        readings(object, name).into_iter().map(|(_, value)| value).collect()
    };
    let is_text = |value: &String, text: &str| {
        serde_json::from_str::<String>(value).is_ok_and(|read| read == text)
    };
    let found = |what: &str, values: &[String], is_bad: &dyn Fn(&String) -> bool| {
        values.iter().find(|value| is_bad(value)).map(|value| format!("{what} {value}"))
    };
    let of = |name: &str| values(arguments, name);
    let lines: Vec<Box<RawValue>> =
        of("lines").iter().flat_map(|list| serde_json::from_str::<Vec<_>>(list).unwrap()).collect();
    let accounts = |name: &str| -> Vec<String> {
        of(name).iter().flat_map(|value| values(value, "account")).collect()
    };
    let in_lines: Vec<String> =
        lines.iter().flat_map(|line| values(line.get(), "account")).collect();
    found("a path", &of("path"), &|value| {
        serde_json::from_str::<String>(value).is_ok_and(|path| leads_out(&path))
    })
    .or_else(|| found("an amount", &of("amount"), &|value| exceeds(value, (1, 3))))
    .or_else(|| found("a ratio", &of("ratio"), &|value| exceeds(value, (5, 0))))
    .or_else(|| found("a note", &of("note"), &|value| is_text(value, "evil")))
    .or_else(|| found("a receiver", &accounts("to"), &|value| is_text(value, "evil")))
    .or_else(|| found("a line of", &in_lines, &|value| is_text(value, "evil")))
    .or_else(|| found("na\u{ef}ve", &of("na\u{ef}ve"), &|value| value == "true"))
}

/// Whether a number is more than `digit` at that power of ten, exactly or as a double: 0.5 is
/// `(5, 0)`, its digits behind the point, 100 is `(1, 3)`.
fn exceeds(text: &str, (digit, power): (u8, i64)) -> bool {
    let bound = f64::from(digit) * 10_f64.powi(i32::try_from(power).unwrap() - 1);
    let Ok(double) = text.parse::<f64>() else { return false };
    if double > bound {
        return true;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if mantissa.starts_with('-') {
        return false;
    }
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    let shift = exponent.parse::<i64>().unwrap();
    let at = i64::try_from(whole.len()).unwrap() - i64::try_from(zeros).unwrap() + shift;
    let bound = char::from(b'0' + digit).to_string();
    !significant.is_empty() && (at, significant) > (power, bound.as_str())
}

/// Whether anybody may take it for a path that is not below `/srv/data/`.
fn leads_out(path: &str) -> bool {
    let mut seen = BTreeSet::from([path.to_owned()]);
    let mut fresh = vec![path.to_owned()];
    while let Some(text) = fresh.pop() {
        for other in others(&text) {
            if seen.len() < 1000 && seen.insert(other.clone()) {
                fresh.push(other);
            }
        }
    }
    seen.iter().any(|text| !resolved(text).starts_with("/srv/data/"))
}

/// What one step of somebody's leniency makes of it.
fn others(text: &str) -> Vec<String> {
    let narrow = |c: char| match c {
        '\u{ff0e}' | '\u{2024}' => '.',
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\\' => '/',
        _ => c,
    };
    let unseen = |c: &char| matches!(u32::from(*c), 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff);
    let mut all = vec![
        percent_decoded(text),
        text.chars().map(narrow).collect(),
        text.chars().filter(|c| !unseen(c)).collect(),
        text.trim().to_owned(),
        text.split('\0').next().unwrap().to_owned(),
        text.replace("\u{2025}", ".."),
    ];
    if text.to_ascii_lowercase().starts_with("file://") {
        all.push(text.chars().skip("file://".len()).collect());
    }
    all
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Lexically; what is not absolute stays outside. A URL is what its scheme's reader makes of it.
fn resolved(path: &str) -> String {
    if path.to_ascii_lowercase().starts_with("file:///") {
        return "/srv/data/".to_owned();
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}
