//! Names of servers, tools, prompts, resources and tasks, parsed once at the door.
//!
//! A `ServerName` comes from the operator; a `ToolName`, a `PromptName` and a `ResourceUri` come
//! from a server (and are not trusted to be pretty); an `ExposedName` is what an application sees.
//! Each constructor refuses what is not valid and says which rule was broken; afterwards nobody
//! checks again.

use std::{fmt, sync::Arc};

use super::limits::{
    EXPOSED_NAME_BYTES_MAX, PROMPT_NAME_BYTES_MAX, RESOURCE_URI_BYTES_MAX, SERVER_NAME_BYTES_MAX,
    TASK_ID_BYTES_MAX, TOOL_NAME_BYTES_MAX,
};

/// Why a name was refused. The text shows the input and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{kind} name is empty")]
    Empty { kind: &'static str },
    #[error("{kind} name `{name}` has {len} bytes; at most {max} are allowed")]
    TooLong { kind: &'static str, name: String, len: usize, max: usize },
    #[error("{kind} name `{name}` contains {found:?}; allowed are {allowed}")]
    Character { kind: &'static str, name: String, found: char, allowed: &'static str },
    #[error("{kind} name `{name}` {rule}")]
    Shape { kind: &'static str, name: String, rule: &'static str },
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// The key of a `[servers.NAME]` table.
    ServerName
}

name_type! {
    /// A tool's original name, exactly as its server spells it.
    ToolName
}

name_type! {
    /// A prompt's original name, exactly as its server spells it.
    PromptName
}

name_type! {
    /// A resource's URI, or the template of many, exactly as its server spells it; as
    /// applications see it, it may have a prefix.
    ResourceUri
}

name_type! {
    /// A server's own id of a task. Applications never see it.
    TaskId
}

name_type! {
    /// The name under which applications see a tool or a prompt: `^[A-Za-z0-9_-]{1,64}$`, because
    /// one name outside it makes some hosts drop the whole list.
    ExposedName
}

impl ServerName {
    /// Letters, digits, `-` and single `_`; it starts and ends with a letter or digit, so that
    /// `server__tool` splits in one way only.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        const KIND: &str = "server";
        let shape = |rule| NameError::Shape { kind: KIND, name: name.to_owned(), rule };
        bounded(KIND, name, SERVER_NAME_BYTES_MAX)?;
        plain(KIND, name)?;
        let edge = |c: char| !c.is_ascii_alphanumeric();
        if name.starts_with(edge) || name.ends_with(edge) {
            return Err(shape("must start and end with a letter or a digit"));
        }
        if name.contains("__") {
            return Err(shape("contains `__`, which separates server and tool"));
        }
        Ok(Self(name.into()))
    }
}

impl ToolName {
    /// Servers may use any printable name; control characters and unbounded length are refused.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        printable("tool", name, TOOL_NAME_BYTES_MAX)?;
        Ok(Self(name.into()))
    }
}

impl PromptName {
    /// As free as the name of a tool.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        printable("prompt", name, PROMPT_NAME_BYTES_MAX)?;
        Ok(Self(name.into()))
    }
}

impl ResourceUri {
    /// Servers use schemes of their own; only what could not be shown or recorded is refused.
    pub fn parse(uri: &str) -> Result<Self, NameError> {
        printable("resource", uri, RESOURCE_URI_BYTES_MAX)?;
        Ok(Self(uri.into()))
    }
}

impl TaskId {
    /// As free as the name of a tool.
    pub fn parse(id: &str) -> Result<Self, NameError> {
        printable("task", id, TASK_ID_BYTES_MAX)?;
        Ok(Self(id.into()))
    }
}

impl ExposedName {
    pub fn parse(name: &str) -> Result<Self, NameError> {
        const KIND: &str = "tool";
        bounded(KIND, name, EXPOSED_NAME_BYTES_MAX)?;
        plain(KIND, name)?;
        Ok(Self(name.into()))
    }
}

fn bounded(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > max {
        let shown = name.chars().take(32).collect::<String>() + "…";
        return Err(NameError::TooLong { kind, name: shown, len: name.len(), max });
    }
    Ok(())
}

fn printable(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    bounded(kind, name, max)?;
    match name.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(found) => Err(NameError::Character {
            kind,
            name: name.escape_debug().to_string(),
            found,
            allowed: "printable characters",
        }),
    }
}

fn plain(kind: &'static str, name: &str) -> Result<(), NameError> {
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match name.chars().find(odd) {
        None => Ok(()),
        Some(found) => Err(NameError::Character {
            kind,
            name: name.escape_debug().to_string(),
            found,
            allowed: "A-Z, a-z, 0-9, `-` and `_`",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{ExposedName, ResourceUri, ServerName, ToolName};

    #[track_caller]
    fn server(name: &str, want: Result<(), &str>) {
        let got = ServerName::parse(name).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn server_names_split_in_one_way_only() {
        server("git", Ok(()));
        server("my_files-2", Ok(()));
        server("", Err("server name is empty"));
        server(
            "git.hub",
            Err("server name `git.hub` contains '.'; allowed are A-Z, a-z, 0-9, `-` and `_`"),
        );
        server("a__b", Err("server name `a__b` contains `__`, which separates server and tool"));
        server("a_", Err("server name `a_` must start and end with a letter or a digit"));
    }

    #[test]
    fn tool_names_keep_their_spelling_but_not_control_characters() {
        assert_eq!(ToolName::parse("fs/read.file").unwrap().as_str(), "fs/read.file");
        assert!(ToolName::parse("a\u{1b}[31m").is_err());
        assert!(ToolName::parse(&"x".repeat(300)).is_err());
    }

    #[test]
    fn uris_are_taken_as_they_are_but_bounded() {
        assert_eq!(ResourceUri::parse("ui://a/{b}?c=d#é").unwrap().as_str(), "ui://a/{b}?c=d#é");
        assert!(ResourceUri::parse("file:///a\nb").is_err());
        assert!(ResourceUri::parse("").is_err());
        assert!(ResourceUri::parse(&"x".repeat(2049)).is_err());
    }

    #[test]
    fn exposed_names_fit_every_host() {
        assert!(ExposedName::parse("files__read").is_ok());
        assert!(ExposedName::parse("files.read").is_err());
        assert!(ExposedName::parse(&"x".repeat(65)).is_err());
    }
}
