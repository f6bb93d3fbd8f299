//! rmcp as a peer: its client in two ways, and a server; it judges nothing.
//!
//! `rmcp-peer calls URL auto|legacy|modern` reads calls as a JSON array from standard input, lists
//! the tools and prints one JSON line for the session and one for each result, for `clients.py`.
//! `rmcp-peer checks ENDPOINT auto|legacy` makes the checks of `crossing.py`, a line each.
//! `rmcp-peer talker [PORT]` is a server, on its pipes or over Streamable HTTP.

mod checks;
mod talker;

use std::{error::Error, io};

use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ClientConfig, ProtocolVersion},
    service::RunningService,
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["calls", url, mode] => calls(url, mode).await,
        ["checks", endpoint, mode] => checks::run(endpoint, mode).await,
        ["talker"] => talker::run(None).await,
        ["talker", port] => talker::run(Some(port)).await,
        _ => {
            Err("usage: rmcp-peer calls|checks ENDPOINT auto|legacy|modern, or talker [PORT]"
                .into())
        }
    }
}

async fn calls(url: &str, mode: &str) -> Result<()> {
    let calls: Vec<Value> = serde_json::from_reader(io::stdin())?;
    let (client, _) = connect(ClientConfig::default(), url, mode).await?;
    let version = client.peer_info().map(|peer| peer.protocol_version.to_string());
    let tools = client.list_all_tools().await?;
    let names: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
    println!("{}", json!({ "version": version, "tools": names }));
    for call in calls {
        let name = call["name"].as_str().ok_or("a call has a name")?.to_owned();
        let arguments = call["arguments"].as_object().cloned().unwrap_or_default();
        let call = CallToolRequestParams::new(name).with_arguments(arguments);
        println!("{}", serde_json::to_string(&client.call_tool(call).await?)?);
    }
    client.cancel().await?;
    Ok(())
}

/// An endpoint is a URL, or a command as JSON, whose process comes back as well.
async fn connect<H: ClientHandler>(
    handler: H,
    endpoint: &str,
    mode: &str,
) -> Result<(RunningService<RoleClient, H>, Option<Child>)> {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match mode {
        "auto" => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
        "modern" => ClientLifecycleMode::Discover { preferred_versions },
        "legacy" => ClientLifecycleMode::Initialize,
        other => return Err(format!("mode is auto, legacy or modern, not {other}").into()),
    };
    if !endpoint.starts_with('{') {
        let transport = StreamableHttpClientTransport::from_uri(endpoint);
        return Ok((handler.serve_with_lifecycle(transport, lifecycle).await?, None));
    }
    let mut child = spawn(&serde_json::from_str(endpoint)?)?;
    let pipes = (child.stdout.take().ok_or("piped")?, child.stdin.take().ok_or("piped")?);
    Ok((handler.serve_with_lifecycle(pipes, lifecycle).await?, Some(child)))
}

fn spawn(endpoint: &Value) -> Result<Child> {
    let mut command = Command::new(endpoint["command"].as_str().ok_or("a command has a program")?);
    command.args(endpoint["args"].as_array().into_iter().flatten().filter_map(Value::as_str));
    for (key, value) in endpoint["env"].as_object().into_iter().flatten() {
        command.env(key, value.as_str().unwrap_or_default());
    }
    let piped = std::process::Stdio::piped;
    Ok(command.stdin(piped()).stdout(piped()).spawn()?)
}
