//! The codes of findings: stable, documented in docs/CONFIGURATION.md, never used twice.
//!
//! Below C100 a finding refuses the file; from C101 on it is a warning.

use std::fmt;

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
    /// C025: cannot change while the gateway runs.
    NeedsRestart,
    /// C026: a policy that cannot be right.
    BadPolicy,
    /// C027: a case that the policies do not fulfil.
    FailedCase,
    /// C028: ways to prove who one is, none of which can be gone.
    NoWayIn,
    /// C029: a key without which its table says nothing.
    MissingKey,
    /// C030: everybody can write the file.
    OpenToWriters,
    /// C101: unencrypted HTTP to another machine (warning).
    PlainHttp,
    /// C102: a literal that looks like a key (warning).
    LiteralSecret,
    /// C103: nothing is enabled (warning).
    NoServers,
    /// C104: there are no policies, so nothing is allowed (warning).
    NoPolicies,
}

/// Whether the file is refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl Code {
    pub const ALL: [Self; 34] = [
        Self::Unreadable,
        Self::Syntax,
        Self::UnknownKey,
        Self::WrongType,
        Self::UnknownWord,
        Self::OutOfRange,
        Self::BadName,
        Self::NoTarget,
        Self::MisplacedKey,
        Self::NoProgram,
        Self::NoDirectory,
        Self::BadAddress,
        Self::ExposedAddress,
        Self::BadUrl,
        Self::BadHeader,
        Self::BadVariable,
        Self::BadReference,
        Self::MissingSecret,
        Self::PlainNames,
        Self::ToolConflict,
        Self::BadValue,
        Self::SetTwice,
        Self::ExposedSecrets,
        Self::NoStateDir,
        Self::NeedsRestart,
        Self::BadPolicy,
        Self::FailedCase,
        Self::NoWayIn,
        Self::MissingKey,
        Self::OpenToWriters,
        Self::PlainHttp,
        Self::LiteralSecret,
        Self::NoServers,
        Self::NoPolicies,
    ];

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
            Self::NeedsRestart => "C025",
            Self::BadPolicy => "C026",
            Self::FailedCase => "C027",
            Self::NoWayIn => "C028",
            Self::MissingKey => "C029",
            Self::OpenToWriters => "C030",
            Self::PlainHttp => "C101",
            Self::LiteralSecret => "C102",
            Self::NoServers => "C103",
            Self::NoPolicies => "C104",
        }
    }

    pub fn severity(self) -> Severity {
        let is_warning = matches!(
            self,
            Self::PlainHttp | Self::LiteralSecret | Self::NoServers | Self::NoPolicies
        );
        if is_warning { Severity::Warning } else { Severity::Error }
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
