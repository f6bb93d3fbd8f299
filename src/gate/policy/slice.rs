//! The policies that can matter to one action, compiled for it.
//!
//! Cedar walks through all policies that it is given, so it is given few. Whatever goes wrong is a
//! denial: Cedar itself skips a policy that fails, and a `forbid` that fails would be none.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use cedar_policy::{
    Authorizer, Decision, Entities, Entity, EntityUid, PolicySet, Request, Response,
};
use smallvec::SmallVec;

use super::{
    Asked, Decided, Doubt,
    call::{Mentions, Typed},
    check::Remark,
    names::{ActionName, Type},
    source::{Source, Statement},
};
use crate::domain::{Principal, Rights, limits::POLICY_WORLDS_MAX};

/// What one action is judged by.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) action: ActionName,
    /// What its types were read from.
    pub(super) definition: Bytes,
    pub(super) typed: Typed,
    pub(super) selection: Arc<Selection>,
    /// What the validator says of its policies.
    pub(super) remarks: Vec<Remark>,
    /// The entities that a call of each principal is about, by all that they are made of.
    worlds: Mutex<HashMap<Rights, Arc<World>>>,
}

/// Some of the policies. Slices that have the same share them.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) statements: Vec<usize>,
    /// As they were written.
    pub(super) set: PolicySet,
    /// The same without what their heads say of the action and its server, which is how they were
    /// found: Cedar would compare it for each of them, at each call.
    lean: PolicySet,
    pub(super) mentions: Mentions,
    /// None of them has a condition: their heads say it all.
    pub(super) are_bare: bool,
}

#[derive(Debug)]
struct World {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    entities: Entities,
}

impl Selection {
    /// Those whose head fits the action.
    pub(super) fn of(source: &Source, action: &ActionName) -> Vec<usize> {
        let numbered = source.statements.iter().enumerate();
        let about = numbered.filter(|(_, statement)| statement.head.is_about(action));
        about.map(|(n, _)| n).collect()
    }

    pub(super) fn compile(source: &Source, statements: Vec<usize>) -> Self {
        let (mut mentions, mut policies) = (Mentions::default(), Vec::new());
        let (mut are_bare, mut lean) = (true, Vec::new());
        for statement in statements.iter().filter_map(|n| source.statements.get(*n)) {
            mentions.join(&statement.mentions);
            are_bare &= statement.is_bare();
            policies.push(statement.policy.clone());
            lean.push(statement.lean.clone());
        }
        // Their names are numbers, each once.
        let set = PolicySet::from_policies(policies).unwrap_or_default();
        let lean = PolicySet::from_policies(lean).unwrap_or_default();
        Self { statements, set, lean, mentions, are_bare }
    }
}

impl Slice {
    pub(super) fn new(
        action: ActionName,
        definition: Bytes,
        typed: Typed,
        selection: Arc<Selection>,
    ) -> Self {
        let (remarks, worlds) = (Vec::new(), Mutex::default());
        Self { action, definition, typed, selection, remarks, worlds }
    }

    pub(super) fn statements<'s>(&self, source: &'s Source) -> impl Iterator<Item = &'s Statement> {
        self.selection.statements.iter().filter_map(|n| source.statements.get(*n))
    }

    /// Whether there is a call of this principal that would be allowed, as far as the heads of the
    /// policies say.
    pub(super) fn shows(&self, source: &Source, principal: &Principal) -> bool {
        let is_for = |one: &&Statement| one.head.is_for(principal, &source.groups);
        let mut fitting = self.statements(source).filter(is_for);
        let mut is_allowed = false;
        let is_forbidden = fitting.any(|one| {
            is_allowed |= one.allows();
            !one.allows() && one.is_bare()
        });
        is_allowed && !is_forbidden
    }

    pub(super) fn decide(&self, source: &Source, asked: &Asked<'_>) -> Decided {
        if self.remarks.iter().any(|remark| remark.is_wrong()) {
            return Decided::doubtful(Doubt::Invalid);
        }
        if self.selection.are_bare {
            return self.by_heads(source, &asked.caller.principal);
        }
        self.by_cedar(source, asked)
    }

    pub(super) fn by_cedar(&self, source: &Source, asked: &Asked<'_>) -> Decided {
        self.by(source, asked, &self.selection.lean)
    }

    pub(super) fn by(&self, source: &Source, asked: &Asked<'_>, set: &PolicySet) -> Decided {
        match self.ask(source, asked, (set, &self.selection.mentions)) {
            Ok(response) => read(source, &response),
            Err(doubt) => Decided::doubtful(doubt),
        }
    }

    /// The same where no policy has a condition, which is nothing that Cedar is needed for.
    pub(super) fn by_heads(&self, source: &Source, principal: &Principal) -> Decided {
        let fitting = || {
            let is_for = |one: &&Statement| one.head.is_for(principal, &source.groups);
            self.statements(source).filter(is_for)
        };
        let is_forbidden = fitting().any(|one| !one.allows());
        let decisive = fitting().filter(|one| one.allows() != is_forbidden);
        let mut by: SmallVec<[Arc<str>; 2]> = decisive.map(|one| one.label.clone()).collect();
        by.sort();
        Decided { allows: !is_forbidden && !by.is_empty(), by, doubt: None }
    }

    /// What some policies say of a call of this action.
    pub(super) fn ask(
        &self,
        source: &Source,
        asked: &Asked<'_>,
        (set, mentions): (&PolicySet, &Mentions),
    ) -> Result<Response, Doubt> {
        let context = self.typed.context(asked, mentions);
        let context = context.map_err(|unjudged| Doubt::Unjudged(unjudged.0))?;
        let world = self.world(source, &asked.caller.principal).ok_or(Doubt::Invalid)?;
        let (principal, action) = (world.principal.clone(), world.action.clone());
        let request = Request::new(principal, action, world.resource.clone(), context, None);
        let request = request.map_err(|_| Doubt::Invalid)?;
        Ok(Authorizer::new().is_authorized(&request, set, &world.entities))
    }

    /// Made once for each; of so many, that is.
    fn world(&self, source: &Source, principal: &Principal) -> Option<Arc<World>> {
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        let rights = principal.rights();
        if let Some(world) = worlds.get(&rights) {
            return Some(world.clone());
        }
        let world = Arc::new(World::of(source, &self.action, principal)?);
        if worlds.len() >= POLICY_WORLDS_MAX {
            worlds.clear();
        }
        worlds.insert(rights, world.clone());
        Some(world)
    }
}

impl World {
    fn of(source: &Source, action: &ActionName, principal: &Principal) -> Option<Self> {
        let groups = source.groups.of(principal.as_str()).iter().chain(principal.groups());
        let groups: BTreeSet<_> = groups.collect();
        let groups: Option<Vec<_>> = groups.into_iter().map(|name| Type::Group.uid(name)).collect();
        let group = Type::Action.uid(action.group())?;
        let world = Self {
            principal: Type::User.uid(principal.as_str())?,
            action: Type::Action.uid(&action.id())?,
            resource: Type::Server.uid(action.server().as_str())?,
            entities: Entities::empty(),
        };
        let plain = |uid: &EntityUid| Entity::new_no_attrs(uid.clone(), Default::default());
        let groups = groups?;
        let mut entities: Vec<_> = groups.iter().map(plain).collect();
        entities.extend([plain(&group), plain(&world.resource)]);
        entities.push(Entity::new_no_attrs(world.action.clone(), [group].into()));
        let parents = groups.into_iter().collect();
        entities.push(Entity::new_no_attrs(world.principal.clone(), parents));
        let entities = Entities::from_entities(entities, None).ok()?;
        Some(Self { entities, ..world })
    }
}

fn read(source: &Source, response: &Response) -> Decided {
    let name = |id: &cedar_policy::PolicyId| {
        let n = AsRef::<str>::as_ref(id).parse::<usize>().ok()?;
        source.statements.get(n).map(|statement| statement.label.clone())
    };
    let mut by: SmallVec<[Arc<str>; 2]> =
        response.diagnostics().reason().filter_map(name).collect();
    by.sort();
    let mut failed = response.diagnostics().errors().map(|error| match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(error) => name(error.policy_id()),
    });
    if let Some(failed) = failed.next() {
        by = failed.into_iter().collect();
        return Decided { by, doubt: Some(Doubt::Failed), ..Decided::default() };
    }
    Decided { allows: response.decision() == Decision::Allow, by, doubt: None }
}
