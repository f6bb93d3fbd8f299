//! The whitelist: which tools, prompts and resources exist for applications at all.
//!
//! One decision for listing and for calling, so that a hidden tool is never callable and a listed
//! one never hidden. Tools are chosen by name; prompts and resources come with their server. A
//! server that it does not know lists nothing. Pure and immutable: a reload compiles a new
//! one.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    config::{ServerConfig, ToolFilter},
    domain::{ServerName, Subject, ToolName},
};

/// The compiled whitelist of one generation.
#[derive(Clone, Debug, Default)]
pub struct Whitelist {
    servers: HashMap<ServerName, Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `None`: every tool, except the disabled ones.
    enabled: Option<HashSet<Box<str>>>,
    disabled: HashSet<Box<str>>,
}

impl Whitelist {
    pub fn compile(servers: &[ServerConfig]) -> Self {
        Self::from_filters(servers.iter().map(|server| (&server.name, &server.filter)))
    }

    pub fn from_filters<'a>(
        filters: impl IntoIterator<Item = (&'a ServerName, &'a ToolFilter)>,
    ) -> Self {
        let boxed = |names: &BTreeSet<String>| names.iter().map(|n| n.as_str().into()).collect();
        let rule = |(server, filter): (&ServerName, &ToolFilter)| {
            let enabled = filter.enabled.as_ref().map(boxed);
            (server.clone(), Rule { enabled, disabled: boxed(&filter.disabled) })
        };
        Self { servers: filters.into_iter().map(rule).collect() }
    }

    /// Whether applications may see and call this.
    pub fn listed(&self, server: &ServerName, subject: &Subject) -> bool {
        self.servers.get(server).is_some_and(|rule| match subject {
            Subject::Tool(tool) => rule.lists(tool),
            // Whoever may not call a tool has no business with what it does.
            Subject::Task(_, task) => rule.lists(&task.tool),
            Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_) => true,
        })
    }
}

impl Rule {
    fn lists(&self, tool: &ToolName) -> bool {
        !self.disabled.contains(tool.as_str())
            && self.enabled.as_ref().is_none_or(|names| names.contains(tool.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::{ServerName, Subject, ToolFilter, ToolName, Whitelist};
    use crate::domain::{CallIds, Kind, Nonce, Task, TaskId, TaskStep};

    #[track_caller]
    fn check(enabled: Option<&[&str]>, disabled: &[&str], name: &str, want: &str) {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let filter = ToolFilter { enabled: enabled.map(owned), disabled: owned(disabled) };
        let server = ServerName::parse("files").unwrap();
        let whitelist = Whitelist::from_filters([(&server, &filter)]);
        let tool = Subject::parse(Kind::Tool, name).unwrap();
        let listed = whitelist.listed(&server, &tool);
        assert_eq!(if listed { "listed" } else { "hidden" }, want);
        let id = TaskId::parse("t").unwrap();
        let begun_by = CallIds::new(Nonce(1)).next(1);
        let task = Task {
            tool: ToolName::parse(name).unwrap(),
            id,
            begun_by,
            at: crate::domain::ReplicaNo(0),
        };
        let task = Subject::Task(TaskStep::Get, task.into());
        assert_eq!(whitelist.listed(&server, &task), listed, "its tasks are as hidden as the tool");
        let other = ServerName::parse("other").unwrap();
        assert!(!whitelist.listed(&other, &tool));
        for kind in [Kind::Prompt, Kind::Resource, Kind::PromptArgument, Kind::TemplateArgument] {
            let subject = Subject::parse(kind, "read").unwrap();
            assert!(whitelist.listed(&server, &subject) && !whitelist.listed(&other, &subject));
        }
    }

    #[test]
    fn only_what_is_enabled_and_not_disabled_is_listed() {
        check(None, &[], "read", "listed");
        check(None, &["delete"], "delete", "hidden");
        check(Some(&["read"]), &[], "read", "listed");
        check(Some(&["read"]), &[], "delete", "hidden");
        check(Some(&["read"]), &["read"], "read", "hidden");
        check(Some(&[]), &[], "read", "hidden");
    }

    #[test]
    fn names_are_compared_byte_by_byte() {
        check(Some(&["read"]), &[], "Read", "hidden");
        check(Some(&["read"]), &[], "read ", "hidden");
        check(None, &["delete"], "Delete", "listed");
    }
}
