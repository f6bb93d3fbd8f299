//! What is remembered of earlier calls, besides their words: chains, accounts, rates, denials.
//!
//! Everything is forgotten by time alone, never because something else came after it. Small, of
//! fixed size, and without a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::found::Found;
use crate::{
    config::RiskConfig,
    domain::{Labels, Reason},
};

const MINUTE: Duration = Duration::from_secs(60);
/// So many denials are told apart.
const DENIALS_MAX: usize = 20;
/// After so many minutes nothing of an average is left.
const MINUTES_MAX: u64 = 32;

/// How many whole half-lives ago it was.
pub(super) fn half_lives(then: Option<Instant>, at: Instant, half_life: Duration) -> Option<u32> {
    let elapsed = at.saturating_duration_since(then?);
    let n = elapsed.as_millis().checked_div(half_life.as_millis()).unwrap_or(u128::MAX);
    Some(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Which calls were made that could be the beginning of a chain, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    credentials: Option<Instant>,
    config: Option<Instant>,
    grant: Option<Instant>,
    untrusted: Option<Instant>,
    list: Option<Instant>,
    /// Answers read since the first list that still counts.
    reads: u16,
}

impl Chain {
    /// The chains of which a call with these labels would be the end.
    pub(super) fn ends(&self, config: &RiskConfig, labels: Labels, at: Instant) -> Found {
        let since = |then: Option<Instant>| {
            then.is_some_and(|then| at.saturating_duration_since(then) < config.chain)
        };
        let any = |all: &[Labels]| all.iter().any(|label| labels.has(*label));
        // What a right is for; telling somebody needs none.
        let used = [Labels::DESTRUCTIVE, Labels::EXEC, Labels::CREDENTIALS];
        let harvest = since(self.list) && self.reads >= config.list_reads;
        let rules = [
            (Reason::CredentialsThenSink, since(self.credentials) && any(&[Labels::SINK])),
            (Reason::ConfigThenExec, since(self.config) && any(&[Labels::EXEC])),
            (Reason::UntrustedThenExec, since(self.untrusted) && any(&[Labels::EXEC])),
            (Reason::ListReadSink, harvest && any(&[Labels::SINK])),
            (Reason::GrantThenUse, since(self.grant) && any(&used)),
        ];
        rules.into_iter().filter(|(_, is_end)| *is_end).map(|(reason, _)| reason).collect()
    }

    /// A call with these labels was made.
    pub(super) fn step(&mut self, config: &RiskConfig, labels: Labels, at: Instant) {
        let begins = [
            (Labels::CREDENTIALS, &mut self.credentials),
            (Labels::CONFIG, &mut self.config),
            (Labels::GRANT, &mut self.grant),
            (Labels::UNTRUSTED, &mut self.untrusted),
        ];
        for (label, place) in begins {
            if labels.has(label) {
                *place = Some(at);
            }
        }
        let is_over = |then: Instant| at.saturating_duration_since(then) >= config.chain;
        if self.list.is_some_and(is_over) {
            (self.list, self.reads) = (None, 0);
        }
        if labels.has(Labels::LIST) {
            self.list = self.list.or(Some(at));
        } else if self.list.is_some() && labels.effects().is_empty() {
            self.reads = self.reads.saturating_add(1);
        }
    }
}

/// Points that calls leave behind, and that fade.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// In thousandths.
    points: u32,
    at: Instant,
}

impl Account {
    /// More is never counted.
    const POINTS_MAX: u32 = 100_000;

    pub(super) fn new(at: Instant) -> Self {
        Self { points: 0, at }
    }

    /// In whole points.
    pub(super) fn stands(&self, at: Instant, half_life: Duration) -> u8 {
        u8::try_from(self.faded(at, half_life) / 1000).unwrap_or(u8::MAX)
    }

    pub(super) fn add(&mut self, points: u32, at: Instant, half_life: Duration) {
        let faded = self.faded(at, half_life).saturating_add(points);
        *self = Self { points: faded.min(Self::POINTS_MAX), at: self.at.max(at) };
    }

    fn faded(&self, at: Instant, half_life: Duration) -> u32 {
        let elapsed = at.saturating_duration_since(self.at).as_millis();
        let half_life = half_life.as_millis().max(1);
        let whole = u32::try_from(elapsed / half_life).unwrap_or(u32::MAX);
        // Within a half-life 2^-x is 1 - 0.674x + 0.174x², to 0.2 %; in 1024ths.
        let part = u64::try_from((elapsed % half_life) * 1024 / half_life).unwrap_or(1024);
        let share = 1024 - ((part * 690) >> 10) + ((part * part * 178) >> 20);
        let points = u64::from(self.points.checked_shr(whole).unwrap_or(0));
        u32::try_from((points * share) >> 10).unwrap_or(u32::MAX)
    }
}

/// How often a principal calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    minute: Instant,
    calls: u32,
    /// Calls a minute on average, before this one, in sixteenths.
    usual: u64,
}

impl Rate {
    pub(super) fn new(at: Instant) -> Self {
        Self { minute: at, calls: 0, usual: 0 }
    }

    pub(super) fn count(&mut self, at: Instant) {
        let minutes = at.saturating_duration_since(self.minute).as_secs() / MINUTE.as_secs();
        for _ in 0..minutes.min(MINUTES_MAX) {
            self.usual = (self.usual * 3 + u64::from(self.calls) * 16) / 4;
            self.calls = 0;
        }
        if minutes > 0 {
            self.minute = at;
        }
        self.calls = self.calls.saturating_add(1);
    }

    pub(super) fn is_high(&self, config: &RiskConfig) -> bool {
        let most = (self.usual * u64::from(config.rate_times) / 16).max(config.rate_min.into());
        u64::from(self.calls) > most
    }
}

/// When the last calls were refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Denials {
    when: [Option<Instant>; DENIALS_MAX],
    next: usize,
}

impl Denials {
    pub(super) fn count(&mut self, at: Instant) {
        if let Some(place) = self.when.get_mut(self.next) {
            *place = Some(at);
        }
        self.next = (self.next + 1) % DENIALS_MAX;
    }

    /// Those of the last minute.
    pub(super) fn lately(&self, at: Instant) -> u8 {
        let recent = |then: &&Instant| at.saturating_duration_since(**then) < MINUTE;
        u8::try_from(self.when.iter().flatten().filter(recent).count()).unwrap_or(u8::MAX)
    }
}
