//! Reading the process table and killing what must go.
//!
//! A scan is a photograph: by the time it is looked at, a process may have gone and its number
//! may belong to somebody else. `Process::kill` therefore opens a pidfd first, looks again
//! whether the start time is still the one on the photograph, and only then sends the signal
//! through the pidfd.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal, waitpid,
};

/// One line of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// Dead, and waiting for its parent to take note.
    pub(super) zombie: bool,
    /// Clock ticks since boot: together with the number it names one process for ever.
    started: u64,
}

impl Process {
    /// Sends SIGKILL, to this process or to nobody.
    pub(super) fn kill(&self) {
        let Ok(pidfd) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        if read(self.pid.as_raw_nonzero().get()).is_some_and(|now| now.started == self.started) {
            // It can only fail because the process is gone, which is what we want.
            pidfd_send_signal(pidfd, Signal::KILL).ok();
        }
    }
}

/// Everything that can be seen in `/proc`.
pub(super) fn scan() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// The living processes below `roots`, at any depth, without the roots themselves.
pub(super) fn below(all: &[Process], roots: impl IntoIterator<Item = Pid>) -> Vec<&Process> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut seen = HashSet::new();
    let mut open: Vec<i32> = roots.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let mut found = Vec::new();
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            let pid = child.pid.as_raw_nonzero().get();
            if seen.insert(pid) {
                open.push(pid);
                found.push(*child);
            }
        }
    }
    found.retain(|process| !process.zombie);
    found
}

/// Kills and reaps the strays: children of ours that we did not start, orphans of dead keepers.
/// Whatever else this process may have started lives in our session, and a server never does,
/// nor can it come back to it. `true`: there may be more.
pub(super) fn sweep_strays(keepers: &BTreeSet<i32>) -> bool {
    let us = getpid().as_raw_nonzero().get();
    // Read, not asked for with `getsid`: in a container our session may have begun outside, and
    // its number is then 0, which no `Pid` can hold.
    let Some(Process { session, .. }) = read(us) else { return false };
    let all = scan();
    let is_stray = |process: &&Process| {
        let pid = process.pid.as_raw_nonzero().get();
        process.parent == us && process.session != session && !keepers.contains(&pid)
    };
    let strays: Vec<&Process> = all.iter().filter(is_stray).collect();
    for process in below(&all, strays.iter().map(|stray| stray.pid)) {
        process.kill();
    }
    for stray in &strays {
        stray.kill();
        waitpid(Some(stray.pid), WaitOptions::NOHANG).ok();
    }
    !strays.is_empty()
}

fn read(pid: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state parent group session …`; the name may hold blanks and parentheses.
fn parse(stat: &str) -> Option<Process> {
    const STARTED: usize = 22 - 3;
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid: Pid::from_raw(pid.parse().ok()?)?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(STARTED)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::Pid;

    use super::{Process, below, parse, scan};

    fn process(pid: i32, parent: i32) -> Process {
        let pid = Pid::from_raw(pid).unwrap();
        Process { pid, parent, session: 1, zombie: false, started: 0 }
    }

    #[test]
    fn a_name_full_of_parentheses_does_not_confuse() {
        let rest = "S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 100 200";
        let got = parse(&format!("42 (a) Z 1 (b)) {rest}")).unwrap();
        let pid = Pid::from_raw(42).unwrap();
        assert_eq!(got, Process { pid, parent: 7, session: 9, zombie: false, started: 12345 });
        assert_eq!(parse("42 (cut"), None);
    }

    #[test]
    fn a_session_that_began_outside_our_pid_namespace_has_the_number_0() {
        let got = parse("42 (a) S 0 42 0 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 100 200");
        assert_eq!(got.map(|process| process.session), Some(0));
    }

    #[test]
    fn below_finds_every_depth_and_ends_on_loops() {
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 7)];
        let mut got: Vec<i32> =
            below(&all, [all[0].pid]).iter().map(|p| p.pid.as_raw_nonzero().get()).collect();
        got.sort_unstable();
        assert_eq!(got, [3, 4]);
        let ring = [process(2, 3), process(3, 2)];
        assert_eq!(below(&ring, [ring[0].pid]).len(), 2);
    }

    #[test]
    fn we_see_ourselves() {
        let me = rustix::process::getpid();
        assert!(scan().iter().any(|process| process.pid == me && !process.zombie));
    }
}
