//! The risk rules of one generation: the operator's numbers, and what is known of each tool.
//!
//! Who says what a tool does, in this order: the operator by its name, the server's annotations if
//! the operator trusts them, the operator for the rest of the server, and else the usual: others
//! write what it answers, and it may change something. An odd definition is not believed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    config::{RiskConfig, ServerConfig, ServerRisk},
    domain::{DenyReason, Labels, Refusal, ServerName, Standing, Subject, ToolName, Verdict},
    gate::Offer,
    wire::Object,
};

/// What a caller is told; the record has the reasons.
const TOO_RISKY: &str = "the call is too risky to be made";

#[derive(Clone, Debug, Default)]
pub struct RiskRules {
    pub(in crate::gate) config: RiskConfig,
    servers: Arc<HashMap<ServerName, ServerRisk>>,
    /// What the tools of trusted servers say of themselves.
    annotated: HashMap<ServerName, HashMap<ToolName, Labels>>,
    odd: HashMap<ServerName, BTreeSet<String>>,
}

impl RiskRules {
    pub fn compile(config: RiskConfig, servers: &[ServerConfig]) -> Self {
        let of = |server: &ServerConfig| (server.name.clone(), server.risk.clone());
        let servers = Arc::new(servers.iter().map(of).collect());
        Self { config, servers, annotated: HashMap::new(), odd: HashMap::new() }
    }

    /// The same for what the servers have now.
    #[must_use]
    pub fn bind(&self, offers: &[Offer<'_>]) -> Self {
        let is_trusted = |offer: &&Offer<'_>| {
            self.servers.get(offer.server).is_some_and(|risk| risk.trust_annotations)
        };
        let tools = |offer: &Offer<'_>| {
            let listed = offer.listed.iter().flatten();
            let said = listed.filter_map(|(subject, definition)| match subject {
                Subject::Tool(tool) => Some((tool.clone(), annotated(definition)?)),
                Subject::Prompt(_)
                | Subject::Resource(_)
                | Subject::PromptArgument(_)
                | Subject::TemplateArgument(_)
                | Subject::Task(..) => None,
            });
            (offer.server.clone(), said.collect())
        };
        let annotated = offers.iter().filter(is_trusted).map(tools).collect();
        let odd = offers.iter().filter_map(|o| Some((o.server.clone(), o.odd?.clone()))).collect();
        Self { annotated, odd, ..self.clone() }
    }

    /// What becomes of a call that stands so, as far as this gate goes.
    pub fn decide(&self, standing: &Standing) -> Verdict {
        if standing.score >= self.config.deny {
            return Verdict::Deny(Refusal::new(DenyReason::Risk, TOO_RISKY));
        }
        match standing.score >= self.config.hold {
            true => Verdict::Hold,
            false => Verdict::Allow,
        }
    }

    /// What calling it means.
    pub fn labels(&self, server: &ServerName, subject: &Subject) -> Labels {
        let risk = self.servers.get(server);
        let default = risk.and_then(|risk| risk.default).unwrap_or(Labels::UNLABELLED);
        let of_tool = |tool: &ToolName| {
            let named = risk.and_then(|risk| risk.labels.get(tool.as_str()));
            if self.odd.get(server).is_some_and(|odd| odd.contains(tool.as_str())) {
                return named.copied().unwrap_or(default).with(Labels::ODD);
            }
            let said = || self.annotated.get(server).and_then(|tools| tools.get(tool));
            named.or_else(said).copied().unwrap_or(default)
        };
        match subject {
            Subject::Tool(tool) => of_tool(tool),
            // What it does was judged when it began.
            Subject::Task(_, task) => outputs(of_tool(&task.tool)),
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

/// What the annotations of a definition say, with the defaults of MCP for those that are left out;
/// none if there are none.
fn annotated(definition: &Bytes) -> Option<Labels> {
    let annotations = Object::parse(definition.clone()).ok()?.object("annotations")?;
    let hint = |key| match annotations.peek(key) {
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        _ => None,
    };
    let (reads, destroys) = (hint("readOnlyHint"), hint("destructiveHint"));
    let opens = hint("openWorldHint");
    if [reads, destroys, opens] == [None; 3] {
        return None;
    }
    let is_open = opens.unwrap_or(true);
    let output = if is_open { Labels::UNTRUSTED } else { Labels::NONE };
    if reads.unwrap_or(false) {
        return Some(output);
    }
    let kept = if destroys.unwrap_or(true) { Labels::DESTRUCTIVE } else { Labels::WRITE };
    let sent = if is_open { Labels::SINK } else { Labels::NONE };
    Some(output.with(kept).with(sent))
}
