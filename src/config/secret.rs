//! Secrets: values that are used but never shown, and the references they come from.
//!
//! `${env:X}`, `${file:/path}` and `${cred:NAME}` (systemd credentials) are resolved when the
//! file is read, anywhere inside a value. `Secret` prints `***`; only `expose` gives the text.
//! That it has become another one is seen by its fingerprint, which is salted.
//!
//! Does not judge literals: what looks like a key is known in `mask.rs`.

use std::{fmt, io, path::Path, sync::Arc};

use sha2::{Digest, Sha256};

use super::{Code, Surroundings, Target};
use crate::sys;

/// A value that must not be shown. Equality compares the text: it serves to see that a reload
/// changed something, not to authenticate anybody.
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    /// It stands elsewhere, and only a reference in the file.
    is_referred: bool,
}

/// With what fingerprints are made, so that they say nothing to whoever does not have it.
#[derive(Clone)]
pub struct Salt(Arc<str>);

/// Why a reference could not be resolved.
#[derive(Debug)]
pub(super) struct ReferenceError {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: String,
}

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), is_referred: false }
    }

    /// One whose text stands elsewhere.
    pub(super) fn referred(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), is_referred: true }
    }

    /// What shows whether it is another one than before; none of a text that stands in the file.
    pub fn fingerprint(&self, salt: &Salt) -> Option<String> {
        if !self.is_referred {
            return None;
        }
        // The salt is always as long as this one, so nothing can move from one part to the other.
        let digest = Sha256::new().chain_update(&*salt.0).chain_update(&*self.text).finalize();
        Some(digest.iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The text itself: for the child's environment and the request's header, nowhere else.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

/// Enough to tell two values apart, too few to tell what one is.
const FINGERPRINT_BYTES: usize = 4;

impl Salt {
    /// The one that is kept at `path`, so that fingerprints stay the same over restarts.
    pub fn kept_at(path: &Path) -> io::Result<Self> {
        sys::secret_word(path).map(|word| Self(word.into()))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
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

impl Target {
    /// What may prove to the server who we are: where it goes, and what it is.
    pub fn credentials(&self) -> Vec<(String, &Secret)> {
        let of_stdio = |(name, value)| (format!("env {name}"), value);
        match self {
            Self::Stdio(stdio) => stdio.env.iter().map(of_stdio).collect(),
            Self::Http(http) => {
                http.headers.iter().map(|(name, value)| (format!("header {name}"), value)).collect()
            }
        }
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
        let (reference, tail) = after.split_once('}').ok_or_else(unclosed)?;
        let found = resolve(reference, base, around, lookup)?;
        out.push_str(&found);
        rest = tail;
    }
    out.push_str(rest);
    Ok(if has_reference(text) { Secret::referred(out) } else { Secret::new(out) })
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

fn unclosed() -> ReferenceError {
    ReferenceError {
        code: Code::BadReference,
        message: "a secret reference is not closed".to_owned(),
        help: "`${` begins a reference, which ends with `}`".to_owned(),
    }
}

fn malformed(reference: &str) -> ReferenceError {
    ReferenceError {
        code: Code::BadReference,
        message: format!("`${{{}}}` is not a secret reference", reference.escape_debug()),
        help: "write `${env:NAME}`, `${file:/path}` or `${cred:NAME}`".to_owned(),
    }
}

fn missing(message: String, help: String) -> ReferenceError {
    ReferenceError { code: Code::MissingSecret, message, help }
}
