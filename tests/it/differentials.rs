//! What is judged is what is forwarded, or nothing is: each case of a table goes through a real
//! gateway to a real server, whose received bytes are then read in every way that somebody might
//! read them. What the audit commits to must be what arrived. `table` and
//! `values` have the cases, `readers` the ways to read.

mod readers;
mod table;
mod values;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::{
    client::{Kind, LEGACY, MODERN, send},
    harness::{Gateway, audit_in, stdio_server, within},
};
use readers::{forbidden, readings};
use table::{Case, Want, cases};

/// What nobody who reads what arrives may find in it; each member only where it is.
const POLICIES: &str = r#"
permit(principal, action, resource);
forbid(principal, action == Gw::Action::"up/place", resource)
when { context.paths has path && !(context.paths.path like "/srv/data/*") };
forbid(principal, action == Gw::Action::"up/place", resource)
when { context.input has amount && context.input.amount > 100 };
forbid(principal, action == Gw::Action::"up/place", resource)
when { context.input has note && context.input.note == "evil" };
forbid(principal, action == Gw::Action::"up/place", resource)
when { context.input has to && context.input.to has account && context.input.to.account == "evil" };
"#;

/// A gateway before a server that writes down what it receives.
struct Road {
    gateway: Gateway,
    journal: PathBuf,
    read: u64,
    session: String,
    /// The arguments that arrived, in order.
    arrived: Vec<String>,
}

impl Road {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        fs::create_dir(dir.path().join("policies")).unwrap();
        fs::write(dir.path().join("policies/a.cedar"), POLICIES).unwrap();
        let args = ["--journal", journal.to_str().unwrap()];
        // The risk of so many calls is another test's affair.
        let labels = "[servers.up.risk.labels]\nplace = []\ntest_custom_header = []\n";
        let gateway = Gateway::start_in(
            dir,
            &(stdio_server("up", &args) + labels + "[audit]\npayloads = \"full\"\n"),
        );
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"it","version":"1"}}}}}}"#
        );
        let greeted = send(gateway.port, "POST", hello, HeaderMap::new()).await;
        let session = greeted.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        Self { gateway, journal, read: 0, session, arrived: Vec::new() }
    }

    /// The parameters of every call that has arrived since the last look, as they were written.
    fn received(&mut self) -> Vec<String> {
        let mut file = fs::File::open(&self.journal).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        self.read += u64::try_from(file.read_to_string(&mut text).unwrap()).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = |event: Value| {
            assert_ne!(event["event"], "unreadable", "{event}");
            let is_call = event["event"] == "message" && event["method"] == "tools/call";
            is_call.then(|| event["params"].as_str().unwrap().to_owned())
        };
        events.filter_map(told).collect()
    }

    fn headers(&self, case: &Case, kind: Kind) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &[u8]| {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        };
        if !kind.is_modern() {
            add("mcp-session-id", self.session.as_bytes());
            add("mcp-protocol-version", LEGACY.as_bytes());
        } else {
            let version = MODERN.to_owned();
            let usual = [("mcp-protocol-version", version), ("mcp-method", "tools/call".into())];
            let name = [("mcp-name", format!("up__{}", case.tool))];
            let usual = usual.into_iter().chain(name);
            for (header, value) in usual.filter(|(header, _)| !case.without.contains(header)) {
                add(header, value.as_bytes());
            }
        }
        case.headers.iter().for_each(|(name, value)| add(name, value.as_bytes()));
        headers
    }

    /// What is wrong with how the case went.
    async fn run(&mut self, case: &Case, kind: Kind) -> Result<(), String> {
        let (headers, body) = (self.headers(case, kind), case.body(kind));
        let response = send(self.gateway.port, "POST", body, headers).await;
        let status = response.status();
        let body = within("the answer", response.into_body().collect()).await.unwrap().to_bytes();
        let told = format!("{status} {}", String::from_utf8_lossy(&body));
        let received = self.received();
        match (case.want, received.as_slice()) {
            (Want::Refused, []) => Ok(()),
            (Want::Sent, [params]) => {
                let arguments = judged(case, params)?;
                self.arrived.push(arguments);
                Ok(())
            }
            (want, all) => Err(format!("is to be {want:?}, arrived: {all:?}; answer: {told}")),
        }
    }
}

/// The arguments as they arrived, if they are what was asked for and nobody can read in them what
/// the policies forbid.
fn judged(case: &Case, params: &str) -> Result<String, String> {
    let one = |name: &str| match readings(params, name).as_slice() {
        [] => Ok(None),
        [(key, only)] if key == name => Ok(Some(only.clone())),
        several => Err(format!("`{name}` can be read as {several:?}")),
    };
    let name = one("name")?.unwrap_or_default();
    if serde_json::from_str::<String>(&name).ok().as_deref() != Some(case.tool) {
        return Err(format!("it was the tool {name} that was called"));
    }
    let arguments = one("arguments")?.unwrap_or_else(|| "{}".to_owned());
    if let Some(want) = case.arguments().filter(|want| *want != arguments) {
        return Err(format!("sent {want}, arrived {arguments}"));
    }
    match forbidden(&arguments) {
        Some(what) => Err(format!("somebody reads {what} in {arguments}")),
        None => Ok(arguments),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_judged_differently_from_what_is_forwarded() {
    let cases = cases();
    assert!(cases.len() >= 200, "{}", cases.len());
    assert!(cases.iter().filter(|case| case.want == Want::Sent).count() >= 50);
    let mut road = Road::new().await;
    let mut wrong = Vec::new();
    for case in &cases {
        for kind in case.kinds() {
            if let Err(what) = road.run(case, *kind).await {
                wrong.push(format!("{kind:?}: {}: {what}", case.about));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let Road { gateway, arrived, .. } = road;
    let (_, dir) = gateway.end();
    let audit = dir.path().join("state/audit");
    let kept = kept_in(&audit.join("current/vault"));
    let intents = audit_in(&audit).into_iter().filter(|record| record["kind"] == "intent");
    let on_record: Vec<_> =
        intents.map(|intent| kept[intent["args_commit"].as_str().unwrap()].clone()).collect();
    assert_eq!(on_record, arrived, "what is on record is what arrived");
}

/// What the vault keeps, by the commitment to it.
fn kept_in(vault: &Path) -> HashMap<String, String> {
    let mut kept = HashMap::new();
    for segment in fs::read_dir(vault).unwrap() {
        for line in fs::read_to_string(segment.unwrap().path()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let [commit, text] =
                ["commit", "text"].map(|key| line[key].as_str().unwrap_or_default());
            kept.insert(commit.to_owned(), text.to_owned());
        }
    }
    kept
}
