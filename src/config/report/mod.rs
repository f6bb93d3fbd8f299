//! How a mistake in the file is shown: to people with the line it stands on, to programs as JSON.
//!
//! Owns the codes (stable, documented in docs/CONFIGURATION.md) and the order of findings.
//! Promises that neither the literal values of `env` and headers nor anything that looks like a
//! key leaves through a message or an excerpt, and that every finding has a line and a column.
//! Decides nothing about what is right.

mod code;
mod mask;
mod redact;
mod render;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Digests;
pub use code::{Code, Severity};
pub(crate) use mask::sounds_secret;
pub(in crate::config) use mask::{holds_key, holds_known_key};
use mask::{mask_controls, mask_keys, mask_ranges, named_values};
pub(crate) use redact::{holds_secret, may_hold_secrets, without_secrets};
pub use render::Colour;

/// The file as it may be shown: keys masked, everything else as written, and a last newline.
#[derive(Debug)]
struct Shown {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

/// One thing to say about the file.
#[derive(Clone, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    /// What is wrong at this very place.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    span: Range<usize>,
    shown: Arc<Shown>,
}

/// A finding that does not refuse the file.
pub type Warning = Finding;

/// Why a file was refused: all its mistakes, in the order of their places.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Warning>,
    /// What was read, if it could be.
    pub digest: Option<Digests>,
}

/// What a check found, before it is put next to the text.
#[derive(Clone, Debug)]
pub(super) struct Note {
    code: Code,
    span: Range<usize>,
    message: String,
    label: String,
    help: Option<String>,
}

/// Where the checks leave their notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    /// What must not be shown, whatever is said about it.
    hidden: Vec<Range<usize>>,
}

impl Note {
    pub(super) fn new(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), label: "here".to_owned(), help: None }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Notes {
    pub(super) fn push(&mut self, note: Note) {
        self.list.push(note);
    }

    /// Keeps a value out of every excerpt.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Takes back the notes of which `keep` says no.
    pub(super) fn retain(&mut self, keep: impl Fn(Code, Range<usize>) -> bool) {
        self.list.retain(|note| keep(note.code, note.span.clone()));
    }

    /// Whether something within this place is a mistake.
    pub(super) fn refuses(&self, place: &Range<usize>) -> bool {
        let within = |span: &Range<usize>| place.start <= span.start && span.end <= place.end;
        self.list.iter().any(|n| n.code.severity() == Severity::Error && within(&n.span))
    }

    pub(super) fn first(&self, code: Code) -> Option<Range<usize>> {
        self.list.iter().find(|n| n.code == code).map(|n| n.span.clone())
    }

    /// Puts every note at its place in the text: the errors, then the warnings.
    pub(super) fn settle(self, file: &Path, text: &str) -> (Vec<Finding>, Vec<Warning>) {
        let shown = Arc::new(Shown::new(file, text, &self));
        let mut findings: Vec<_> =
            self.list.into_iter().map(|note| Finding::at(note, file, (text, &shown))).collect();
        findings.sort_by_key(|f| (f.line, f.column, f.code));
        findings.into_iter().partition(|f| f.severity == Severity::Error)
    }
}

impl Shown {
    fn new(file: &Path, text: &str, notes: &Notes) -> Self {
        let mut masked = mask_ranges(text, &notes.hidden);
        if notes.first(Code::Syntax).is_some() {
            // Nothing could be read, so nobody knows which values are secrets.
            masked = mask_ranges(&masked, &named_values(&masked));
        }
        masked = mask_controls(&mask_keys(&masked));
        masked.push('\n');
        let line_starts = masked.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(line_starts).collect();
        Self { name: file.display().to_string(), text: masked, line_starts }
    }

    /// The line that holds byte `at`: its number from 0 and its bytes without the newline.
    fn line(&self, at: usize) -> (usize, Range<usize>) {
        let number = self.line_starts.partition_point(|start| *start <= at).saturating_sub(1);
        let start = self.line_starts.get(number).copied().unwrap_or(0);
        let end = self.line_starts.get(number + 1).map_or(self.text.len(), |next| next - 1);
        (number, start..end.max(start))
    }

    fn get(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }
}

impl Finding {
    /// The only one that there is about a file, or one that was found later.
    pub(in crate::config) fn alone(note: Note, file: &Path, text: &str) -> Self {
        let shown = Arc::new(Shown::new(file, text, &Notes::default()));
        Self::at(note, file, (text, &shown))
    }

    fn at(note: Note, file: &Path, (text, shown): (&str, &Arc<Shown>)) -> Self {
        let last = shown.text.len().saturating_sub(1);
        let start = text.floor_char_boundary(note.span.start.min(last));
        let (line, bytes) = shown.line(start);
        // What spans several lines is marked on its first one.
        let end = shown.text.floor_char_boundary(note.span.end.clamp(start, bytes.end.max(start)));
        Self {
            severity: note.code.severity(),
            code: note.code,
            file: file.to_owned(),
            line: line + 1,
            // Masking keeps bytes, not characters, so these are counted in the text itself.
            column: text.get(bytes.start..start).unwrap_or_default().chars().count() + 1,
            message: mask_keys(&note.message),
            label: mask_keys(&note.label),
            help: note.help.as_deref().map(mask_keys),
            span: start..end,
            shown: Arc::clone(shown),
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "severity": self.severity.as_str(),
            "code": self.code.as_str(),
            "file": self.file.display().to_string(),
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "label": self.label,
            "help": self.help,
        })
    }
}

/// One line: `error[C003]: unknown key … at servers.toml:2:1`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (severity, code, message) = (self.severity.as_str(), self.code, &self.message);
        let (file, line, column) = (self.file.display(), self.line, self.column);
        write!(f, "{severity}[{code}]: {message} at {file}:{line}:{column}")
    }
}

impl ConfigErrors {
    /// All findings with their excerpts, in the order of their places; warnings come last.
    pub fn render(&self, colour: Colour) -> String {
        let findings = self.errors.iter().chain(&self.warnings);
        findings.map(|finding| finding.render(colour)).collect::<Vec<_>>().join("\n")
    }

    /// `{"errors": […], "warnings": […]}`, each with code, file, line, column, message, help.
    pub fn to_json(&self) -> serde_json::Value {
        let list = |findings: &[Finding]| findings.iter().map(Finding::to_json).collect::<Vec<_>>();
        serde_json::json!({ "errors": list(&self.errors), "warnings": list(&self.warnings) })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
