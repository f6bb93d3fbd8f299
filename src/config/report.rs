//! How a mistake in the file is shown: to people with the line it stands on, to programs as JSON.
//!
//! Owns the codes (stable, documented in docs/CONFIGURATION.md) and the order of findings.
//! Promises that no text that looks like a key leaves through a message or an excerpt, and that
//! every finding has a line and a column. Decides nothing about what is right.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::secret::mask_keys;

/// What kind of mistake it is. The number is stable; gaps are never filled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// C001: the file cannot be read.
    Unreadable,
    /// C002: not TOML.
    Syntax,
    /// C003: a key or table that does not exist.
    UnknownKey,
    /// C004: a value of the wrong type.
    WrongType,
    /// C005: not one of the words allowed.
    UnknownWord,
    /// C006: a number outside its range.
    OutOfRange,
    /// C007: not a server or tool name.
    BadName,
    /// C008: neither or both of `command` and `url`.
    NoTarget,
    /// C009: a key that does not fit the server's kind.
    MisplacedKey,
    /// C010: the program cannot be run.
    NoProgram,
    /// C011: the working directory does not exist.
    NoDirectory,
    /// C012: not an address.
    BadAddress,
    /// C013: an address that is not allowed yet.
    ExposedAddress,
    /// C014: not a URL we can use.
    BadUrl,
    /// C015: a header that is invalid or ours.
    BadHeader,
    /// C016: not an environment variable or argument.
    BadVariable,
    /// C017: a secret reference that is malformed or stands where none is resolved.
    BadReference,
    /// C018: the secret is not there.
    MissingSecret,
    /// C019: plain names need exactly one enabled server.
    PlainNames,
    /// C020: a tool both enabled and disabled.
    ToolConflict,
    /// C021: not a `Host` or `Origin` value, or an unusable path.
    BadValue,
    /// C022: the same thing is set twice.
    SetTwice,
    /// C023: everybody can read the secrets in the file.
    ExposedSecrets,
    /// C024: no place for the state.
    NoStateDir,
    /// C101: unencrypted HTTP to another machine (warning).
    PlainHttp,
    /// C102: a literal that looks like a key (warning).
    LiteralSecret,
    /// C103: nothing is enabled (warning).
    NoServers,
}

/// Whether the file is refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// Whether a rendering may use terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Always,
    Never,
}

/// The file as it may be shown: keys masked, everything else as written.
#[derive(Debug)]
struct Shown {
    name: String,
    text: String,
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
pub(super) struct Notes(Vec<Note>);

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "C001",
            Self::Syntax => "C002",
            Self::UnknownKey => "C003",
            Self::WrongType => "C004",
            Self::UnknownWord => "C005",
            Self::OutOfRange => "C006",
            Self::BadName => "C007",
            Self::NoTarget => "C008",
            Self::MisplacedKey => "C009",
            Self::NoProgram => "C010",
            Self::NoDirectory => "C011",
            Self::BadAddress => "C012",
            Self::ExposedAddress => "C013",
            Self::BadUrl => "C014",
            Self::BadHeader => "C015",
            Self::BadVariable => "C016",
            Self::BadReference => "C017",
            Self::MissingSecret => "C018",
            Self::PlainNames => "C019",
            Self::ToolConflict => "C020",
            Self::BadValue => "C021",
            Self::SetTwice => "C022",
            Self::ExposedSecrets => "C023",
            Self::NoStateDir => "C024",
            Self::PlainHttp => "C101",
            Self::LiteralSecret => "C102",
            Self::NoServers => "C103",
        }
    }

    pub fn severity(self) -> Severity {
        if matches!(self, Self::PlainHttp | Self::LiteralSecret | Self::NoServers) {
            Severity::Warning
        } else {
            Severity::Error
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Colour {
    /// Colours only for a terminal, and not where `NO_COLOR` asks for none.
    pub fn detect(stream: &impl std::io::IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if stream.is_terminal() && !refused { Self::Always } else { Self::Never }
    }
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
        self.0.push(note);
    }

    pub(super) fn first(&self, code: Code) -> Option<Range<usize>> {
        self.0.iter().find(|n| n.code == code).map(|n| n.span.clone())
    }

    /// Puts every note at its place in the text; errors first in one list, warnings in the other.
    pub(super) fn settle(self, file: &Path, text: &str) -> (Vec<Finding>, Vec<Warning>) {
        let shown = Arc::new(Shown { name: file.display().to_string(), text: mask_keys(text) });
        let mut findings: Vec<_> =
            self.0.into_iter().map(|note| Finding::at(note, file, &shown)).collect();
        findings.sort_by_key(|f| (f.span.start, f.code));
        findings.into_iter().partition(|f| f.severity == Severity::Error)
    }
}

impl Finding {
    fn at(note: Note, file: &Path, shown: &Arc<Shown>) -> Self {
        let end = shown.text.len();
        let start = floor(&shown.text, note.span.start.min(end));
        let span = start..floor(&shown.text, note.span.end.clamp(start, end));
        let before = shown.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            severity: note.code.severity(),
            code: note.code,
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: mask_keys(&note.message),
            label: mask_keys(&note.label),
            help: note.help.as_deref().map(mask_keys),
            span,
            shown: Arc::clone(shown),
        }
    }

    /// For people: message, excerpt, label, help.
    pub fn render(&self, colour: Colour) -> String {
        let theme = match colour {
            Colour::Always => GraphicalTheme::unicode(),
            Colour::Never => GraphicalTheme::unicode_nocolor(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(RENDER_COLUMNS)
            .with_context_lines(0)
            .with_links(false);
        let source = NamedSource::new(&self.shown.name, self.shown.text.clone());
        let mut out = String::new();
        match handler.render_report(&mut out, &Report { finding: self, source }) {
            Ok(()) => out,
            Err(fmt::Error) => format!("{self}\n"),
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
        self.errors.iter().chain(&self.warnings).map(|f| f.render(colour)).collect()
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

/// Excerpts are wrapped here, whatever the terminal, so that logs and tests read the same.
const RENDER_COLUMNS: usize = 100;

/// What miette is given: a finding next to its source.
#[derive(Debug)]
struct Report<'a> {
    finding: &'a Finding,
    source: NamedSource<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, code, message, .. } = self.finding;
        write!(f, "{}[{code}]: {message}", severity.as_str())
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label =
            LabeledSpan::new_with_span(Some(self.finding.label.clone()), self.finding.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}
