//! What the kernel says of our own process and of the cgroup that it is in.
//!
//! Read from /proc when it is asked for; what cannot be read is missing, and harms nobody. The one
//! thing that is set here is which pages it uses.

use std::{fs, path::Path, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    thread::disable_transparent_huge_pages,
};

/// Of the process itself, without its children.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    /// None if it may have any number.
    pub max_fds: Option<u64>,
    pub threads: u64,
    /// Seconds since 1970.
    pub started_s: u64,
}

/// Processes and threads of the cgroup, our servers among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    pub now: u64,
    /// None if there is no limit.
    pub max: Option<u64>,
}

/// Takes small pages alone from now on, in this process and in those that it starts: a huge one is
/// 2 MiB of memory for the first byte that is used.
pub fn use_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "Huge pages cannot be turned off; the gateway takes more memory");
    }
}

impl Process {
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let open_fds = u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
        let max_fds = getrlimit(Resource::Nofile).current;
        let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
        let units = (ticks, u64::try_from(page).ok()?);
        let told = parse(&stat, &system, units)?;
        // The directory itself was open while it was counted.
        Some(Self { open_fds: open_fds.saturating_sub(1), max_fds, ..told })
    }
}

/// The fields of proc(5), counted from the one after the name, which is the third.
fn parse(stat: &str, system: &str, (ticks, page): (u64, u64)) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |n: usize| fields.get(n.checked_sub(3)?)?.trim().parse::<u64>().ok();
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
    let booted: u64 = booted?.trim().parse().ok()?;
    let cpu_ticks = field(14)?.saturating_add(field(15)?);
    let cpu_ms = cpu_ticks.saturating_mul(1000).checked_div(ticks)?;
    Some(Process {
        cpu: Duration::from_millis(cpu_ms),
        threads: field(20)?,
        started_s: booted.saturating_add(field(22)?.checked_div(ticks)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(page),
        open_fds: 0,
        max_fds: None,
    })
}

impl Pids {
    /// Of the cgroup that we are in, or of the nearest one above it that has a limit.
    pub fn read() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Self::of(Path::new("/sys/fs/cgroup"), Path::new(own))
    }

    fn of(root: &Path, own: &Path) -> Option<Self> {
        let number = |dir: &Path, file: &str| {
            fs::read_to_string(root.join(dir).join(file)).ok()?.trim().parse::<u64>().ok()
        };
        let limited = own.ancestors().find_map(|dir| {
            Some(Self { now: number(dir, "pids.current")?, max: Some(number(dir, "pids.max")?) })
        });
        limited.or_else(|| Some(Self { now: number(own, "pids.current")?, max: None }))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::{Pids, Process, parse};

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let after =
            "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 300 4096000 25 18446744073709551615";
        let told = parse(&format!("42 (a) b (c)) {after}"), "cpu 1\nbtime 1000\n", (100, 4096));
        let told = told.unwrap();
        assert_eq!((told.cpu, told.threads, told.started_s), (Duration::from_secs(2), 7, 1003));
        assert_eq!((told.virtual_bytes, told.resident_bytes), (4_096_000, 25 * 4096));
        assert!(parse("42 no brackets", "btime 1000\n", (100, 4096)).is_none());
    }

    #[test]
    fn our_own_figures_are_there() {
        let one = Process::read().unwrap();
        let held: Vec<_> = (0..5).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let other = Process::read().unwrap();
        assert!(one.open_fds > 0 && one.threads > 0 && one.resident_bytes > 0, "{one:?}");
        assert!(other.open_fds >= u64::try_from(held.len()).unwrap(), "{other:?}");
        assert!(one.max_fds.is_none_or(|max| max >= one.open_fds));
        assert_eq!(one.started_s, other.started_s);
        assert!(one.started_s > 1_700_000_000, "{one:?}");
    }

    #[test]
    fn the_nearest_limit_counts_and_without_one_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("slice/service");
        fs::create_dir_all(&inner).unwrap();
        let put = |at: &str, text: &str| fs::write(dir.path().join(at), text).unwrap();
        put("slice/service/pids.current", "3\n");
        let read = || Pids::of(dir.path(), "slice/service".as_ref());
        assert_eq!(read(), Some(Pids { now: 3, max: None }));
        put("slice/service/pids.max", "max\n");
        put("slice/pids.current", "9\n");
        put("slice/pids.max", "100\n");
        assert_eq!(read(), Some(Pids { now: 9, max: Some(100) }));
        put("slice/service/pids.max", "5\n");
        assert_eq!(read(), Some(Pids { now: 3, max: Some(5) }));
        assert_eq!(Pids::of(dir.path(), "gone".as_ref()), None);
    }
}
