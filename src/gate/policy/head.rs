//! Whom and what a policy is about, as its head says.
//!
//! Read once, so that finding the policies of an action, and those of a principal, is comparing
//! strings. Says nothing of conditions.

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use super::names::{ActionName, Type};
use crate::{config::Groups, domain::Principal};

/// The head of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    who: Who,
    what: What,
    server: Where,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Anybody,
    User(String),
    Group(String),
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Anything,
    Only(String),
    /// Each by itself, or all of its group.
    Within(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Where {
    Anywhere,
    At(String),
    Nowhere,
}

impl Head {
    pub(super) fn of(policy: &Policy) -> Self {
        let id = |uid: &EntityUid| uid.id().unescaped().to_owned();
        let user = |uid: &EntityUid| match Type::of(uid) {
            Some(Type::User) => Who::User(id(uid)),
            Some(Type::Group | Type::Server | Type::Action) | None => Who::Nobody,
        };
        let within = |uid: &EntityUid| match Type::of(uid) {
            Some(Type::Group) => Who::Group(id(uid)),
            // Everything is within itself.
            Some(Type::User | Type::Server | Type::Action) | None => user(uid),
        };
        let is = |of: &dyn ToString, wanted: Type| of.to_string() == wanted.as_str();
        let who = match policy.principal_constraint() {
            PrincipalConstraint::Any => Who::Anybody,
            PrincipalConstraint::Eq(uid) => user(&uid),
            PrincipalConstraint::In(uid) => within(&uid),
            PrincipalConstraint::Is(of) if is(&of, Type::User) => Who::Anybody,
            PrincipalConstraint::IsIn(of, uid) if is(&of, Type::User) => within(&uid),
            PrincipalConstraint::Is(_) | PrincipalConstraint::IsIn(..) => Who::Nobody,
        };
        let what = match policy.action_constraint() {
            ActionConstraint::Any => What::Anything,
            ActionConstraint::Eq(uid) => What::Only(id(&uid)),
            ActionConstraint::In(uids) => What::Within(uids.iter().map(id).collect()),
        };
        let at = |uid: &EntityUid| match Type::of(uid) {
            Some(Type::Server) => Where::At(id(uid)),
            Some(Type::User | Type::Group | Type::Action) | None => Where::Nowhere,
        };
        let server = match policy.resource_constraint() {
            ResourceConstraint::Any => Where::Anywhere,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => at(&uid),
            ResourceConstraint::Is(of) if is(&of, Type::Server) => Where::Anywhere,
            ResourceConstraint::IsIn(of, uid) if is(&of, Type::Server) => at(&uid),
            ResourceConstraint::Is(_) | ResourceConstraint::IsIn(..) => Where::Nowhere,
        };
        Self { who, what, server }
    }

    /// Whether it fits this action, of whomever.
    pub(super) fn is_about(&self, action: &ActionName) -> bool {
        let at = match &self.server {
            Where::Anywhere => true,
            Where::At(server) => action.server().as_str() == server,
            Where::Nowhere => false,
        };
        at && match &self.what {
            What::Anything => true,
            What::Only(only) => *only == action.id(),
            What::Within(several) => {
                let id = action.id();
                several.iter().any(|one| *one == id || one == action.group())
            }
        }
    }

    /// Whether it fits this principal, whatever it does.
    pub(super) fn is_for(&self, principal: &Principal, groups: &Groups) -> bool {
        match &self.who {
            Who::Anybody => true,
            Who::User(name) => name == principal.as_str(),
            Who::Group(name) => {
                groups.of(principal.as_str()).contains(name) || principal.groups().contains(name)
            }
            Who::Nobody => false,
        }
    }
}
