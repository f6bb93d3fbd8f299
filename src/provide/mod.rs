//! Built-in servers: what a bare machine can call without installing anything.
//!
//! `portcullis provide files --root DIR` serves one directory, read-only, as an MCP server of both
//! eras on stdio. To the gateway it is a child like any other, with no privilege and no back door.
//! Promises that nothing outside the directory is ever read; where the kernel cannot promise that
//! (no `openat2`) it refuses to start. See `docs/adr/0006-built-in-file-server.md`.

mod files;
mod protocol;
mod serve;
mod tree;

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use self::{files::Files, tree::RootError};

/// What `portcullis provide files` was asked to serve.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    pub root: PathBuf,
}

/// Why a built-in server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    #[error("cannot serve files from `{}`; `--root` must name a directory", .root.display())]
    Root { root: PathBuf, source: io::Error },
    #[error(
        "this kernel or its sandbox has no openat2, without which files cannot be served safely; \
         Linux 5.6 or later is needed"
    )]
    NoOpenat2 { source: io::Error },
    #[error("`{}` is a kernel file system, which is not served", .root.display())]
    KernelFiles { root: PathBuf },
    #[error("lost the client")]
    Client { source: io::Error },
}

/// Serves on this process's stdin and stdout until stdin ends. Blocks.
pub fn run_files(options: &FilesOptions) -> Result<(), ProvideError> {
    serve_files(options, io::stdin().lock(), io::stdout())
}

/// The same over any pair of streams.
pub fn serve_files(
    options: &FilesOptions,
    input: impl Read,
    output: impl Write + Send,
) -> Result<(), ProvideError> {
    let root = || options.root.clone();
    let files = Files::open(&options.root).map_err(|error| match error {
        RootError::Open(errno) => ProvideError::Root { root: root(), source: errno.into() },
        RootError::NoOpenat2(errno) => ProvideError::NoOpenat2 { source: errno.into() },
        RootError::KernelFiles => ProvideError::KernelFiles { root: root() },
    })?;
    serve::serve(&files, input, output).map_err(|source| ProvideError::Client { source })
}
