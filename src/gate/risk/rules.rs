//! The risk rules of one generation: the operator's numbers, and what is known of each tool.
//!
//! Who says what a tool does, in this order: the operator by its name, the server's annotations if
//! the operator trusts them, the operator for the rest of the server, and else the usual: others
//! write what it answers, and it may change something.

use std::collections::HashMap;

use crate::{
    config::{RiskConfig, ServerConfig, ServerRisk},
    domain::{DenyReason, Hints, Labels, Refusal, ServerName, Standing, Subject, Verdict},
};

/// What a caller is told; the record has the reasons.
const TOO_RISKY: &str = "the call is too risky to be made";

#[derive(Clone, Debug, Default)]
pub struct RiskRules {
    pub(super) config: RiskConfig,
    servers: HashMap<ServerName, ServerRisk>,
}

impl RiskRules {
    pub fn compile(config: RiskConfig, servers: &[ServerConfig]) -> Self {
        let of = |server: &ServerConfig| (server.name.clone(), server.risk.clone());
        Self { config, servers: servers.iter().map(of).collect() }
    }

    /// What becomes of a call that stands so, as far as this gate goes.
    pub fn decide(&self, standing: &Standing) -> Verdict {
        if standing.score >= self.config.deny {
            return Verdict::Deny(Refusal::new(DenyReason::Risk, TOO_RISKY));
        }
        match standing.score >= self.config.hold {
            true => Verdict::Hold(standing.clone()),
            false => Verdict::Allow,
        }
    }

    pub fn labels(&self, server: &ServerName, subject: &Subject, hints: Hints) -> Labels {
        let risk = self.servers.get(server);
        let default = risk.and_then(|risk| risk.default).unwrap_or(Labels::UNLABELLED);
        let of_tool = |tool: &str| {
            let named = risk.and_then(|risk| risk.labels.get(tool)).copied();
            let trusted = risk.filter(|risk| risk.trust_annotations);
            named.or_else(|| trusted.and_then(|_| annotated(hints))).unwrap_or(default)
        };
        match subject {
            Subject::Tool(tool) => of_tool(tool.as_str()),
            // What it does was judged when it began.
            Subject::Task(_, task) => outputs(of_tool(task.tool.as_str())),
            Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_) => outputs(default),
        }
    }
}

fn outputs(labels: Labels) -> Labels {
    labels.without(labels.effects())
}

/// What annotations say, with the defaults of MCP for those that are left out; none if there are
/// none.
fn annotated(hints: Hints) -> Option<Labels> {
    if hints == Hints::default() {
        return None;
    }
    let is_open = hints.open_world.unwrap_or(true);
    let output = if is_open { Labels::UNTRUSTED } else { Labels::NONE };
    if hints.read_only.unwrap_or(false) {
        return Some(output);
    }
    let kept = if hints.destructive.unwrap_or(true) { Labels::DESTRUCTIVE } else { Labels::WRITE };
    let sent = if is_open { Labels::SINK } else { Labels::NONE };
    Some(output.with(kept).with(sent))
}
