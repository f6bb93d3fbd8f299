//! What one call sees of the configuration: one value, loaded once per call.
//!
//! The `Publisher` is its sole writer. A call that has begun keeps the edition it began with,
//! however often a new one is published meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::tasks::Handle;
use crate::{
    domain::{Generation, Kind, Principal, Rights, limits::RELISTED_PRINCIPALS_MAX},
    fleet::{Edition, Resolved, View},
    wire::List,
};

/// What a caller's name, URI or id means; a task, if that is one, was found by its id.
pub(super) fn resolve<'a>(
    edition: &'a Edition,
    (kind, name): (Kind, &str),
    task: Option<&'a Handle>,
) -> Option<Resolved<'a>> {
    let Kind::Task(step) = kind else { return edition.catalog.resolve(kind, name) };
    task.map(|task| task.resolved(step))
}

/// Publishes editions; readers pay one atomic load.
#[derive(Debug)]
pub struct Publisher {
    current: ArcSwap<Edition>,
    /// For those who must wake when what they see has changed, by what they may see. A sender is
    /// kept for good: whoever comes back compares with what it saw then.
    relisted: Mutex<HashMap<Rights, watch::Sender<Relisted>>>,
    /// For more principals than are told apart.
    anything: watch::Sender<Relisted>,
}

/// How often each of the visible lists has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Relisted {
    tools: u64,
    prompts: u64,
    /// Resources and templates together: one notification is for both.
    resources: u64,
}

impl Relisted {
    fn tell(whom: &watch::Sender<Self>, old: &View, new: &View) {
        let changed = |list| u64::from(!old.lists_the_same(new, list));
        let (tools, prompts) = (changed(List::Tools), changed(List::Prompts));
        let resources = changed(List::Resources) | changed(List::Templates);
        whom.send_if_modified(|now| {
            now.tools = now.tools.wrapping_add(tools);
            now.prompts = now.prompts.wrapping_add(prompts);
            now.resources = now.resources.wrapping_add(resources);
            tools + prompts + resources > 0
        });
    }

    /// The notifications for whoever saw the lists when they were `seen`.
    pub(super) fn news(self, seen: Self) -> impl Iterator<Item = &'static str> {
        [
            (self.tools, seen.tools, "notifications/tools/list_changed"),
            (self.prompts, seen.prompts, "notifications/prompts/list_changed"),
            (self.resources, seen.resources, "notifications/resources/list_changed"),
        ]
        .into_iter()
        .filter_map(|(now, then, method)| (now != then).then_some(method))
    }
}

impl Publisher {
    /// Begins with nothing at all.
    pub fn new() -> Arc<Self> {
        let (rules, roster, catalog) = Default::default();
        let nothing = Edition::new(Generation(0), rules, roster, catalog);
        let (relisted, anything) = Default::default();
        Arc::new(Self { current: ArcSwap::from_pointee(nothing), relisted, anything })
    }

    pub(super) fn load(&self) -> Arc<Edition> {
        self.current.load_full()
    }

    /// Wakes when a list that this principal sees has changed.
    pub(super) fn relisted(&self, principal: &Principal) -> watch::Receiver<Relisted> {
        let (mut relisted, rights) = (self.senders(), principal.rights());
        if relisted.len() >= RELISTED_PRINCIPALS_MAX && !relisted.contains_key(&rights) {
            return self.anything.subscribe();
        }
        relisted.entry(rights).or_default().subscribe()
    }

    #[cfg(test)]
    pub(super) fn pretend_relisted(&self) {
        self.senders().values().for_each(|one| one.send_modify(|now| now.tools += 1));
    }

    /// Publishes what follows. Called by the fleet's one keeper.
    pub fn publish(&self, edition: Edition) {
        // Nobody can ask for lists in between whom nobody would tell of the change.
        let relisted = self.senders();
        let new = Arc::new(edition);
        let old = self.current.swap(new.clone());
        for (rights, sender) in relisted.iter() {
            let principal = rights.principal();
            Relisted::tell(sender, &old.view(principal), &new.view(principal));
        }
        Relisted::tell(&self.anything, old.catalog.everything(), new.catalog.everything());
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<Rights, watch::Sender<Relisted>>> {
        self.relisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
