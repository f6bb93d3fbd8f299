//! `status`, `stop` and `estop`: the operator's side, over the admin listener.

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ConfigArg, Ending, Failure, client::Client, find_gateway, say, wait_for};

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this server, with its last lines on standard error.
    server: Option<String>,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

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

pub(super) fn status(args: &StatusArgs) -> Result<Ending, Failure> {
    let mut status = ask(&args.config, Method::GET, "/admin/status", None)?;
    if let Some(name) = &args.server {
        let servers = status.get_mut("servers").map(Value::take).unwrap_or_default();
        let all = servers.as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|server| text(server, "name") == name);
        let unknown = || Failure::new(Ending::SaidNo, format!("no server `{name}` is running"));
        let server = found.ok_or_else(unknown)?;
        if args.json {
            say(&server.to_string());
        } else {
            show_server(&server);
            let lines = server.get("stderr").and_then(Value::as_array);
            lines.into_iter().flatten().filter_map(Value::as_str).for_each(|line| {
                say(&format!("    | {line}"));
            });
        }
        return Ok(Ending::Fine);
    }
    if args.json {
        say(&status.to_string());
    } else {
        show(&status);
    }
    Ok(Ending::Fine)
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

fn ask(
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

fn show(status: &Value) {
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or_default();
    let stop = status.get("stop").cloned().unwrap_or_default();
    let audit = status.pointer("/audit/healthy").and_then(Value::as_bool).unwrap_or(false);
    say(&format!(
        "portcullis {} · generation {} · {} tools · {} in flight · {} sessions · audit {}",
        text(status, "version"),
        number("generation"),
        number("tools"),
        number("in_flight"),
        number("sessions"),
        if audit { "healthy" } else { "FAILED" },
    ));
    if engaged(&stop) {
        show_stop(&stop);
    }
    show_refusal(status);
    let servers = status.get("servers").and_then(Value::as_array);
    servers.into_iter().flatten().for_each(show_server);
}

/// A refused reload is news until another one goes well.
fn show_refusal(status: &Value) {
    let last = status.pointer("/config/last_reload").cloned().unwrap_or_default();
    if text(&last, "result") != "refused" {
        return;
    }
    say(&format!("RELOAD REFUSED ({}): {}", text(&last, "who"), text(&last, "error")));
    for error in last.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let number = |key: &str| error.get(key).and_then(Value::as_u64).unwrap_or_default();
        let (line, column) = (number("line"), number("column"));
        let (file, message) = (text(error, "file"), text(error, "message"));
        say(&format!("  {file}:{line}:{column}: {message}"));
    }
}

fn show_server(server: &Value) {
    let number = |key: &str| server.get(key).and_then(Value::as_u64).unwrap_or_default();
    let detail = match text(server, "why") {
        "" => format!("{} tools · {}", number("tools"), text(server, "protocol")),
        why => why.to_owned(),
    };
    say(&format!(
        "  {:20} {:9} {} restarts · {} in flight · {detail}",
        text(server, "name"),
        text(server, "state"),
        number("restarts"),
        number("in_flight"),
    ));
    let problems = server.get("problems").and_then(Value::as_array);
    problems.into_iter().flatten().filter_map(Value::as_str).for_each(|problem| {
        say(&format!("    ! {problem}"));
    });
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

fn show_stop(state: &Value) {
    if engaged(state) {
        let (id, who, why) = (text(state, "id"), text(state, "who"), text(state, "why"));
        say(&format!("STOPPED by {who}: {why} (id {id})"));
        say(&format!("  to lift it: portcullis estop reset --id {id} --reason '...'"));
    } else {
        say("running; the emergency stop is not engaged");
    }
}

fn engaged(state: &Value) -> bool {
    state.get("engaged").and_then(Value::as_bool).unwrap_or(false)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
