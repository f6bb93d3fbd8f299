//! `reload` and `diff`: the running gateway takes what servers.toml says now, or says what it would
//! change. The gateway reads the file itself, with its own environment and secrets.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{ConfigArg, Ending, Failure, client::Client, complain, find_gateway, say, wait_for};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Waits until the new configuration serves calls, or was refused.
pub(super) fn reload(args: &Args) -> Result<Ending, Failure> {
    show(args, Method::POST, "/admin/reload", |told| {
        let generation = told.get("generation").and_then(Value::as_u64).unwrap_or_default();
        let result = told.get("result").and_then(Value::as_str).unwrap_or_default();
        say(&format!("{result}: generation {generation}"));
        show_changes(told);
        for down in list(told, "down") {
            say(&format!("  ! {} is not ready: {}", text(down, "server"), text(down, "why")));
        }
    })
}

pub(super) fn diff(args: &Args) -> Result<Ending, Failure> {
    show(args, Method::GET, "/admin/diff", show_changes)
}

fn show(
    args: &Args,
    method: Method,
    path: &str,
    print: impl FnOnce(&Value),
) -> Result<Ending, Failure> {
    let gateway = find_gateway(&args.config)?;
    let (status, told) = wait_for(async {
        let mut client = Client::operator(&gateway).await?;
        client.ask(method, path, None).await
    })?;
    let is_fine = status == StatusCode::OK;
    match (args.json, is_fine) {
        (true, _) => say(&told.to_string()),
        (false, true) => print(&told),
        (false, false) => {
            let shown = [text(&told, "text"), text(&told, "error")];
            shown.into_iter().filter(|text| !text.is_empty()).for_each(|s| complain(s.trim_end()));
            complain("refused: what was running stays");
        }
    }
    Ok(if is_fine { Ending::Fine } else { Ending::SaidNo })
}

fn show_changes(told: &Value) {
    for (mark, key) in [('+', "added"), ('-', "removed")] {
        for name in list(told, key) {
            say(&format!("  {mark} {}", name.as_str().unwrap_or_default()));
        }
    }
    for change in list(told, "changed") {
        let keys: Vec<_> = list(change, "keys").iter().filter_map(Value::as_str).collect();
        let replaced = change.get("replaced").and_then(Value::as_bool).unwrap_or(true);
        let how = if replaced { "started anew" } else { "goes on" };
        say(&format!("  ~ {} ({}): {how}", text(change, "server"), keys.join(", ")));
    }
    if told.get("policies").and_then(Value::as_bool).unwrap_or_default() {
        say("  ~ policies");
    }
    let unchanged = told.get("unchanged").and_then(Value::as_u64).unwrap_or_default();
    say(&format!("  {unchanged} unchanged"));
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
