//! What is remembered of one conversation, and of one principal over all of its conversations.
//!
//! A conversation is tainted from the moment that a call is let through whose answer others can
//! write: while such a call is under way, its progress may have said everything already. The
//! principal's account fills and fades more slowly, so that a client which begins a conversation
//! for every call gains nothing; and a conversation that has heard nothing of its own is held
//! against what the principal has heard anywhere.

use tokio::time::Instant;

use super::{
    arguments::Look,
    index::{Index, Key},
    memory::{Account, Chain, Denials, Rate, half_lives},
    score::{Evidence, left_over},
};
use crate::{
    config::RiskConfig,
    domain::{Labels, Reason, Standing},
};

/// Accounts are kept in thousandths of a point.
const MILLI: u32 = 1000;

#[derive(Debug)]
pub(super) struct Context {
    tainted: Option<Instant>,
    private: Option<Instant>,
    /// Effects that it had before.
    used: Labels,
    chain: Chain,
    account: Account,
    pub(super) index: Index,
}

#[derive(Debug)]
pub(super) struct Principal {
    pub(super) tainted: Option<Instant>,
    account: Account,
    rate: Rate,
    pub(super) denials: Denials,
    /// What was heard in any of its conversations.
    pub(super) index: Index,
}

/// Under which rules, and when.
pub(super) struct Now<'a> {
    pub(super) config: &'a RiskConfig,
    pub(super) key: &'a Key,
    pub(super) at: Instant,
}

impl Context {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            tainted: None,
            private: None,
            used: Labels::NONE,
            chain: Chain::default(),
            account: Account::new(at),
            index: Index::default(),
        }
    }

    /// What speaks against a call that is asked for.
    pub(super) fn evidence(
        &mut self,
        now: &Now<'_>,
        (labels, arguments): (Labels, &[u8]),
        principal: &mut Principal,
    ) -> Evidence {
        let Now { config, key, at } = *now;
        principal.rate.count(at);
        let aged = |then| half_lives(then, at, config.taint_half_life);
        let (tainted, tainted_elsewhere) = (aged(self.tainted), aged(principal.tainted));
        if labels.effects().is_empty() {
            return Evidence { labels, tainted, tainted_elsewhere, ..Evidence::default() };
        }
        // A conversation that has heard nothing yet may go on with what another one has heard.
        let index = if self.index.is_empty() { &mut principal.index } else { &mut self.index };
        index.age(at, config.provenance);
        let look = Look { key, index, labels };
        let mut found = look.at(arguments).with(self.chain.ends(config, labels, at));
        if !self.used.is_empty() && !labels.effects().without(self.used).is_empty() {
            found.insert(Reason::FirstUse);
        }
        if principal.rate.is_high(config) {
            found.insert(Reason::Rate);
        }
        let account = self.account.stands(at, config.account_half_life);
        let slow = principal.account.stands(at, config.principal_half_life);
        Evidence {
            labels,
            tainted,
            tainted_elsewhere,
            private: aged(self.private),
            found,
            n_denials: principal.denials.lately(at),
            account: account.max(slow),
        }
    }

    /// A call was let through.
    pub(super) fn enter(
        &mut self,
        Now { config, at, .. }: &Now<'_>,
        labels: Labels,
        standing: &Standing,
        principal: &mut Principal,
    ) {
        if labels.has(Labels::UNTRUSTED) {
            self.tainted = Some(*at);
            principal.tainted = Some(*at);
        }
        if labels.has(Labels::PRIVATE) {
            self.private = Some(*at);
        }
        self.used = self.used.with(labels.effects());
        self.chain.step(config, labels, *at);
        let points = left_over(config, standing);
        let percent = |percent: u8| points.saturating_mul(u32::from(percent) * MILLI / 100);
        self.account.add(percent(config.account_percent), *at, config.account_half_life);
        let slow = percent(config.principal_percent);
        principal.account.add(slow, *at, config.principal_half_life);
    }
}

impl Principal {
    pub(super) fn new(tainted: Option<Instant>, at: Instant) -> Self {
        Self {
            tainted,
            account: Account::new(at),
            rate: Rate::new(at),
            denials: Denials::default(),
            index: Index::default(),
        }
    }
}
