//! `audit.witness`: who cosigns our checkpoints.
//!
//! Both or none: without its key nobody could tell a witness from whoever answers in its place.
//! What is sent there is no secret, but an answer that was changed on the way is none.

use super::{Remote, address};
use crate::config::{Code, WitnessConfig, check::Check, report::Note, section::Section};

const WITNESS: Remote = Remote {
    key: "url",
    what: "a witness",
    shape: "write https://HOST[:PORT]/PREFIX; `/add-checkpoint` is added to it",
    path: "/add-checkpoint",
    why: "an answer could be changed on the way",
};

const WITNESS_KEYS: [&str; 2] = ["url", "key"];

pub(in crate::config) fn read(
    section: &Section<'_>,
    check: &mut Check<'_>,
) -> Option<WitnessConfig> {
    if !section.has("witness") {
        return None;
    }
    let section = section.section("witness", "witness", &mut check.notes);
    section.refuse_unknown(&WITNESS_KEYS, &mut check.notes);
    let url = section.text("url", &mut check.notes);
    let key = section.text("key", &mut check.notes);
    for lacks in WITNESS_KEYS.into_iter().filter(|key| !section.has(key)) {
        let told = format!("`{lacks}` of the witness is missing");
        let note = Note::new(Code::BadValue, section.span.clone(), told);
        check.notes.push(note.label("not whole").help("write witness = { url = …, key = … }"));
    }
    let (url, key) = (url?, key?);
    let note = Note::new(Code::BadValue, key.span.clone(), "`key` is no witness's public key");
    if !is_key(key.value) {
        let help = "it looks like NAME+0123abcd+BASE64, and its witness publishes it";
        check.notes.push(note.label("not a key").help(help));
    }
    let url = address(&WITNESS, &url, check)?;
    Some(WitnessConfig { url, key: key.value.to_owned() })
}

/// What a witness's key looks like; whether it is one, `audit` knows.
fn is_key(text: &str) -> bool {
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next(), parts.next(), parts.next());
    let is_hex = |id: &str| id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
    name.is_some_and(|name| !name.is_empty())
        && id.is_some_and(is_hex)
        && key.is_some_and(|key| key.len() == KEY_CHARS)
}

/// Of 33 bytes in base 64.
const KEY_CHARS: usize = 44;
