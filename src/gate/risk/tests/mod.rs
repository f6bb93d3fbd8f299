//! Claims of the risk gate, on conversations that are made up here or were made up by others.

mod agentdojo;
mod claims;
mod keys;
mod properties;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Risk, RiskRules, Witness};
use crate::{
    config::{Config, RiskConfig, Surroundings},
    domain::{
        Call, CallIds, Caller, Era, Generation, Kind, Nonce, Principal, ServerName, Standing,
        Subject, TraceParent, Transport, Verdict,
    },
};

/// One conversation; its clone is another of the same gateway.
#[derive(Clone)]
struct Talk {
    risk: Risk,
    rules: Arc<RiskRules>,
    server: ServerName,
    caller: Arc<Caller>,
    trace: Option<TraceParent>,
    at: Instant,
}

impl Talk {
    /// With a server of that name in this `servers.toml`.
    fn new(servers: &str, server: &str, config: RiskConfig) -> Self {
        let around = Surroundings::imagined(&[("HOME", "/home/op"), ("PATH", "/bin")]);
        let read = Config::from_str_at(servers, Path::new("/etc/servers.toml"), &around).unwrap();
        Self {
            risk: Risk::keyed([1, 2]),
            rules: Arc::new(RiskRules::compile(config, &read.servers)),
            server: ServerName::parse(server).unwrap(),
            caller: Arc::new(Caller {
                principal: Principal::new("emma"),
                client: "agent".into(),
                conversation: Some("one".into()),
                era: Era::Modern,
                transport: Transport::Http,
            }),
            trace: None,
            at: Instant::now(),
        }
    }

    /// One of the same principal.
    fn other(&self, conversation: Option<&str>) -> Self {
        let conversation = conversation.map(Into::into);
        let caller = Caller { conversation, ..Caller::clone(&self.caller) };
        Self { caller: caller.into(), ..self.clone() }
    }

    /// Time passes.
    fn wait(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
    }

    fn call(&self, tool: &str, args: &str) -> Call {
        Call {
            id: CallIds::new(Nonce(1)).next(1),
            caller: self.caller.clone(),
            server: self.server.clone(),
            subject: Subject::parse(Kind::Tool, tool).unwrap(),
            arguments: args.to_owned().into(),
            answers: None,
            generation: Generation(1),
            trace: self.trace,
            at: None,
            under: None,
        }
    }

    /// How a call stands that is let through, and who hears its answer.
    fn ask(&self, tool: &str, args: &str) -> (Standing, Witness) {
        self.decide(tool, args, Verdict::Allow)
    }

    /// How a call stands of which this becomes.
    fn decide(&self, tool: &str, args: &str, verdict: Verdict) -> (Standing, Witness) {
        let call = self.call(tool, args);
        let (judgement, witness) = self.risk.weigh(&self.rules, &call, self.at, |_| verdict.into());
        (judgement.grounds.risk.unwrap(), witness)
    }

    /// A whole call.
    fn step(&self, tool: &str, args: &str, answer: &str) -> Standing {
        let (standing, witness) = self.ask(tool, args);
        witness.hear(serde_json::to_string(answer).unwrap().as_bytes(), self.at);
        standing
    }
}

/// A server with one tool for every label, which it is named after, and a few with more.
const HOUSE: &str = r#"
[servers.house]
command = "git-mcp"
[servers.house.risk.labels]
read = []
fetch = ["untrusted"]
mail = ["untrusted", "private"]
contacts = ["private"]
list = ["list"]
secrets = ["credentials"]
write = ["write"]
delete = ["destructive"]
send = ["sink"]
pay = ["sink", "destructive"]
rights = ["admin"]
run = ["exec"]
share = ["grant"]
settings = ["config"]
"#;

fn house() -> Talk {
    house_with(RiskConfig::default())
}

fn house_with(config: RiskConfig) -> Talk {
    Talk::new(HOUSE, "house", config)
}
