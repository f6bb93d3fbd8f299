//! Everything that one generation decides by, compiled when it is loaded.
//!
//! Immutable: a call that was judged by one generation's rules is never judged by another's. What
//! remembers from call to call is the gate's, not here.

use super::Whitelist;
use crate::{
    config::ServerConfig,
    domain::{ServerName, Subject},
};

/// The rules of one generation.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    whitelist: Whitelist,
}

impl Rules {
    pub fn compile(servers: &[ServerConfig]) -> Self {
        Self { whitelist: Whitelist::compile(servers) }
    }

    pub fn of_whitelist(whitelist: Whitelist) -> Self {
        Self { whitelist }
    }

    /// Whether applications may know that this exists. One decision for lists and for calls.
    pub fn listed(&self, server: &ServerName, subject: &Subject) -> bool {
        self.whitelist.listed(server, subject)
    }
}
