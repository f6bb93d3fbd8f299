//! What stands of what a server offers: the comparison with what was approved.
//!
//! Pure: reads neither file nor clock. A definition that is as it was approved stands. Under
//! trust-on-first-use the first list of each kind is taken as approved; afterwards one that differs
//! or is new is held back. Resources are the exception: they come and go with what they hold, so
//! each has a first use of its own. `locked` takes nothing that is not approved.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::warn;

use super::{
    Held, Listed, OddTools, PinRules,
    canonical::{Content, Origin, Stamp, canonical},
    lock::{Section, Sections},
    scan::{Finding, Neighbours, scan},
};
use crate::{
    config::{PinMode, Pinning, ScanMode},
    domain::ServerName,
    wire::List,
};

/// By what one server is judged.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) origin: Origin,
    pub(super) pinning: Pinning,
}

/// One definition as it is listed now.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    pub list: List,
    /// As its server calls it.
    pub name: &'a str,
    /// As applications do.
    pub exposed: &'a str,
    pub stamp: &'a Stamp,
    pub definition: &'a Bytes,
}

/// What a server offers, taken apart.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    pub(super) held: BTreeMap<ServerName, Vec<Held>>,
    /// What is used for the first time.
    pub(super) first: Sections<String>,
    pub(super) odd: OddTools,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Approved,
    /// Its first use, unless something is odd about it.
    First,
    Held(Why),
}

/// Why a definition is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is another than the one that was approved.
    Changed,
    /// It was not there when the server was first used.
    Added,
    /// Only what is in pins.lock may be used.
    NotApproved,
    /// Approved of a server that is reached in another way.
    Moved,
    /// The scan found something at its first use.
    Suspicious,
    /// What is approved is not known, or could not be kept.
    NoLock,
}

impl Why {
    /// The word in status and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Added => "added",
            Self::NotApproved => "not_approved",
            Self::Moved => "moved",
            Self::Suspicious => "suspicious",
            Self::NoLock => "no_lock",
        }
    }
}

/// `section` is what is approved of its server.
pub(super) fn stand(
    section: Option<&Section<Content>>,
    rule: &Rule,
    offered: &Offered<'_>,
) -> Standing {
    let pinned = section.and_then(|section| section.get(offered.list, offered.name));
    let same_way = section.is_some_and(|section| section.reached == rule.origin.reached);
    let was_listed = section.is_some_and(|section| section.lists.contains(&offered.list));
    match (rule.pinning.mode, pinned) {
        (PinMode::Off, _) => Standing::Approved,
        (_, Some(content)) if *content != offered.stamp.content => Standing::Held(Why::Changed),
        (PinMode::Locked, Some(_)) if !same_way => Standing::Held(Why::Moved),
        (PinMode::TrustOnFirstUse | PinMode::Locked, Some(_)) => Standing::Approved,
        (PinMode::Locked, None) => Standing::Held(Why::NotApproved),
        (PinMode::TrustOnFirstUse, None) if was_listed && offered.list != List::Resources => {
            Standing::Held(Why::Added)
        }
        (PinMode::TrustOnFirstUse, None) => Standing::First,
    }
}

impl Rule {
    /// A section without definitions.
    pub(super) fn section(&self) -> Section<String> {
        Section { reached: self.origin.reached.clone(), ..Section::default() }
    }
}

impl Offered<'_> {
    fn held(&self, why: Why, findings: Vec<Finding>, definition: String) -> Held {
        let (list, name, pin) = (self.list, self.name.to_owned(), self.stamp.pin);
        Held { list, name, why, pin, findings, definition }
    }
}

/// Everything that is offered; `index` is what is approved, if that is known.
pub(super) fn sift(
    index: Option<&Sections<Content>>,
    rules: &PinRules,
    offers: &[Listed<'_>],
) -> Sifted {
    let (mut sifted, mut neighbours) = (Sifted::default(), None);
    for offer in offers {
        let Some(rule) = rules.0.get(offer.server) else { continue };
        let section = index.and_then(|index| index.get(offer.server));
        let mut first = rule.section();
        for one in &offer.definitions {
            let standing = match index {
                None if rule.pinning.mode != PinMode::Off => Standing::Held(Why::NoLock),
                Some(_) | None => stand(section, rule, one),
            };
            if standing == Standing::Approved && !rule.weighs(one) {
                continue;
            }
            let text = canonical(one.list, one.name, one.definition);
            let neighbours = neighbours.get_or_insert_with(|| names(offers));
            let findings = rule.look(one, &text, neighbours);
            if rule.weighs(one) && !findings.is_empty() {
                let odd = sifted.odd.entry(offer.server.clone()).or_default();
                odd.insert(one.name.to_owned());
            }
            let why = match standing {
                Standing::Approved => continue,
                Standing::First => rule.suspects(&findings),
                Standing::Held(why) => Some(why),
            };
            match why {
                None => first.take(one.list, one.name, &text),
                Some(why) => {
                    let held = sifted.held.entry(offer.server.clone()).or_default();
                    held.push(one.held(why, findings, text));
                }
            }
        }
        if index.is_some() && rule.pinning.mode == PinMode::TrustOnFirstUse {
            first.lists = offer.lists.iter().copied().collect();
            let is_news = section.is_none_or(|section| !section.has_all_of(&first));
            sifted.first.extend(is_news.then(|| (offer.server.clone(), first)));
        }
    }
    sifted
}

/// What could not be kept is held back as well.
pub(super) fn hold_first(sifted: &mut Sifted, offers: &[Listed<'_>]) {
    let first = std::mem::take(&mut sifted.first);
    for offer in offers {
        let Some(section) = first.get(offer.server) else { continue };
        for one in &offer.definitions {
            if let Some(text) = section.get(one.list, one.name) {
                let held = sifted.held.entry(offer.server.clone()).or_default();
                held.push(one.held(Why::NoLock, Vec::new(), text.clone()));
            }
        }
    }
}

fn names<'a>(offers: &[Listed<'a>]) -> Neighbours<'a> {
    let mut neighbours = Neighbours::default();
    for offer in offers {
        let tools = offer.definitions.iter().filter(|one| one.list == List::Tools);
        tools.for_each(|tool| neighbours.add(offer.server, tool.name, tool.exposed));
    }
    neighbours
}

impl Rule {
    fn look(&self, one: &Offered<'_>, text: &str, neighbours: &Neighbours<'_>) -> Vec<Finding> {
        if self.pinning.scan == ScanMode::Off {
            return Vec::new();
        }
        let tool = (one.list == List::Tools).then_some(one.name);
        let mut findings = scan(text);
        findings.extend(neighbours.scan(&self.origin.server, tool, text));
        findings
    }

    /// Whether findings count whenever it is used. What is no tool brings nothing about.
    fn weighs(&self, one: &Offered<'_>) -> bool {
        self.pinning.scan == ScanMode::Risk && one.list == List::Tools
    }

    /// Whether findings keep a definition from being taken at its first use.
    fn suspects(&self, findings: &[Finding]) -> Option<Why> {
        if findings.is_empty() {
            return None;
        }
        match self.pinning.scan {
            ScanMode::Quarantine => Some(Why::Suspicious),
            ScanMode::Off => None,
            ScanMode::Warn | ScanMode::Risk => {
                let server = &self.origin.server;
                warn!(server.id = %server, ?findings, "A definition is pinned although it is odd");
                None
            }
        }
    }
}
