//! What a process and its descendants have used, read from /proc.
//!
//! The bench upstream does not count where it is a child of what is measured: only the gateway's
//! own work is asked for.

use std::{collections::BTreeMap, fs, time::Duration};

const NOT_COUNTED: &str = "bench-upstream";
/// The kernel shows times to programs in hundredths of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the tree so far.
pub(crate) fn cpu(root: u32) -> Duration {
    let ticks: u64 = tree(root).values().map(|process| process.ticks).sum();
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// CPU time of this one process so far.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let ticks = stat(pid).map_or(0, |process| process.ticks);
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// How many processes the tree has.
pub(crate) fn count(root: u32) -> usize {
    tree(root).len()
}

/// Starts the peak anew. A kernel that will not do so leaves the peak since the start.
pub(crate) fn reset_peak(root: u32) {
    for pid in tree(root).into_keys() {
        drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
    }
}

/// The most memory that was resident since `reset_peak`, in KiB.
pub(crate) fn peak_kib(root: u32) -> u64 {
    tree(root).into_keys().filter_map(|pid| status(pid, "VmHWM:")).sum()
}

/// What is resident of this one process now, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:").unwrap_or_default()
}

#[derive(Debug)]
struct Process {
    parent: u32,
    name: String,
    ticks: u64,
}

fn tree(root: u32) -> BTreeMap<u32, Process> {
    let mut all: BTreeMap<u32, Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found = BTreeMap::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        next.extend(all.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| *pid));
        let Some(process) = all.remove(&pid) else { continue };
        if process.name != NOT_COUNTED {
            found.insert(pid, process);
        }
    }
    found
}

fn stat(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Process { parent, name: name.to_owned(), ticks: user.saturating_add(system) })
}

fn status(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
