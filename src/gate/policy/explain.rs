//! Why the policies say what they say, for people.
//!
//! Asks each policy of a call's slice by itself. Changes and decides nothing.

use cedar_policy::{Decision, PolicySet};

use super::{Asked, Decided, Policies, names::ActionName, slice::Slice, source::Statement};
use crate::config::{Case, Expect, Place};

/// An answer with its reasons.
#[derive(Debug)]
pub struct Explanation {
    pub says: Expect,
    pub decided: Decided,
    /// Every policy about such a call, in the order of the files.
    pub policies: Vec<Explained>,
}

/// One policy, and what it has to do with the call.
#[derive(Debug)]
pub struct Explained {
    pub name: String,
    pub place: Place,
    pub is_permit: bool,
    pub fits: Fit,
}

/// How a policy fits a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It holds.
    Holds,
    /// It is for others.
    OtherPrincipal,
    /// Its conditions do not hold.
    Conditions,
    /// It cannot be said: it fails, or looks at what cannot be judged.
    Fails,
}

impl Fit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::OtherPrincipal => "is for other principals",
            Self::Conditions => "its conditions do not hold",
            Self::Fails => "cannot be judged",
        }
    }
}

impl Policies {
    /// Why a call comes to what it comes to.
    pub fn explain(&self, case: &Case) -> Explanation {
        let (says, decided) = self.answer(case);
        let action = ActionName::of(&case.server, &case.subject);
        let policies = self.with_slice(action, |slice| {
            let about = slice.statements(&self.source);
            about.map(|one| self.explain_one(case, slice, one)).collect()
        });
        Explanation { says, decided, policies }
    }

    fn explain_one(&self, case: &Case, slice: &Slice, statement: &Statement) -> Explained {
        let caller = case.caller();
        let fits = if statement.head.is_for(&caller.principal, &self.source.groups) {
            self.fit(&Asked::of_case(case, &caller), slice, statement)
        } else {
            Fit::OtherPrincipal
        };
        Explained {
            name: statement.name.to_string(),
            place: statement.place.clone(),
            is_permit: statement.allows(),
            fits,
        }
    }

    /// Alone and as if it were a permit, it is its head and its conditions that decide.
    fn fit(&self, asked: &Asked<'_>, slice: &Slice, statement: &Statement) -> Fit {
        let Ok(set) = PolicySet::from_policies([statement.policy.clone()]) else {
            return Fit::Fails;
        };
        let Ok(response) = slice.ask(&self.source, asked, (&set, &statement.mentions)) else {
            return Fit::Fails;
        };
        if response.diagnostics().errors().next().is_some() {
            return Fit::Fails;
        }
        let is_named = response.diagnostics().reason().next().is_some();
        debug_assert!(is_named || response.decision() == Decision::Deny);
        if is_named { Fit::Holds } else { Fit::Conditions }
    }
}
