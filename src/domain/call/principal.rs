//! Who calls, as far as authentication knows, and what that gives a right to.
//!
//! Two principals are the same when they have the same name: sessions, rates, stops and approvals
//! go by it. What somebody may see and do goes by the name and the groups together, which is a
//! `Rights`: one person may come with a token for more and with one for less.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// On whose behalf a call is made.
#[derive(Clone)]
pub struct Principal(Arc<Identity>);

struct Identity {
    name: String,
    /// Those that the proof came with, in order, each once. What files add is not among them.
    groups: Vec<String>,
}

/// A principal with exactly these groups: the key of whatever is kept of what one may see and do.
#[derive(Clone, Debug)]
pub struct Rights(Principal);

impl Principal {
    /// Somebody of whom nothing is known but the name.
    pub fn new(name: &str) -> Self {
        Self::in_groups(name, [])
    }

    pub fn in_groups(name: &str, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort();
        groups.dedup();
        Self(Arc::new(Identity { name: name.to_owned(), groups }))
    }

    /// The group of all who have a scope.
    pub fn scope_group(scope: &str) -> String {
        format!("{SCOPE}{scope}")
    }

    /// Whether a group of that name is one of all who have a scope.
    pub fn is_scope_group(name: &str) -> bool {
        name.strip_prefix(SCOPE).is_some_and(|scope| !scope.is_empty())
    }

    pub fn as_str(&self) -> &str {
        &self.0.name
    }

    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    pub fn rights(&self) -> Rights {
        Rights(self.clone())
    }
}

/// No group of `groups.toml` begins so.
const SCOPE: &str = "scope:";

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.name == other.0.name
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.name)
    }
}

impl Rights {
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

impl PartialEq for Rights {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && self.0.groups() == other.0.groups()
    }
}

impl Eq for Rights {}

impl Hash for Rights {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.0.groups().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::Principal;

    #[test]
    fn the_same_one_with_other_groups_has_another_rights() {
        let of = |groups: &[&str]| {
            Principal::in_groups("ann", groups.iter().map(|one| (*one).to_owned()))
        };
        let (few, many) = (of(&["a"]), of(&["b", "a", "b"]));
        assert_eq!(few, many);
        assert_ne!(few.rights(), many.rights());
        assert_eq!(many.rights(), of(&["a", "b"]).rights());
        assert_ne!(of(&["a"]), Principal::new("bob"));
    }

    #[test]
    fn a_scope_is_a_group_that_nobody_else_can_give() {
        assert!(Principal::is_scope_group(&Principal::scope_group("mcp:call")));
        assert!(!Principal::is_scope_group("scope:") && !Principal::is_scope_group("editors"));
    }
}
