//! What one call sees of the configuration: one value, loaded once per call.
//!
//! The `Publisher` is its sole writer. A call that has begun keeps the edition it began with,
//! however often a new one is published meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::tasks::Handle;
use crate::{
    domain::{Generation, Kind},
    fleet::{Edition, Resolved},
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
    /// For those who must wake when what applications see has changed.
    relisted: watch::Sender<Relisted>,
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
        let (rules, catalog, roster) = (Arc::default(), Arc::default(), Arc::default());
        let nothing = Edition { generation: Generation(0), rules, roster, catalog };
        let current = ArcSwap::from_pointee(nothing);
        Arc::new(Self { current, relisted: watch::Sender::default() })
    }

    pub(super) fn load(&self) -> Arc<Edition> {
        self.current.load_full()
    }

    /// Wakes when a list that applications see has changed.
    pub(super) fn relisted(&self) -> watch::Receiver<Relisted> {
        self.relisted.subscribe()
    }

    #[cfg(test)]
    pub(super) fn pretend_relisted(&self) {
        self.relisted.send_modify(|now| now.tools += 1);
    }

    /// Publishes what follows. Called by the fleet's one keeper.
    pub fn publish(&self, edition: Edition) {
        let old = self.current.load_full();
        let changed = |list| u64::from(!old.catalog.lists_the_same(&edition.catalog, list));
        let (tools, prompts) = (changed(List::Tools), changed(List::Prompts));
        let resources = changed(List::Resources) | changed(List::Templates);
        self.current.store(Arc::new(edition));
        self.relisted.send_if_modified(|now| {
            now.tools = now.tools.wrapping_add(tools);
            now.prompts = now.prompts.wrapping_add(prompts);
            now.resources = now.resources.wrapping_add(resources);
            tools + prompts + resources > 0
        });
    }
}
