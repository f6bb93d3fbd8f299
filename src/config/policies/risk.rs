//! `policies/risk.toml`: every weight, threshold and half-life of the risk score.
//!
//! Owns the defaults, which are those of the shipped file. A key that is left out has its default;
//! one that does not exist, or a number out of range, is a mistake with its place.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use super::{Paper, Policies};
use crate::{
    config::{report::Notes, section::Section},
    domain::{
        Reason,
        limits::{
            APPROVAL_REMEMBER_RANGE_S, APPROVAL_TTL, RISK_COUNT_RANGE, RISK_POINTS_RANGE,
            RISK_SCORE_MAX, RISK_TIME_RANGE_S,
        },
    },
};

/// What a score is made of, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RiskConfig {
    /// From this score on a call is held.
    pub hold: u8,
    /// From this score on it is refused.
    pub deny: u8,
    pub weights: [u8; Reason::ALL.len()],
    /// All denials together have at most so many points.
    pub denials_max: u8,
    /// What of a score beyond this goes to the account, and how much of it.
    pub account_from: u8,
    pub account_percent: u8,
    /// The same for the account of the principal.
    pub principal_percent: u8,
    pub account_half_life: Duration,
    pub principal_half_life: Duration,
    pub taint_half_life: Duration,
    /// So long it is known what was read, in all or in part.
    pub provenance: Duration,
    /// So long a call can be the beginning of a chain.
    pub chain: Duration,
    /// So many answers that were read after a list make a harvest.
    pub list_reads: u16,
    /// So many calls a minute are never too many, and so many times the usual are.
    pub rate_min: u32,
    pub rate_times: u32,
    /// How long a call waits for its approval.
    pub approval_ttl: Duration,
    /// So long an approval may be remembered; zero is not at all.
    pub approval_remember: Duration,
}

impl RiskConfig {
    pub fn weight(&self, reason: Reason) -> u8 {
        self.weights.get(place(reason)).copied().unwrap_or(RISK_SCORE_MAX)
    }

    /// The same but for one weight.
    #[must_use]
    pub fn weighing(mut self, reason: Reason, points: u8) -> Self {
        if let Some(weight) = self.weights.get_mut(place(reason)) {
            *weight = points;
        }
        self
    }
}

impl Default for RiskConfig {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            hold: 45,
            deny: 100,
            weights: Reason::ALL.map(usual),
            denials_max: 20,
            account_from: 20,
            account_percent: 20,
            principal_percent: 10,
            account_half_life: minutes(10),
            principal_half_life: minutes(60),
            taint_half_life: minutes(30),
            provenance: minutes(30),
            chain: minutes(30),
            list_reads: 5,
            rate_min: 120,
            rate_times: 3,
            approval_ttl: APPROVAL_TTL,
            approval_remember: Duration::ZERO,
        }
    }
}

/// Reads the tables of the file.
pub(super) fn read(_: &Arc<Paper>, top: &Section<'_>, notes: &mut Notes, policies: &mut Policies) {
    top.refuse_unknown(&["thresholds", "weights", "account", "memory", "rate", "approvals"], notes);
    let config = &mut policies.risk;
    let mut table = Table::open(top, "weights", &Reason::ALL.map(Reason::as_str), notes);
    for (reason, weight) in Reason::ALL.into_iter().zip(&mut config.weights) {
        table.number(reason.as_str(), RISK_POINTS_RANGE, weight);
    }
    let mut table = Table::open(top, "thresholds", &["hold", "deny"], notes);
    table.number("hold", 1..=usize::from(RISK_SCORE_MAX) + 1, &mut config.hold);
    table.number("deny", 1..=usize::from(RISK_SCORE_MAX) + 1, &mut config.deny);
    let keys = ["from", "percent", "half_life_sec", "principal_percent", "principal_half_life_sec"];
    let mut table = Table::open(top, "account", &keys, notes);
    table.number("from", RISK_POINTS_RANGE, &mut config.account_from);
    table.number("percent", RISK_POINTS_RANGE, &mut config.account_percent);
    table.number("principal_percent", RISK_POINTS_RANGE, &mut config.principal_percent);
    table.seconds("half_life_sec", &mut config.account_half_life);
    table.seconds("principal_half_life_sec", &mut config.principal_half_life);
    let keys = ["taint_half_life_sec", "provenance_sec", "chain_sec", "list_reads"];
    let mut table = Table::open(top, "memory", &keys, notes);
    table.seconds("taint_half_life_sec", &mut config.taint_half_life);
    table.seconds("provenance_sec", &mut config.provenance);
    table.seconds("chain_sec", &mut config.chain);
    table.number("list_reads", RISK_COUNT_RANGE, &mut config.list_reads);
    let mut table = Table::open(top, "rate", &["calls_min", "times", "denials_max"], notes);
    table.number("calls_min", RISK_COUNT_RANGE, &mut config.rate_min);
    table.number("times", RISK_COUNT_RANGE, &mut config.rate_times);
    table.number("denials_max", RISK_POINTS_RANGE, &mut config.denials_max);
    let mut table = Table::open(top, "approvals", &["ttl_sec", "remember_sec"], notes);
    table.seconds("ttl_sec", &mut config.approval_ttl);
    table.seconds_of("remember_sec", APPROVAL_REMEMBER_RANGE_S, &mut config.approval_remember);
}

/// One table of the file, whose keys change a default each.
struct Table<'d, 'n> {
    section: Section<'d>,
    notes: &'n mut Notes,
}

impl<'d, 'n> Table<'d, 'n> {
    fn open(top: &Section<'d>, name: &str, keys: &[&str], notes: &'n mut Notes) -> Self {
        let section = top.section(name, &format!("[{name}]"), notes);
        section.refuse_unknown(keys, notes);
        Self { section, notes }
    }

    fn number<T: TryFrom<usize>>(&mut self, key: &str, range: RangeInclusive<usize>, to: &mut T) {
        let written = self.section.count(key, range, self.notes);
        if let Some(Ok(number)) = written.map(T::try_from) {
            *to = number;
        }
    }

    fn seconds(&mut self, key: &str, to: &mut Duration) {
        self.seconds_of(key, RISK_TIME_RANGE_S, to);
    }

    fn seconds_of(&mut self, key: &str, range: RangeInclusive<f64>, to: &mut Duration) {
        if let Some(time) = self.section.seconds(key, range, self.notes) {
            *to = time;
        }
    }
}

fn place(reason: Reason) -> usize {
    usize::from(reason as u8)
}

fn usual(reason: Reason) -> u8 {
    match reason {
        Reason::Admin => 35,
        Reason::Destructive => 30,
        Reason::Sink => 20,
        Reason::Write => 10,
        Reason::Unknown => 5,
        Reason::OddDefinition => 25,
        Reason::Tainted | Reason::TaintedElsewhere => 15,
        Reason::PrivateContext => 5,
        Reason::Destination => 25,
        Reason::Argument | Reason::Copied | Reason::Unread => 15,
        Reason::FirstUse => 10,
        Reason::CredentialsThenSink | Reason::ConfigThenExec => 40,
        Reason::UntrustedThenExec | Reason::GrantThenUse => 30,
        Reason::ListReadSink => 20,
        Reason::HiddenUnicode => 20,
        Reason::Secret => 40,
        Reason::Rate => 10,
        Reason::Denials => 5,
        Reason::Account => 25,
    }
}
