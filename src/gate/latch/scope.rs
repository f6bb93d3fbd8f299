//! What a stop concerns, and how hard it is.
//!
//! A scope is written `global`, `server:NAME`, `tool:SERVER/NAME` or `principal:NAME`, by the
//! operator, on disk and in the audit alike. Knows no permits and no processes.

use std::{fmt, str::FromStr};

use super::word::Marks;
use crate::domain::{Call, Matter, NameError, Principal, ServerName, Subject, ToolName};

/// What is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Global,
    Server(ServerName),
    Tool(ServerName, ToolName),
    Principal(Principal),
}

/// How hard it is stopped. In both nothing more is sent from the first moment on.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(into = "u8", try_from = "u8")]
pub enum Category {
    /// Servers get a moment to wind up what is called back, then they are killed.
    Drain,
    /// Servers are frozen and killed at once.
    #[default]
    Kill,
}

/// Why a text is not a scope.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    #[error("`{0}` is no scope; write global, server:NAME, tool:SERVER/NAME or principal:NAME")]
    Form(String),
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Scope {
    pub(super) fn marks(&self) -> Marks {
        let none = Marks::default();
        match self {
            Self::Global => none,
            Self::Server(server) => Marks { server: mark(server.as_str()), ..none },
            Self::Tool(server, tool) => {
                Marks { server: mark(server.as_str()), tool: mark(tool.as_str()), ..none }
            }
            Self::Principal(principal) => Marks { principal: mark(principal.as_str()), ..none },
        }
    }
}

impl Marks {
    pub fn of_call(call: &Call) -> Self {
        let tool = match &call.subject {
            Subject::Tool(tool) => Some(tool),
            Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_)
            | Subject::Task(..) => None,
        };
        Self::of_names(&call.server, tool, &call.caller.principal)
    }

    /// As far as they are known by name.
    pub fn of_names(server: &ServerName, tool: Option<&ToolName>, principal: &Principal) -> Self {
        let tool = tool.map_or(0, |tool| mark(tool.as_str()));
        Self { tool, ..Self::between(server, principal) }
    }

    pub fn of_server(server: &ServerName) -> Self {
        Self { server: mark(server.as_str()), ..Self::default() }
    }

    pub fn of_principal(principal: &Principal) -> Self {
        Self { principal: mark(principal.as_str()), ..Self::default() }
    }

    /// Whatever this principal and this server have to do with one another.
    pub fn between(server: &ServerName, principal: &Principal) -> Self {
        Self { server: mark(server.as_str()), ..Self::of_principal(principal) }
    }
}

impl From<Matter<'_>> for Marks {
    fn from(matter: Matter<'_>) -> Self {
        match matter {
            Matter::Call(call) => Self::of_call(call),
            Matter::Questions(questions) => {
                Self::between(&questions.server, &questions.caller.principal)
            }
            Matter::Wish(wish) => Self::between(&wish.server, &wish.caller.principal),
        }
    }
}

/// A number for a name, never 0. A few multiplications: it is made for every call.
fn mark(name: &str) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTOR: u128 = 0xa076_1d64_78bd_642f;
    let fold = |state: u64, piece: u64| {
        let product = u128::from(state ^ piece) * FACTOR;
        // Both halves of it.
        let [low, high] = [product, product >> 64].map(|n| n & u128::from(u64::MAX));
        u64::try_from(low ^ high).unwrap_or_default()
    };
    let (pieces, rest) = name.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
    let state =
        pieces.iter().fold(SEED ^ length, |state, piece| fold(state, u64::from_le_bytes(*piece)));
    fold(fold(state, u64::from_le_bytes(last)), SEED).max(1)
}

impl Category {
    /// The number by which it is known outside: that of a machine's stop.
    pub fn number(self) -> u8 {
        match self {
            Self::Kill => 0,
            Self::Drain => 1,
        }
    }
}

impl From<Category> for u8 {
    fn from(category: Category) -> Self {
        category.number()
    }
}

impl TryFrom<u8> for Category {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Kill),
            1 => Ok(Self::Drain),
            2.. => Err("a category is 0 (freeze and kill) or 1 (cancel, drain, kill)"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Server(server) => write!(f, "server:{server}"),
            Self::Tool(server, tool) => write!(f, "tool:{server}/{tool}"),
            Self::Principal(principal) => write!(f, "principal:{}", principal.as_str()),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ScopeError::Form(text.to_owned());
        if text == "global" {
            return Ok(Self::Global);
        }
        let (kind, name) = text.split_once(':').ok_or_else(form)?;
        match kind {
            "server" => Ok(Self::Server(ServerName::parse(name)?)),
            "tool" => {
                let (server, tool) = name.split_once('/').ok_or_else(form)?;
                Ok(Self::Tool(ServerName::parse(server)?, ToolName::parse(tool)?))
            }
            "principal" if !name.is_empty() => Ok(Self::Principal(Principal::new(name))),
            _ => Err(form()),
        }
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
