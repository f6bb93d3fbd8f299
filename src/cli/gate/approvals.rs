//! `approvals`: which calls wait for somebody, and letting them through or not.
//!
//! Shows all that a decision is about: who asks, which tool, every argument, and what speaks
//! against it. Words what it is told; decides nothing.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::{
        Common, Ending, Failure, say,
        service::{ask, text},
    },
    gate::shown,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Approvals {
    /// Calls that wait, with their arguments, and errands that are remembered.
    List(Common),
    /// Let one call through, once: the client makes it again.
    Allow {
        #[command(flatten)]
        one: One,
        /// Also what goes to the same places, for as long as policies/risk.toml lets it.
        #[arg(long)]
        remember: bool,
    },
    /// Refuse it.
    Deny(One),
    /// Ask again about what is remembered.
    Forget(One),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct One {
    #[command(flatten)]
    common: Common,
    /// The id that `approvals list`, and the answer to the call, shows.
    id: String,
}

pub(in crate::cli) fn approvals(action: Approvals) -> Result<Ending, Failure> {
    match action {
        Approvals::List(common) => list(&common),
        Approvals::Allow { one, remember } => {
            let body = json!({ "id": one.id, "remember": remember });
            tell(&one, "/admin/approvals/allow", &body, "goes through when it is made again")
        }
        Approvals::Deny(one) => {
            tell(&one, "/admin/approvals/deny", &json!({ "id": one.id }), "is refused")
        }
        Approvals::Forget(one) => {
            tell(&one, "/admin/approvals/forget", &json!({ "id": one.id }), "is asked about again")
        }
    }
}

fn list(common: &Common) -> Result<Ending, Failure> {
    let told = ask(&common.config, Method::GET, "/admin/approvals", None)?;
    if common.json {
        say(&told.to_string());
        return Ok(Ending::Fine);
    }
    let entries = |key| told.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for one in entries("approvals") {
        show(one);
    }
    for one in entries("remembered") {
        let places = one.get("places").map(ToString::to_string).unwrap_or_default();
        say(&format!("remembered {} {} to {}", text(one, "id"), called(one), shown(&places)));
    }
    if entries("approvals").is_empty() {
        say("no call waits for an approval");
    }
    Ok(Ending::Fine)
}

/// Whatever others have written is shown with its odd characters escaped.
fn show(one: &Value) {
    let (id, state) = (text(one, "id"), text(one, "state"));
    say(&format!("{state:8} {id} {}", called(one)));
    say(&format!("  asked by {} ({})", shown(text(one, "principal")), shown(text(one, "client"))));
    say(&format!("  arguments {}", shown(text(one, "arguments"))));
    let risk = one.get("risk").and_then(Value::as_u64).unwrap_or_default();
    say(&format!("  risk {risk}: {}", text(one, "reasons")));
    if state == "waiting" {
        say(&format!("  portcullis approvals allow {id}   or   deny {id}"));
    }
}

fn called(one: &Value) -> String {
    format!("{}/{}", text(one, "server"), shown(text(one, "tool")))
}

fn tell(one: &One, path: &str, body: &Value, done: &str) -> Result<Ending, Failure> {
    let told = ask(&one.common.config, Method::POST, path, Some(body))?;
    match one.common.json {
        true => say(&told.to_string()),
        false => say(&format!("{} {done}", called(&told))),
    }
    Ok(Ending::Fine)
}
