//! Independent judges: serde_json for the grammar, and a reader that keeps order and spelling.
//!
//! None of it shares code with the room under test. Duplicate keys are found with a set, depth by
//! counting brackets: slow and plain on purpose.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Whether `text` is one JSON value.
pub(super) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok() && std::str::from_utf8(text).is_ok()
}

/// Whether no object in `text`, which is JSON, names a key twice. `text` holds no lone surrogates.
///
/// Numbers are never read: one that no double can hold must not end the search.
pub(super) fn is_distinct(text: &[u8]) -> bool {
    match text.trim_ascii_start().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_slice(text).unwrap();
            items.iter().all(|item| is_distinct(item.get().as_bytes()))
        }
        Some(b'{') => {
            let members = members(text);
            let names: HashSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
            names.len() == members.len()
                && members.iter().all(|(_, value)| is_distinct(value.as_bytes()))
        }
        _ => true,
    }
}

/// How deep the containers of `text`, which is JSON, nest.
pub(super) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The members of an object, in order, values as written.
pub(super) fn members(text: &[u8]) -> Vec<(String, String)> {
    let Members(members) = serde_json::from_slice(text).unwrap();
    members
}

/// The value of one member, as written.
pub(super) fn member(text: &[u8], key: &str) -> Option<String> {
    members(text).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((key, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
