//! What policies allow, deny and refuse to be, by examples.

mod decide;
mod heads;
mod mistakes;

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Offer, Policies};
use crate::{
    config::{Config, Finding, Surroundings},
    domain::{Kind, ServerName, Subject},
};

const SERVERS: &str =
    "[servers.fs]\ncommand = \"git-mcp\"\n[servers.mail]\ncommand = \"git-mcp\"\n";

/// The policies of these files, or their mistakes.
fn policies(files: &[(&str, &str)]) -> Result<Policies, Vec<Finding>> {
    compile(files).map(|(_, policies)| policies)
}

fn compile(files: &[(&str, &str)]) -> Result<(Config, Policies), Vec<Finding>> {
    let around = Surroundings::with_policies(files);
    let config = Config::from_str_at(SERVERS, Path::new("/etc/servers.toml"), &around);
    let config = config.map_err(|errors| errors.errors)?;
    let policies = Policies::compile(&config)?;
    Ok((config, policies))
}

fn server(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

fn tool(name: &str, properties: &Value, annotations: &Value) -> (Subject, Bytes) {
    let required = properties.as_object().unwrap().iter().filter(|(_, p)| p["required"] == true);
    let required: Vec<_> = required.map(|(name, _)| name.clone()).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let definition = json!({ "name": name, "inputSchema": schema, "annotations": annotations });
    (Subject::parse(Kind::Tool, name).unwrap(), definition.to_string().into())
}

/// The tools of `fs` and `mail`.
fn tools() -> [(ServerName, Vec<(Subject, Bytes)>); 2] {
    let path = json!({ "path": { "type": "string", "required": true } });
    let send = json!({
        "to": { "type": "string", "required": true },
        "cc": { "type": "array", "items": { "type": "string" } },
        "priority": { "type": "integer" },
        "amount": { "type": "number" },
    });
    let fs = vec![
        tool("read_file", &path, &json!({ "readOnlyHint": true })),
        tool("delete", &path, &json!({})),
    ];
    let summary = json!({ "name": "summary", "arguments": [{ "name": "topic" }] }).to_string();
    let summary = (Subject::parse(Kind::Prompt, "summary").unwrap(), summary.into());
    let mail = vec![tool("send", &send, &json!({})), summary];
    [(server("fs"), fs), (server("mail"), mail)]
}

fn bind(policies: &Policies) -> (Policies, Vec<Finding>) {
    let tools = tools();
    let offers: Vec<_> = tools
        .iter()
        .map(|(server, tools)| Offer {
            odd: None,
            server,
            listed: Some(tools.iter().map(|(subject, text)| (subject, text)).collect()),
        })
        .collect();
    policies.bind(&offers)
}
