//! What is known of the servers' tools while no gateway is asked: the definitions in `pins.lock`.
//!
//! Promises the types that a reload would find if the servers still listed what was approved. What
//! is not approved there is judged by what is written of it, as a gateway does before a list.

use std::path::Path;

use bytes::Bytes;

use crate::{
    cli::ConfigArg,
    config::{Config, Finding},
    domain::{Kind, ServerName, Subject},
    gate::{Approved, Offer, Quarantine, Rules, locate},
    wire::List,
};

/// Rules that know what is approved.
pub(super) struct Typed {
    pub(super) rules: Rules,
    /// The policies that do not fit it.
    pub(super) mistakes: Vec<Finding>,
    /// Why nothing is known.
    pub(super) problem: Option<String>,
}

pub(super) fn typed(arg: &ConfigArg, (config, rules): (&Config, &Rules)) -> Typed {
    let beside = arg.config.parent().unwrap_or(Path::new("."));
    let path = locate(beside, &config.gateway.state_dir);
    let report = Quarantine::nothing(path).report_now();
    let known: Vec<_> = config
        .servers
        .iter()
        .map(|server| (&server.name, of(&server.name, &report.approved)))
        .collect();
    let offers: Vec<_> = known.iter().map(|(server, listed)| offer(server, listed)).collect();
    let (rules, mistakes) = rules.bind(&offers);
    Typed { rules, mistakes, problem: report.problem }
}

/// The tools and prompts of one server.
fn of(server: &ServerName, approved: &[Approved]) -> Vec<(Subject, Bytes)> {
    let one = |one: &Approved| {
        let kind = match one.list {
            List::Tools => Kind::Tool,
            List::Prompts => Kind::Prompt,
            List::Resources | List::Templates => return None,
        };
        let subject = Subject::parse(kind, &one.name).ok()?;
        Some((subject, Bytes::from(one.definition.clone())))
    };
    approved.iter().filter(|one| one.server == *server).filter_map(one).collect()
}

fn offer<'a>(server: &'a ServerName, listed: &'a [(Subject, Bytes)]) -> Offer<'a> {
    let all = listed.iter().map(|(subject, definition)| (subject, definition)).collect();
    Offer { server, listed: (!listed.is_empty()).then_some(all), odd: None }
}
