//! The policies as they were written, parsed, with the place of each.
//!
//! Cedar files and the rules of TOML files become one list of statements. What can be known
//! without any tool is checked here: syntax, names of servers, groups and actions. A mistake in one
//! of them refuses them all.

use std::{collections::BTreeSet, str::FromStr as _, sync::Arc};

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet};
use miette::Diagnostic;

use super::{
    call::Mentions,
    head::Head,
    names::{ActionName, GROUPS, Type},
    short,
};
use crate::{
    config::{Finding, Groups, Paper, Place, Policies as Papers},
    domain::{Principal, ServerName},
};

/// One policy.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) policy: Policy,
    /// The same for any action of any server: what Cedar is asked once it is found by its head.
    pub(super) lean: Policy,
    /// Its `@id`, or where it stands.
    pub(super) name: Arc<str>,
    /// Both, for the record.
    pub(super) label: Arc<str>,
    pub(super) place: Place,
    pub(super) head: Head,
    pub(super) mentions: Mentions,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) statements: Vec<Statement>,
    pub(super) groups: Groups,
}

impl Statement {
    fn new(n: usize, policy: &Policy, place: Place) -> Self {
        let json = policy.to_json().unwrap_or_default();
        let (id, at) = (policy.annotation("id").filter(|id| !id.is_empty()), place.to_string());
        let (name, label): (Arc<str>, Arc<str>) = match id {
            Some(id) => (id.into(), format!("{id} {at}").into()),
            None => (at.as_str().into(), at.into()),
        };
        let policy = policy.new_id(PolicyId::new(n.to_string()));
        let (head, mentions) = (Head::of(&policy), Mentions::of(&json));
        let lean = without_place(&policy, json);
        Self { policy, lean, name, label, place, head, mentions }
    }

    pub(super) fn mistake(&self, message: impl Into<String>, help: &str) -> Finding {
        self.place.mistake(message, help)
    }

    pub(super) fn allows(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }

    /// Whether there is nothing about the call itself that it asks for.
    pub(super) fn is_bare(&self) -> bool {
        !self.policy.has_non_scope_constraint()
    }

    /// Whether its place is the place of its text.
    pub(super) fn is_cedar(&self) -> bool {
        self.place.paper.path.extension().is_some_and(|ending| ending == "cedar")
    }

    /// The actions that it names, in its head or anywhere else.
    pub(super) fn actions(&self) -> BTreeSet<String> {
        let literals = self.policy.entity_literals();
        let actions = literals.iter().filter(|uid| Type::of(uid) == Some(Type::Action));
        actions.map(|uid| uid.id().unescaped().to_owned()).collect()
    }
}

/// As it was, if that cannot be said.
fn without_place(policy: &Policy, mut json: serde_json::Value) -> Policy {
    for part in ["action", "resource"] {
        if let Some(whole) = json.as_object_mut() {
            whole.insert(part.to_owned(), serde_json::json!({ "op": "All" }));
        }
    }
    let lean = Policy::from_json(Some(policy.id().clone()), json);
    lean.unwrap_or_else(|_| policy.clone())
}

impl Source {
    /// Parses everything; all mistakes at once.
    pub(super) fn read(papers: &Papers, servers: &[ServerName]) -> Result<Self, Vec<Finding>> {
        let (mut source, mut mistakes) = (Self::default(), Vec::new());
        source.groups = papers.groups.clone();
        for paper in &papers.cedar {
            match parse(paper) {
                Ok(policies) => {
                    for (policy, place) in policies {
                        source.add(&policy, place);
                    }
                }
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        for rule in &papers.rules {
            for text in short::cedar(rule) {
                match Policy::parse(None, &text) {
                    Ok(policy) => source.add(&policy, rule.place.clone()),
                    Err(error) => {
                        let message = format!("this rule is no policy: {error}");
                        mistakes.push(rule.place.mistake(message, "look at `when`"));
                    }
                }
            }
        }
        mistakes.extend(source.unknown(servers));
        mistakes.extend(source.twice());
        if mistakes.is_empty() { Ok(source) } else { Err(mistakes) }
    }

    fn add(&mut self, policy: &Policy, place: Place) {
        self.statements.push(Statement::new(self.statements.len(), policy, place));
    }

    /// Names of things that are not there.
    fn unknown(&self, servers: &[ServerName]) -> Vec<Finding> {
        let mut mistakes = Vec::new();
        for statement in &self.statements {
            let mut told = BTreeSet::new();
            for uid in statement.policy.entity_literals() {
                let problem = self.problem(&uid, servers);
                if let Some((message, help)) = problem
                    && told.insert(message.clone())
                {
                    mistakes.push(statement.mistake(message, &help));
                }
            }
        }
        mistakes
    }

    fn problem(&self, uid: &EntityUid, servers: &[ServerName]) -> Option<(String, String)> {
        let id = uid.id().unescaped();
        let is_server = |name: &str| servers.iter().any(|server| server.as_str() == name);
        let known = || {
            let names: Vec<_> = servers.iter().map(ServerName::as_str).collect();
            format!("the servers are {}", names.join(", "))
        };
        match Type::of(uid) {
            None => {
                let types = Type::ALL.map(Type::as_str).join(", ");
                Some((
                    format!("`{uid}` is of a type that does not exist"),
                    format!("the types are {types}"),
                ))
            }
            Some(Type::User) => None,
            Some(Type::Group) => {
                let names = self.groups.names();
                let is_known = names.iter().any(|name| name == id) || Principal::is_scope_group(id);
                (!is_known).then(|| {
                    let help = "write it in groups.toml, with `[]` if only keys or tokens name it";
                    (format!("there is no group `{id}`"), help.to_owned())
                })
            }
            Some(Type::Server) => {
                (!is_server(id)).then(|| (format!("there is no server `{id}`"), known()))
            }
            Some(Type::Action) if GROUPS.contains(&id) => None,
            Some(Type::Action) => match ActionName::parse(id) {
                None => {
                    let help = "write server/tool, prompt:server/name, resources:server, or one of the groups tools, prompts, resources";
                    Some((format!("`{id}` is no action"), help.to_owned()))
                }
                Some(action) => (!is_server(action.server().as_str()))
                    .then(|| (format!("there is no server `{}`", action.server()), known())),
            },
        }
    }

    /// Two policies with one name could not be told apart in the audit.
    fn twice(&self) -> Vec<Finding> {
        let (mut seen, mut mistakes) = (BTreeSet::new(), Vec::new());
        for statement in &self.statements {
            let is_own = statement.policy.annotation("id").is_some();
            let place = (&statement.place.paper.path, statement.place.span.start);
            // A rule in TOML may become several policies.
            let again = seen.iter().any(|(name, at)| *name == &*statement.name && *at != place);
            if is_own && again {
                let message = format!("another policy is called `{}`", statement.name);
                mistakes.push(statement.mistake(message, "give it a name of its own"));
            }
            seen.insert((&*statement.name, place));
        }
        mistakes
    }
}

fn parse(paper: &Arc<Paper>) -> Result<Vec<(Policy, Place)>, Vec<Finding>> {
    let place = |span| Place { paper: paper.clone(), span };
    let set = PolicySet::from_str(&paper.text).map_err(|errors| {
        let finding = |error: &dyn Diagnostic| {
            let help = error.help().map(|help| help.to_string()).unwrap_or_default();
            place(span_of(error).unwrap_or_default()).mistake(error.to_string(), help)
        };
        errors.iter().map(|error| finding(error)).collect::<Vec<_>>()
    })?;
    if let Some(template) = set.templates().next() {
        let message = format!("`{}` is a template, and nothing fills it", template.id());
        let help = "write principal and resource out";
        return Err(vec![place(0..0).mistake(message, help)]);
    }
    // They are numbered as they stand in the file.
    let mut policies: Vec<_> = set.policies().cloned().collect();
    let number = |policy: &Policy| {
        policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or_default()
    };
    policies.sort_by_key(number);
    let mut from = 0;
    let placed = policies.into_iter().map(|policy| {
        let text = policy.to_cedar().unwrap_or_default();
        let rest = paper.text.get(from..).unwrap_or_default();
        let start = from + rest.find(&text).unwrap_or_default();
        from = start + text.len();
        let span = start..from;
        (policy, place(span))
    });
    Ok(placed.collect())
}

/// Where in its file a mistake that Cedar found stands.
pub(super) fn span_of(error: &dyn Diagnostic) -> Option<std::ops::Range<usize>> {
    let label = error.labels()?.next()?;
    Some(label.offset()..label.offset() + label.len())
}
