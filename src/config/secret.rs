//! Secrets: values that are used but never shown, and the references they come from.
//!
//! `${env:X}`, `${file:/path}` and `${cred:NAME}` (systemd credentials) are resolved when the
//! file is read, anywhere inside a value. `Secret` prints `***`; only `expose` gives the text.
//! Also knows what a key looks like, so that none written as a literal is ever repeated by us.

use std::{fmt, ops::Range, path::Path, sync::Arc};

use super::{Code, Surroundings};

/// A value that must not be shown. Equality compares the text: it serves to see that a reload
/// changed something, not to authenticate anybody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Why a reference could not be resolved.
#[derive(Debug)]
pub(super) struct ReferenceError {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: String,
}

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the child's environment and the request's header, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether the values are looked up, or only the spelling is checked (for disabled servers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Resolve,
    SpellingOnly,
}

/// Puts the values of all references in `text` in their places.
pub(super) fn expand(
    text: &str,
    base: &Path,
    around: &Surroundings,
    lookup: Lookup,
) -> Result<Secret, ReferenceError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (reference, tail) = after.split_once('}').ok_or_else(|| malformed("${…"))?;
        let found = resolve(reference, base, around, lookup)?;
        out.push_str(&found);
        rest = tail;
    }
    out.push_str(rest);
    Ok(Secret::new(out))
}

/// Whether a reference stands in `text`.
pub(super) fn has_reference(text: &str) -> bool {
    ["${env:", "${file:", "${cred:"].iter().any(|form| text.contains(form))
}

fn resolve(
    reference: &str,
    base: &Path,
    around: &Surroundings,
    lookup: Lookup,
) -> Result<String, ReferenceError> {
    let (kind, name) = reference.split_once(':').ok_or_else(|| malformed(reference))?;
    let spelled = match kind {
        "env" => is_variable_name(name),
        "cred" => !name.is_empty() && name != "." && name != ".." && !name.contains('/'),
        "file" => !name.is_empty(),
        _ => false,
    };
    if !spelled {
        return Err(malformed(reference));
    }
    if lookup == Lookup::SpellingOnly {
        return Ok(String::new());
    }
    let value = match kind {
        "env" => variable(name, around)?,
        "cred" => {
            let Some(dir) = around.variable("CREDENTIALS_DIRECTORY") else {
                return Err(missing(
                    format!("credential `{name}` cannot be read: no credentials were passed"),
                    format!("start as a systemd service with `LoadCredential={name}:/path`"),
                ));
            };
            file(&Path::new(dir).join(name), around)?
        }
        _ => file(&base.join(name), around)?,
    };
    Ok(value)
}

/// The value of an environment variable; unset and empty are both missing.
pub(super) fn variable(name: &str, around: &Surroundings) -> Result<String, ReferenceError> {
    match around.variable(name) {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        found => {
            let state = if found.is_some() { "empty" } else { "not set" };
            Err(missing(
                format!("environment variable `{name}` is {state}"),
                format!("set `{name}` in the environment that portcullis is started with"),
            ))
        }
    }
}

fn file(path: &Path, around: &Surroundings) -> Result<String, ReferenceError> {
    let shown = path.display();
    let fix = || format!("create `{shown}` and let portcullis's user read it");
    let text = around.read_secret(path).map_err(|error| {
        missing(format!("secret file `{shown}` cannot be read: {error}"), fix())
    })?;
    // Editors and `echo` end a file with a newline that is not part of the secret.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(missing(format!("secret file `{shown}` is empty"), fix()));
    }
    Ok(text.to_owned())
}

pub(super) fn is_variable_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn malformed(reference: &str) -> ReferenceError {
    ReferenceError {
        code: Code::BadReference,
        message: format!("`{reference}` is not a secret reference"),
        help: "write `${env:NAME}`, `${file:/path}` or `${cred:NAME}`".to_owned(),
    }
}

fn missing(message: String, help: String) -> ReferenceError {
    ReferenceError { code: Code::MissingSecret, message, help }
}

/// Beginnings of well-known keys.
const KEY_PREFIXES: [&str; 20] = [
    "sk-",
    "sk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "npm_",
    "eyJ",
];
/// A known beginning with fewer characters than this is a word, not a key.
const PREFIXED_KEY_CHARS_MIN: usize = 12;
/// Without a known beginning: how long a word is, and how often it turns between letters and
/// digits, before it looks random.
const RANDOM_KEY_CHARS_MIN: usize = 32;
const RANDOM_KEY_TURNS_MIN: usize = 4;

/// Whether a part of `text` looks like a key.
pub(super) fn holds_key(text: &str) -> bool {
    words(text).any(|word| text.get(word).is_some_and(is_key_like))
}

/// Whether a part of `text` begins like a well-known key: for arguments, where long random words
/// (digests of images, for one) are no secrets.
pub(super) fn holds_known_key(text: &str) -> bool {
    words(text).any(|word| text.get(word).is_some_and(has_key_prefix))
}

/// The text with everything that looks like a key replaced by `*`, byte for byte.
pub(super) fn mask_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for word in words(text) {
        if text.get(word.clone()).is_some_and(is_key_like) {
            out.push_str(text.get(at..word.start).unwrap_or_default());
            out.push_str(&"*".repeat(word.len()));
            at = word.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Stretches of the ASCII characters that keys are made of, `/` for base64 included.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let of_key = |b: u8| b.is_ascii_alphanumeric() || b"-_+./".contains(&b);
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.as_bytes().get(at..)?;
        let start = at + rest.iter().position(|b| of_key(*b))?;
        let tail = text.as_bytes().get(start..)?;
        let end = start + tail.iter().position(|b| !of_key(*b)).unwrap_or(tail.len());
        at = end;
        Some(start..end)
    })
}

fn is_key_like(word: &str) -> bool {
    has_key_prefix(word) || is_random(word)
}

fn has_key_prefix(word: &str) -> bool {
    let known = |part: &str| KEY_PREFIXES.iter().any(|prefix| part.starts_with(prefix));
    word.split('/').any(|part| part.len() >= PREFIXED_KEY_CHARS_MIN && known(part))
}

/// Long, and letters and digits follow each other without a separator again and again: paths,
/// host names and prose do not look like that.
fn is_random(word: &str) -> bool {
    let turns = word
        .as_bytes()
        .windows(2)
        .filter(|pair| match pair {
            [a, b] => {
                a.is_ascii_digit() && b.is_ascii_alphabetic()
                    || a.is_ascii_alphabetic() && b.is_ascii_digit()
            }
            _ => false,
        })
        .count();
    word.len() >= RANDOM_KEY_CHARS_MIN
        && !word.starts_with('/')
        && !word.contains('.')
        && turns >= RANDOM_KEY_TURNS_MIN
}
