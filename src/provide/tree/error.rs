//! Why a file cannot be had, told in one sentence that a model or a person can act on.
//!
//! The texts show the caller's own words and the rule; they never name the root's place on the
//! machine, nor whether anything exists outside of it (the kernel refuses before it looks).

use rustix::io::Errno;

use super::{path::RelPath, root::Kind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("path `{}` {rule}", shown(&.path.to_string()))]
    Path { path: RelPath, rule: &'static str },
    #[error("URI `{}` {rule}", shown(.uri))]
    Uri { uri: String, rule: &'static str },
    #[error("`{}` does not exist", shown(&.path.to_string()))]
    Missing { path: RelPath },
    #[error("`{}` leads outside the root; only what lies beneath it is served", shown(&.path.to_string()))]
    Outside { path: RelPath },
    #[error("`{}` goes through a link that may not be followed", shown(&.path.to_string()))]
    Link { path: RelPath },
    #[error("`{}` may not be read by this server", shown(&.path.to_string()))]
    Denied { path: RelPath },
    #[error("`{}` is a {}, not a {}", shown(&.path.to_string()), kind(*.found), .wanted.as_str())]
    Kind { path: RelPath, wanted: Kind, found: Kind },
    #[error("`{}` lies in a kernel file system, which is not served", shown(&.path.to_string()))]
    KernelFile { path: RelPath },
    #[error("`{}` has {size} bytes; resources are given whole up to {max}, use the tool `read_file` with `offset`", shown(&.path.to_string()))]
    TooBig { path: RelPath, size: u64, max: usize },
    #[error("`{}` cannot be read", shown(&.path.to_string()))]
    Io { path: RelPath, source: std::io::Error },
    #[error("the request was cancelled")]
    Cancelled,
}

impl FileError {
    pub(crate) fn from_errno(path: &RelPath, errno: Errno) -> Self {
        let path = path.clone();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing { path },
            Errno::XDEV => Self::Outside { path },
            Errno::LOOP => Self::Link { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            Errno::NAMETOOLONG => Self::Path { path, rule: "has a name that is too long" },
            _ => Self::Io { path, source: errno.into() },
        }
    }

    /// The whole sentence, with its cause: this is the edge where the chain is printed once.
    pub(crate) fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Other => "device, fifo or socket",
        Kind::File | Kind::Directory | Kind::Symlink => kind.as_str(),
    }
}

/// A caller's words, printable and not too long.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    let mut shown = text.chars().take(SHOWN_CHARS_MAX).collect::<String>();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}
