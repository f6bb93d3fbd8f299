//! `stop` and `estop`: the operator's side of the emergency stop, over the admin listener.

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ConfigArg, Ending, Failure, client::Client, find_gateway, say, wait_for};

#[derive(Debug, clap::Args)]
pub(super) struct EngageArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Why; it goes into the audit.
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the state as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Estop {
    /// Nothing is sent any more, until a reset. Survives a restart.
    Engage(EngageArgs),
    /// Lift the stop. Names its id, so that nobody lifts one he has not seen.
    Reset {
        #[command(flatten)]
        config: ConfigArg,
        /// The id that `estop status` shows.
        #[arg(long)]
        id: String,
        /// Why; it goes into the audit.
        #[arg(long)]
        reason: String,
        /// Print the state as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether the stop is engaged, by whom and why. Exit code 4 when it is.
    Status {
        #[command(flatten)]
        config: ConfigArg,
        /// Print the state as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn engage(args: &EngageArgs) -> Result<Ending, Failure> {
    let body = json!({ "reason": args.reason });
    let state = ask(&args.config, Method::POST, "/admin/estop", Some(&body))?;
    tell_stop(&state, if args.json { Form::Json } else { Form::Text });
    Ok(Ending::Fine)
}

pub(super) fn estop(action: Estop) -> Result<Ending, Failure> {
    match action {
        Estop::Engage(args) => engage(&args),
        Estop::Reset { config, id, reason, json } => {
            let body = json!({ "id": id, "reason": reason });
            let state = ask(&config, Method::POST, "/admin/estop/reset", Some(&body))?;
            tell_stop(&state, if json { Form::Json } else { Form::Text });
            Ok(Ending::Fine)
        }
        Estop::Status { config, json } => {
            let state = ask(&config, Method::GET, "/admin/estop", None)?;
            tell_stop(&state, if json { Form::Json } else { Form::Text });
            Ok(if engaged(&state) { Ending::Stopped } else { Ending::Fine })
        }
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
        let mut client = Client::connect(&gateway.admin).await?;
        match client.ask(method, path, body).await? {
            (StatusCode::OK, value) => Ok(value),
            (_, value) => {
                let told = value.get("error").and_then(Value::as_str).unwrap_or("refused");
                Err(Failure::new(Ending::SaidNo, told))
            }
        }
    })
}

/// How a state is printed.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
}

fn tell_stop(state: &Value, form: Form) {
    match form {
        Form::Text => show_stop(state),
        Form::Json => say(&state.to_string()),
    }
}

pub(super) fn show_stop(state: &Value) {
    if engaged(state) {
        let (id, who, why) = (text(state, "id"), text(state, "who"), text(state, "why"));
        say(&format!("STOPPED by {who}: {why} (id {id})"));
        say(&format!("  to lift it: portcullis estop reset --id {id} --reason '...'"));
    } else {
        say("running; the emergency stop is not engaged");
    }
}

pub(super) fn engaged(state: &Value) -> bool {
    state.get("engaged").and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
