//! `audit.witness`: who cosigns our checkpoints.
//!
//! Both or none: without its key nobody could tell a witness from whoever answers in its place.
//! What is sent there is no secret, but an answer that was changed on the way is none; so it is
//! https, or this machine.

use http::Uri;

use super::{
    Code, WitnessConfig,
    check::Check,
    report::Note,
    section::{At, Section},
    server::is_loopback,
};

const WITNESS_KEYS: [&str; 2] = ["url", "key"];

pub(super) fn read(section: &Section<'_>, check: &mut Check<'_>) -> Option<WitnessConfig> {
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
    let url = prefix(&url, check)?;
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

fn prefix(text: &At<&str>, check: &mut Check<'_>) -> Option<Uri> {
    let refuse = |what: &str, help: &str| {
        Note::new(Code::BadUrl, text.span.clone(), format!("`url` {what}"))
            .label("not usable")
            .help(help.to_owned())
    };
    let shape = "write https://HOST[:PORT]/PREFIX; `/add-checkpoint` is added to it";
    let written = text.value.trim_end_matches('/');
    let uri: Option<Uri> = format!("{written}/add-checkpoint").parse().ok();
    let plain = |uri: &Uri| !text.value.contains(['@', '#', '?']) && uri.host().is_some();
    let Some(uri) = uri.filter(plain) else {
        check.notes.push(refuse("is not a URL of a witness", shape));
        return None;
    };
    match (uri.scheme_str(), uri.host().is_some_and(is_loopback)) {
        (Some("https"), _) | (Some("http"), true) => Some(uri),
        (Some("http"), false) => {
            let help = "use https: an answer could be changed on the way";
            check.notes.push(refuse("is called without encryption", help));
            None
        }
        (_, _) => {
            check.notes.push(refuse("is neither http nor https", shape));
            None
        }
    }
}
