//! Policies: who may do what with which arguments, in Cedar.
//!
//! Promises: nothing is allowed that no policy permits; a `forbid` wins; whatever goes wrong, from
//! a policy that fails to an argument that cannot be compared, is a denial. They are compiled for
//! each action when they are loaded and when a server lists other tools; a call costs one look into
//! a map and the handful of policies that can matter to it. Decides for lists and for calls
//! alike. Knows neither files nor transports, and remembers nothing.

mod call;
mod check;
mod explain;
mod head;
mod names;
mod short;
mod slice;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use smallvec::SmallVec;

use self::{
    call::Typed,
    check::Known,
    names::ActionName,
    slice::{Selection, Slice},
    source::Source,
};
pub use explain::{Explained, Explanation, Fit};

use crate::{
    config::{self, Case, Expect, Finding, Place, PolicyMode},
    domain::{Caller, Kind, Matter, Principal, ServerName, Subject},
};

/// The policies of one generation, as far as the tools are known.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    source: Arc<Source>,
    mode: PolicyMode,
    slices: Arc<HashMap<ActionName, Arc<Slice>>>,
}

/// What a server has, as its catalog lists it.
#[derive(Debug)]
pub struct Offer<'a> {
    pub server: &'a ServerName,
    /// The tools and prompts, each with its definition. `None` before its first list.
    pub listed: Option<Vec<(&'a Subject, &'a Bytes)>>,
    /// Its tools of which the scan found something, where that is to count as risk.
    pub odd: Option<&'a BTreeSet<String>>,
}

/// What the other gates know of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub risk: u8,
    pub taint: Taint,
    /// Somebody has approved this very call.
    pub is_approved: bool,
}

/// Whether its caller has seen text from somewhere that nobody trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taint {
    #[default]
    Clean,
    Tainted,
}

/// One question to the policies.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    caller: &'a Caller,
    server: &'a ServerName,
    subject: &'a Subject,
    method: &'static str,
    arguments: &'a [u8],
    facts: Facts,
}

/// Their answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub allows: bool,
    /// The policies that decided it; none, if nothing allows it.
    pub by: SmallVec<[Arc<str>; 2]>,
    /// Why nobody can say, which denies.
    pub doubt: Option<Doubt>,
}

/// Why policies could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("a policy failed")]
    Failed,
    #[error("a policy does not fit what the server lists now")]
    Invalid,
    #[error("{0} cannot be judged")]
    Unjudged(String),
}

impl<'a> Asked<'a> {
    fn of_case(case: &'a Case, caller: &'a Caller) -> Self {
        let taint = if case.tainted { Taint::Tainted } else { Taint::Clean };
        Self {
            caller,
            server: &case.server,
            subject: &case.subject,
            method: names::method(case.subject.kind()),
            arguments: case.arguments.as_bytes(),
            facts: Facts { risk: case.risk, taint, is_approved: false },
        }
    }
}

impl Decided {
    fn doubtful(doubt: Doubt) -> Self {
        Self { doubt: Some(doubt), ..Self::default() }
    }

    /// Whether it would take other arguments, or any, to say.
    pub fn lacks_arguments(&self) -> bool {
        matches!(self.doubt, Some(Doubt::Unjudged(_)))
    }
}

impl Policies {
    /// Reads what was written; nothing is known of any tool yet.
    pub fn compile(config: &config::Config) -> Result<Self, Vec<Finding>> {
        let enabled = config.servers.iter().map(|server| server.name.clone());
        let servers: Vec<_> = enabled.chain(config.disabled.iter().cloned()).collect();
        let source = Arc::new(Source::read(&config.policies, &servers)?);
        let policies = Self { source, mode: config.gateway.policy_mode, slices: Arc::default() };
        let wrong = policies.run(&config.policies.cases);
        if wrong.is_empty() { Ok(policies) } else { Err(wrong) }
    }

    /// None, and nothing is refused for want of them.
    pub(super) fn unenforced() -> Self {
        Self { mode: PolicyMode::Shadow, ..Self::default() }
    }

    /// The same for what the servers list, and what is wrong with them in view of that.
    #[must_use]
    pub fn bind(&self, offers: &[Offer<'_>]) -> (Self, Vec<Finding>) {
        let (mut slices, mut selections) = (HashMap::new(), HashMap::new());
        for offer in offers {
            let nothing = Bytes::new();
            let resources = ActionName::Resources(offer.server.clone());
            let listed =
                offer.listed.iter().flatten().map(|(subject, definition)| {
                    (ActionName::of(offer.server, subject), *definition)
                });
            for (action, definition) in listed.chain([(resources, &nothing)]) {
                let slice = self.slice(action, definition, &mut selections);
                slices.insert(slice.action.clone(), slice);
            }
        }
        let has_listed = |server: &ServerName| {
            offers.iter().any(|offer| offer.server == server && offer.listed.is_some())
        };
        let is_missing =
            |action: &ActionName| has_listed(action.server()) && !slices.contains_key(action);
        let known = match offers.iter().all(|offer| offer.listed.is_some()) {
            true => Known::All,
            false => Known::Some,
        };
        let mut sorted: Vec<_> = slices.values().map(Arc::as_ref).collect();
        sorted.sort_by(|a: &&Slice, b| a.action.cmp(&b.action));
        let sorted = sorted.into_iter();
        let mut mistakes = check::mistakes(&self.source, sorted, (known, is_missing));
        mistakes.sort_by_key(|mistake| (mistake.file.clone(), mistake.line, mistake.column));
        (Self { slices: Arc::new(slices), ..self.clone() }, mistakes)
    }

    /// As it is, if its definition is the same and so are the policies.
    fn slice(
        &self,
        action: ActionName,
        definition: &Bytes,
        selections: &mut HashMap<Vec<usize>, Arc<Selection>>,
    ) -> Arc<Slice> {
        if let Some(same) = self.slices.get(&action).filter(|old| old.definition == *definition) {
            return same.clone();
        }
        let statements = Selection::of(&self.source, &action);
        let selection = selections.entry(statements);
        let selection = selection.or_insert_with_key(|statements| {
            Arc::new(Selection::compile(&self.source, statements.clone()))
        });
        let typed = Typed::of(&action, definition);
        let mut slice = Slice::new(action, definition.clone(), typed, selection.clone());
        slice.remarks = check::remarks(&self.source, &slice);
        Arc::new(slice)
    }

    /// Whether this principal may know that there is such a thing: whether any call of it could be
    /// allowed.
    pub fn shows(&self, principal: &Principal, server: &ServerName, subject: &Subject) -> bool {
        let is_shown = || {
            let action = ActionName::of(server, subject);
            self.with_slice(action, |slice| slice.shows(&self.source, principal))
        };
        self.mode == PolicyMode::Shadow || is_shown()
    }

    /// What the policies say of it; nothing of what they are not asked about.
    pub(super) fn judge(&self, matter: Matter<'_>, facts: Facts) -> Option<Decided> {
        match matter {
            Matter::Call(call) => Some(self.answer_to(&Asked {
                caller: &call.caller,
                server: &call.server,
                subject: &call.subject,
                method: names::method(call.subject.kind()),
                arguments: &call.arguments,
                facts,
            })),
            Matter::Wish(wish) => Some(self.answer_to(&Asked {
                caller: &wish.caller,
                server: &wish.server,
                subject: &wish.topic.subject(),
                method: "resources/subscribe",
                arguments: b"",
                facts,
            })),
            // They belong to a call that was judged.
            Matter::Questions(_) => None,
        }
    }

    fn answer_to(&self, asked: &Asked<'_>) -> Decided {
        if self.is_empty() {
            return Decided::default();
        }
        let action = ActionName::of(asked.server, asked.subject);
        self.with_slice(action, |slice| match asked.subject.kind() {
            // It was judged when it began, and its arguments are no longer there.
            Kind::Task(_) => {
                let allows = slice.shows(&self.source, &asked.caller.principal);
                Decided { allows, ..Decided::default() }
            }
            Kind::Tool
            | Kind::Prompt
            | Kind::Resource
            | Kind::PromptArgument
            | Kind::TemplateArgument => slice.decide(&self.source, asked),
        })
    }

    /// What no server lists is judged by what is written of it, without types.
    fn with_slice<T>(&self, action: ActionName, judge: impl FnOnce(&Slice) -> T) -> T {
        if let Some(slice) = self.slices.get(&action) {
            return judge(slice);
        }
        let statements = Selection::of(&self.source, &action);
        let selection = Arc::new(Selection::compile(&self.source, statements));
        judge(&Slice::new(action, Bytes::new(), Typed::unknown(), selection))
    }

    /// Whether they refuse anything.
    pub fn mode(&self) -> PolicyMode {
        self.mode
    }

    /// All of them in Cedar, each with its place.
    pub fn texts(&self) -> impl Iterator<Item = (&Place, String)> {
        let text = |one: &source::Statement| one.policy.to_cedar().unwrap_or_default();
        self.source.statements.iter().map(move |one| (&one.place, text(one)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.source.statements.len()
    }

    pub fn is_empty(&self) -> bool {
        self.source.statements.is_empty()
    }

    /// Runs the cases; those that do not come out as written.
    pub fn run(&self, cases: &[Case]) -> Vec<Finding> {
        cases.iter().filter_map(|case| self.run_one(case)).collect()
    }

    fn run_one(&self, case: &Case) -> Option<Finding> {
        let (got, decided) = self.answer(case);
        if got == case.expect {
            return None;
        }
        let (want, got) = (case.expect.as_str(), got.as_str());
        let message = format!("case `{}` expects {want}, and the policies say {got}", case.name);
        Some(case.place.failure(message, why(&decided)))
    }

    /// What a case comes to.
    pub fn answer(&self, case: &Case) -> (Expect, Decided) {
        let enforced = Self { mode: PolicyMode::Enforce, ..self.clone() };
        let caller = case.caller();
        if !enforced.shows(&caller.principal, &case.server, &case.subject) {
            return (Expect::Hidden, Decided::default());
        }
        let decided = enforced.answer_to(&Asked::of_case(case, &caller));
        (if decided.allows { Expect::Allow } else { Expect::Deny }, decided)
    }
}

/// For whoever asks why.
fn why(decided: &Decided) -> String {
    match (&decided.doubt, decided.by.as_slice()) {
        (Some(doubt), []) => doubt.to_string(),
        (Some(doubt), by) => format!("{doubt}: {}", by.join(", ")),
        (None, []) => "no policy permits it".to_owned(),
        (None, by) => format!("decided by {}", by.join(", ")),
    }
}
