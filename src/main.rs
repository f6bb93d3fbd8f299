//! The `portcullis` binary: the helper mode of the jail, or the command line. No logic here.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|word| word == "__exec") {
        return portcullis::jail::helper_main();
    }
    portcullis::cli::run()
}
