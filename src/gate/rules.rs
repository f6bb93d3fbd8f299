//! Everything that one generation decides by, compiled when it is loaded.
//!
//! A call that was judged by one generation's rules is never judged by another's. One decision for
//! lists and for calls. All of it is immutable but for what has been used up of the rates, which
//! the next generation goes on with.

use std::sync::Arc;

use super::{Offer, PinRules, Policies, Whitelist, rates::Rates, risk::RiskRules};
use crate::{
    config::{Config, ConfigErrors, Digests, Finding},
    domain::{Principal, ServerName, Subject},
};

/// The rules of one generation.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    whitelist: Whitelist,
    policies: Policies,
    pub(super) rates: Rates,
    pub(super) risk: RiskRules,
    pins: Arc<PinRules>,
    /// Of everything that they were compiled from.
    pub(super) digests: Digests,
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
        let whitelist = Whitelist::compile(&config.servers);
        let risk = RiskRules::compile(config.policies.risk.clone(), &config.servers);
        let pins = PinRules::compile(&config.servers).into();
        let (rates, digests) = (Rates::compile(config), config.digest);
        Ok(Self { whitelist, policies, rates, risk, pins, digests })
    }

    /// Nothing but a whitelist, for tests of other things.
    pub fn of_whitelist(whitelist: Whitelist) -> Self {
        Self { whitelist, policies: Policies::unenforced(), ..Self::default() }
    }

    /// The same for what the servers have now, and what is wrong with it.
    #[must_use]
    pub fn bind(&self, offers: &[Offer<'_>]) -> (Self, Vec<Finding>) {
        let (policies, mistakes) = self.policies.bind(offers);
        (Self { policies, risk: self.risk.bind(offers), ..self.clone() }, mistakes)
    }

    pub fn pins(&self) -> &Arc<PinRules> {
        &self.pins
    }

    /// Goes on where the rules of the generation before stand.
    pub fn follow(&mut self, before: &Self) {
        self.rates.inherit(&before.rates);
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
