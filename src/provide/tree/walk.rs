//! A bounded walk through the tree in one fixed order, that can be resumed and stopped.
//!
//! The order is that of the names' bytes, parent before child, so a cursor is simply the last path
//! seen. Every directory is opened afresh from the root, so nothing that was moved out of it while
//! we walked is entered. Links are shown and not walked into: no circles, nothing twice. What
//! cannot be read is counted, not fatal. Whoever walks pays from one `Budget`.

use std::{
    cmp::Ordering,
    sync::atomic::{AtomicBool, Ordering as Memory},
    time::Instant,
};

use super::{
    error::FileError,
    path::RelPath,
    root::{Entry, Kind, Root},
};
use crate::domain::limits::{FILES_SEARCH_TIME_MAX, FILES_WALK_DEPTH_MAX, FILES_WALK_ENTRIES_MAX};

/// What one request may spend, and the flag that ends it early.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    cancelled: &'a AtomicBool,
    deadline: Instant,
    entries: usize,
}

/// Why a walk ended before the tree did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    Entries,
    Time,
}

#[derive(Debug)]
pub(crate) struct Walk<'a> {
    root: &'a Root,
    budget: Budget<'a>,
    levels: Vec<Level>,
    pub spent: Option<Spent>,
    /// Directories that could not be read, were too deep, or had too many entries.
    pub skipped: usize,
}

#[derive(Debug)]
struct Level {
    path: RelPath,
    entries: std::vec::IntoIter<Entry>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub path: RelPath,
    pub kind: Kind,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(cancelled: &'a AtomicBool) -> Self {
        let deadline = Instant::now() + FILES_SEARCH_TIME_MAX;
        Self { cancelled, deadline, entries: FILES_WALK_ENTRIES_MAX }
    }

    #[cfg(test)]
    pub(crate) fn with_entries(cancelled: &'a AtomicBool, entries: usize) -> Self {
        Self { entries, ..Self::new(cancelled) }
    }

    /// Takes one entry from the budget.
    fn pay(&mut self) -> Result<Option<Spent>, FileError> {
        if self.cancelled.load(Memory::Relaxed) {
            return Err(FileError::Cancelled);
        }
        let Some(left) = self.entries.checked_sub(1) else {
            return Ok(Some(Spent::Entries));
        };
        self.entries = left;
        Ok((Instant::now() > self.deadline).then_some(Spent::Time))
    }
}

impl<'a> Walk<'a> {
    /// Starts at `start`, which must be a directory; the links on the way to it are followed.
    pub(crate) fn new(
        root: &'a Root,
        start: &RelPath,
        budget: Budget<'a>,
    ) -> Result<Self, FileError> {
        let mut walk = Self { root, budget, levels: Vec::new(), spent: None, skipped: 0 };
        let entries = root.entries(start)?;
        walk.skipped += usize::from(entries.truncated);
        walk.levels.push(Level { path: start.clone(), entries: entries.list.into_iter() });
        Ok(walk)
    }

    /// Goes on behind `last`: everything up to it in the walk's order is passed over. The path
    /// need not exist any more.
    pub(crate) fn after(mut self, last: &RelPath) -> Self {
        for name in last.components() {
            let Some(level) = self.levels.last_mut() else { break };
            let rest = std::mem::take(&mut level.entries);
            let mut here = None;
            let rest = rest.filter(|entry| match entry.name.as_slice().cmp(name) {
                Ordering::Less => false,
                Ordering::Equal => {
                    here = Some(entry.kind);
                    false
                }
                Ordering::Greater => true,
            });
            let rest = rest.collect::<Vec<_>>();
            level.entries = rest.into_iter();
            let path = level.path.join(name);
            if here != Some(Kind::Directory) {
                break;
            }
            self.descend(path);
        }
        self
    }

    /// The next entry; `None` at the end of the tree or of the budget (see `spent`).
    pub(crate) fn next(&mut self) -> Result<Option<Step>, FileError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(&entry.name);
            if let Some(spent) = self.budget.pay()? {
                self.spent = Some(spent);
                return Ok(None);
            }
            if entry.kind == Kind::Directory {
                self.descend(path.clone());
            }
            return Ok(Some(Step { path, kind: entry.kind }));
        }
    }

    fn descend(&mut self, path: RelPath) {
        if self.levels.len() >= FILES_WALK_DEPTH_MAX {
            self.skipped += 1;
            return;
        }
        let Ok(entries) = self.root.entries(&path) else {
            self.skipped += 1;
            return;
        };
        // Crowded directories within crowded directories must not fill the memory.
        let held = self.levels.iter().map(|level| level.entries.len()).sum::<usize>();
        if held + entries.list.len() > FILES_WALK_ENTRIES_MAX {
            self.skipped += 1;
            return;
        }
        self.skipped += usize::from(entries.truncated);
        self.levels.push(Level { path, entries: entries.list.into_iter() });
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::atomic::AtomicBool};

    use super::{super::root::Root, Budget, FileError, RelPath, Spent, Walk};

    static GO: AtomicBool = AtomicBool::new(false);
    static STOP: AtomicBool = AtomicBool::new(true);

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/c")).unwrap();
        fs::create_dir(dir.path().join("b-")).unwrap();
        for file in ["a", "b/c/d", "b/e", "b-/f", "z"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("..", dir.path().join("b/up")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn rest(mut walk: Walk<'_>) -> Vec<String> {
        let mut paths = Vec::new();
        while let Some(step) = walk.next().unwrap() {
            paths.push(step.path.to_string());
        }
        paths
    }

    #[test]
    fn the_order_is_fixed_and_links_are_not_followed() {
        let (_dir, root) = tree();
        let walk = Walk::new(&root, &RelPath::root(), Budget::new(&GO)).unwrap();
        assert_eq!(rest(walk), ["a", "b", "b/c", "b/c/d", "b/e", "b/up", "b-", "b-/f", "z"]);
    }

    #[test]
    fn a_walk_resumes_behind_any_path_even_a_vanished_one() {
        let (_dir, root) = tree();
        let all = rest(Walk::new(&root, &RelPath::root(), Budget::new(&GO)).unwrap());
        for (n, last) in all.iter().enumerate() {
            let last = RelPath::parse(last.as_bytes()).unwrap();
            let walk = Walk::new(&root, &RelPath::root(), Budget::new(&GO)).unwrap();
            assert_eq!(rest(walk.after(&last)), all[n + 1..], "after {last:?}");
        }
        let gone = RelPath::parse(b"b/d/gone").unwrap();
        let walk = Walk::new(&root, &RelPath::root(), Budget::new(&GO)).unwrap();
        assert_eq!(rest(walk.after(&gone)), ["b/e", "b/up", "b-", "b-/f", "z"]);
    }

    #[test]
    fn a_spent_budget_and_a_cancel_end_the_walk() {
        let (_dir, root) = tree();
        let budget = Budget::with_entries(&GO, 2);
        let mut walk = Walk::new(&root, &RelPath::root(), budget).unwrap();
        assert!(walk.next().unwrap().is_some() && walk.next().unwrap().is_some());
        assert!(walk.next().unwrap().is_none());
        assert_eq!(walk.spent, Some(Spent::Entries));
        let mut walk = Walk::new(&root, &RelPath::root(), Budget::new(&STOP)).unwrap();
        assert!(matches!(walk.next(), Err(FileError::Cancelled)));
    }
}
