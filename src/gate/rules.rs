//! Everything that one generation decides by, compiled when it is loaded.
//!
//! Immutable: a call that was judged by one generation's rules is never judged by another's. One
//! decision for lists and for calls. What remembers from call to call is the gate's, not here.

use super::{Offer, Policies, Whitelist};
use crate::{
    config::{Config, ConfigErrors, Finding},
    domain::{Principal, ServerName, Subject},
};

/// The rules of one generation.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    whitelist: Whitelist,
    pub(super) policies: Policies,
}

impl Rules {
    /// All that can be said without knowing what the servers have.
    pub fn compile(config: &Config) -> Result<Self, ConfigErrors> {
        let policies = Policies::compile(config);
        let policies = policies.map_err(|errors| ConfigErrors {
            errors,
            warnings: config.warnings.clone(),
            digest: Some(config.digest),
        })?;
        Ok(Self { whitelist: Whitelist::compile(&config.servers), policies })
    }

    /// Nothing but a whitelist, for tests of other things.
    pub fn of_whitelist(whitelist: Whitelist) -> Self {
        Self { whitelist, policies: Policies::unenforced() }
    }

    /// The same for what the servers have now, and what is wrong with it.
    #[must_use]
    pub fn bind(&self, offers: &[Offer<'_>]) -> (Self, Vec<Finding>) {
        let (policies, mistakes) = self.policies.bind(offers);
        (Self { whitelist: self.whitelist.clone(), policies }, mistakes)
    }

    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Whether anybody may know that this exists.
    pub fn listed(&self, server: &ServerName, subject: &Subject) -> bool {
        self.whitelist.listed(server, subject)
    }

    /// Whether this principal may.
    pub fn shows(&self, principal: &Principal, server: &ServerName, subject: &Subject) -> bool {
        self.listed(server, subject) && self.policies.shows(principal, server, subject)
    }
}
