//! How servers, tools and principals are called in Cedar.
//!
//! `Gw::User` is a principal, `Gw::Group` what `groups.toml` names, `Gw::Server` a server, and a
//! `Gw::Action` is `server/tool`, `prompt:server/name` or `resources:server`. Every action is in
//! one group of its kind: `tools`, `prompts` or `resources`.

use std::str::FromStr as _;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::domain::{Kind, PromptName, ServerName, Subject, ToolName};

pub(super) const NAMESPACE: &str = "Gw";

/// What policies can be about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ActionName {
    Tool(ServerName, ToolName),
    Prompt(ServerName, PromptName),
    /// All that a server has: which one it is stands in `context.uri`.
    Resources(ServerName),
}

/// The types of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    User,
    Group,
    Server,
    Action,
}

impl Type {
    pub(super) const ALL: [Self; 4] = [Self::User, Self::Group, Self::Server, Self::Action];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "Gw::User",
            Self::Group => "Gw::Group",
            Self::Server => "Gw::Server",
            Self::Action => "Gw::Action",
        }
    }

    /// The entity of that name; `None` only if this file is wrong.
    pub(super) fn uid(self, id: &str) -> Option<EntityUid> {
        let name = EntityTypeName::from_str(self.as_str()).ok()?;
        Some(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
    }

    pub(super) fn of(uid: &EntityUid) -> Option<Self> {
        let name = uid.type_name().to_string();
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

impl ActionName {
    pub(super) fn of(server: &ServerName, subject: &Subject) -> Self {
        let server = server.clone();
        match subject {
            Subject::Tool(tool) => Self::Tool(server, tool.clone()),
            Subject::Task(_, task) => Self::Tool(server, task.tool.clone()),
            Subject::Prompt(prompt) | Subject::PromptArgument(prompt) => {
                Self::Prompt(server, prompt.clone())
            }
            Subject::Resource(_) | Subject::TemplateArgument(_) => Self::Resources(server),
        }
    }

    pub(super) fn parse(id: &str) -> Option<Self> {
        if let Some(server) = id.strip_prefix("resources:") {
            return ServerName::parse(server).ok().map(Self::Resources);
        }
        let (is_prompt, rest) = match id.strip_prefix("prompt:") {
            Some(rest) => (true, rest),
            None => (false, id),
        };
        let (server, name) = rest.split_once('/')?;
        let server = ServerName::parse(server).ok()?;
        match is_prompt {
            true => PromptName::parse(name).ok().map(|name| Self::Prompt(server, name)),
            false => ToolName::parse(name).ok().map(|name| Self::Tool(server, name)),
        }
    }

    pub(super) fn id(&self) -> String {
        match self {
            Self::Tool(server, tool) => format!("{server}/{tool}"),
            Self::Prompt(server, prompt) => format!("prompt:{server}/{prompt}"),
            Self::Resources(server) => format!("resources:{server}"),
        }
    }

    pub(super) fn server(&self) -> &ServerName {
        match self {
            Self::Tool(server, _) | Self::Prompt(server, _) | Self::Resources(server) => server,
        }
    }

    /// The group that it is in.
    pub(super) fn group(&self) -> &'static str {
        match self {
            Self::Tool(..) => TOOLS,
            Self::Prompt(..) => PROMPTS,
            Self::Resources(_) => RESOURCES,
        }
    }
}

pub(super) const TOOLS: &str = "tools";
pub(super) const PROMPTS: &str = "prompts";
pub(super) const RESOURCES: &str = "resources";
pub(super) const GROUPS: [&str; 3] = [TOOLS, PROMPTS, RESOURCES];

/// The method, as `context.method` has it.
pub(super) fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools/call",
        Kind::Prompt => "prompts/get",
        Kind::Resource => "resources/read",
        Kind::PromptArgument | Kind::TemplateArgument => "completion/complete",
        Kind::Task(_) => "tasks",
    }
}

#[cfg(test)]
mod tests {
    use super::{ActionName, Type};

    #[test]
    fn an_action_is_read_as_it_is_written() {
        for id in ["files/read_file", "prompt:files/summary", "resources:files", "files/a/b"] {
            let action = ActionName::parse(id).unwrap();
            assert_eq!(action.id(), id);
            assert_eq!(action.server().as_str(), "files");
        }
        for id in ["files", "", "no server/x", "prompt:files", "resources:", "tools"] {
            assert_eq!(ActionName::parse(id), None, "{id}");
        }
    }

    #[test]
    fn every_type_is_found_by_its_entities() {
        for one in Type::ALL {
            assert_eq!(Type::of(&one.uid("x").unwrap()), Some(one));
        }
    }
}
