//! The rmcp client as a peer: lists the tools of a URL and makes the calls it is given.
//!
//! `rmcp-peer URL auto|legacy|modern` reads calls as a JSON array from standard input and prints
//! one JSON line for the session and one for each result. Judges nothing: `clients.py` does.

use std::{error::Error, io};

use rmcp::{
    ClientLifecycleMode, ClientServiceExt,
    model::{CallToolRequestParams, ClientConfig, ProtocolVersion},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().ok_or("usage: rmcp-peer URL auto|legacy|modern")?;
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match words.next().as_deref() {
        Some("auto") => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
        Some("modern") => ClientLifecycleMode::Discover { preferred_versions },
        Some("legacy") => ClientLifecycleMode::Initialize,
        other => return Err(format!("mode is auto, legacy or modern, not {other:?}").into()),
    };
    let calls: Vec<Value> = serde_json::from_reader(io::stdin())?;

    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = ClientConfig::default().serve_with_lifecycle(transport, lifecycle).await?;
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
