//! Threads without which nothing may go on.
//!
//! A thread that holds children or the record must not be missed quietly: if it panics, the whole
//! process ends at once. Every keeper sees that end and takes its server along, and whoever
//! supervises us starts a new one. Knows nothing of what the threads do.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    thread::{self, JoinHandle},
};

/// Starts a named thread whose panic ends the process. The panic itself is on standard error.
pub fn spawn_vital(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            process::abort();
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(guarded)
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::process::ExitStatusExt, process::Command, thread, time::Duration};

    use super::spawn_vital;

    const MARK: &str = "PORTCULLIS_TEST_VITAL";

    #[test]
    fn panic_of_a_vital_thread_ends_the_process() {
        if env::var_os(MARK).is_some() {
            spawn_vital("doomed", || panic!("as the test wants it")).unwrap();
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the test itself, once more")]
        let mut again = Command::new(env::current_exe().unwrap());
        let name = "sys::vital::tests::panic_of_a_vital_thread_ends_the_process";
        let output = again.args(["--exact", name]).env(MARK, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
    }
}
