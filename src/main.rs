//! The `portcullis` binary: the helper mode of the jail, or the command line. No logic here.

use std::{env, process::ExitCode};

/// Fewer instructions for the many small pieces of a message; see `docs/adr/0003-dependencies.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|word| word == "__exec") {
        return portcullis::jail::helper_main();
    }
    portcullis::cli::run()
}
