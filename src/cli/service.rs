//! `stop` and `estop`: the operator's side of the emergency stop.

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ConfigArg, Ending, Failure, client::Client, find_gateway, say, wait_for};
use crate::config::Listen;

/// How the answer is printed, and by which file the gateway is found.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the state as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct EngageArgs {
    #[command(flatten)]
    common: Common,
    /// Why; it goes into the audit.
    #[arg(long, default_value = "")]
    reason: String,
    /// What is stopped: global, server:NAME, tool:SERVER/NAME or principal:NAME.
    #[arg(long, default_value = "global")]
    scope: String,
    /// 0: servers are frozen and killed at once. 1: they get 2 s to wind up.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    category: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Estop {
    /// Nothing is sent any more, until it is reset and resumed. Survives a restart.
    Engage(EngageArgs),
    /// The first of two steps back. Names the stop's id, so that nobody lifts one he has not seen.
    Reset {
        #[command(flatten)]
        common: Common,
        /// The id that `estop status` shows.
        #[arg(long)]
        id: String,
        /// Why; it goes into the audit.
        #[arg(long)]
        reason: String,
    },
    /// The second step: servers are started and calls are sent again.
    Resume {
        #[command(flatten)]
        common: Common,
        /// The id of a stop that was reset.
        #[arg(long)]
        id: String,
    },
    /// Tries the stop out in earnest, says how fast it was, and takes it back.
    Drill {
        #[command(flatten)]
        common: Common,
        /// What is stopped for the moment: global, server:NAME, tool:SERVER/NAME, principal:NAME.
        #[arg(long)]
        scope: String,
    },
    /// What is stopped, by whom and why. Exit code 4 when anything is.
    Status(Common),
}

pub(super) fn engage(args: &EngageArgs) -> Result<Ending, Failure> {
    let EngageArgs { common, reason, scope, category } = args;
    let body = json!({ "reason": reason, "scope": scope, "category": category });
    tell(common, "/admin/estop", &body)
}

pub(super) fn estop(action: Estop) -> Result<Ending, Failure> {
    match action {
        Estop::Engage(args) => engage(&args),
        Estop::Reset { common, id, reason } => {
            tell(&common, "/admin/estop/reset", &json!({ "id": id, "reason": reason }))
        }
        Estop::Drill { common, scope } => {
            tell(&common, "/admin/estop/drill", &json!({ "scope": scope }))
        }
        Estop::Resume { common, id } => tell(&common, "/admin/estop/resume", &json!({ "id": id })),
        Estop::Status(common) => {
            let state = ask_the_stop(&common.config, (Method::GET, "/admin/estop"), None)?;
            show(&common, &state);
            Ok(if engaged(&state) { Ending::Stopped } else { Ending::Fine })
        }
    }
}

fn tell(common: &Common, path: &str, body: &Value) -> Result<Ending, Failure> {
    let state = ask_the_stop(&common.config, (Method::POST, path), Some(body))?;
    show(common, &state);
    if let Some(drill) = state.get("drill").filter(|_| !common.json) {
        say(&format!("  drill: {drill}"));
    }
    Ok(Ending::Fine)
}

/// At the stop's own door, which is served even when the gateway's runtime is not; where there is
/// none, at the admin listener.
fn ask_the_stop(
    config: &ConfigArg,
    (method, path): (Method, &str),
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let gateway = find_gateway(config)?;
    let places = gateway.estop();
    wait_for(async {
        let mut client = match Client::connect(&Listen::Unix(places.socket)).await {
            Ok(client) => client,
            Err(_) => Client::operator(&gateway).await?,
        };
        answered(client.ask(method, path, body).await?)
    })
}

fn answered((status, value): (StatusCode, Value)) -> Result<Value, Failure> {
    if status == StatusCode::OK {
        return Ok(value);
    }
    let told = value.get("error").and_then(Value::as_str).unwrap_or("refused");
    Err(Failure::new(Ending::SaidNo, told))
}

fn show(common: &Common, state: &Value) {
    if common.json {
        say(&state.to_string());
    } else {
        show_stop(state);
    }
}

pub(super) fn ask(
    config: &ConfigArg,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let gateway = find_gateway(config)?;
    wait_for(async {
        let mut client = Client::operator(&gateway).await?;
        answered(client.ask(method, path, body).await?)
    })
}

/// Every stop on two lines: what, by whom and why; and what the next step is.
pub(super) fn show_stop(state: &Value) {
    let stops = state.get("stops").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for stop in stops {
        let [id, scope, who, why] = ["id", "scope", "who", "why"].map(|key| text(stop, key));
        if text(stop, "phase") == "ready" {
            say(&format!("READY {scope}, was stopped by {who}: {why} (id {id})"));
            say(&format!("  to go on: portcullis estop resume --id {id}"));
        } else {
            say(&format!("STOPPED {scope} by {who}: {why} (id {id})"));
            say(&format!("  to lift it: portcullis estop reset --id {id} --reason '...'"));
        }
    }
    if stops.is_empty() {
        say("running; the emergency stop is not engaged");
    }
}

pub(super) fn engaged(state: &Value) -> bool {
    state.get("engaged").and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
