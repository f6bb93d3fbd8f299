//! The whitelist: which tools exist for applications at all.
//!
//! One decision for listing and for calling, so that a hidden tool is never callable and a listed
//! one never hidden. A server that the policy does not know lists nothing. Pure and immutable:
//! a reload compiles a new one.

use std::collections::{HashMap, HashSet};

use crate::domain::{ServerName, ToolName};

/// The compiled whitelist of one generation.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    servers: HashMap<ServerName, Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `None`: every tool, except the disabled ones.
    enabled: Option<HashSet<Box<str>>>,
    disabled: HashSet<Box<str>>,
}

/// One server's entry: enabled names (`None` = all) and disabled names. Disabled wins.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    pub server: &'a ServerName,
    pub enabled: Option<&'a std::collections::BTreeSet<String>>,
    pub disabled: &'a std::collections::BTreeSet<String>,
}

impl Policy {
    pub fn from_listings<'a>(listings: impl IntoIterator<Item = Listing<'a>>) -> Self {
        let boxed = |names: &std::collections::BTreeSet<String>| {
            names.iter().map(|name| name.as_str().into()).collect()
        };
        let rule = |l: Listing<'a>| {
            let rule = Rule { enabled: l.enabled.map(boxed), disabled: boxed(l.disabled) };
            (l.server.clone(), rule)
        };
        Self { servers: listings.into_iter().map(rule).collect() }
    }

    /// Whether applications may see and call this tool.
    pub fn listed(&self, server: &ServerName, tool: &ToolName) -> bool {
        self.servers.get(server).is_some_and(|rule| {
            !rule.disabled.contains(tool.as_str())
                && rule.enabled.as_ref().is_none_or(|names| names.contains(tool.as_str()))
        })
    }
}
