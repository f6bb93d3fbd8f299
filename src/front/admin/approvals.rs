//! Approvals as the operator sees, gives and refuses them.
//!
//! What waits is shown whole only to who may decide; the page that clients point their users to
//! says no more than that something waits, and how to decide. Decides nothing.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::Action;
use crate::{
    domain::ApprovalId,
    front::http::{Body, plain},
    gate::{About, Approvals, Decision, DecisionError, Remembered, Request, State},
};

pub(super) const LIST: &str = "/admin/approvals";
pub(super) const ALLOW: &str = "/admin/approvals/allow";
pub(super) const DENY: &str = "/admin/approvals/deny";
pub(super) const FORGET: &str = "/admin/approvals/forget";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    id: String,
    #[serde(default)]
    remember: bool,
}

/// Where a person can see what a call waits for.
pub(in crate::front) fn page(id: ApprovalId) -> String {
    format!("{LIST}/{id}")
}

/// The approval that a page is about.
pub(super) fn on_page(path: &str) -> Option<ApprovalId> {
    ApprovalId::parse(path.strip_prefix(LIST)?.strip_prefix('/')?)
}

pub(super) fn list(approvals: &Approvals) -> Response<Body> {
    let (requests, remembered) = approvals.list();
    let told = json!({
        "approvals": requests.iter().map(request).collect::<Vec<_>>(),
        "remembered": remembered.iter().map(kept).collect::<Vec<_>>(),
    });
    super::told(StatusCode::OK, &told)
}

/// For whoever made the call: what they know already, and what is to be done.
pub(super) fn show(approvals: &Approvals, id: ApprovalId) -> Response<Body> {
    let (requests, _) = approvals.list();
    let Some(one) = requests.iter().find(|one| one.id == id) else {
        return plain(StatusCode::NOT_FOUND, "nothing waits under this id; it may have expired");
    };
    let About { server, tool, score, .. } = &one.about;
    let text = match one.state {
        State::Waiting => format!(
            "A call of `{tool}` at `{server}` waits for an approval (risk {score}).\n\n\
             To see it whole:   portcullis approvals list\n\
             To let it through: portcullis approvals allow {id}\n\
             To refuse it:      portcullis approvals deny {id}\n"
        ),
        State::Allowed | State::Used { .. } => {
            format!("The call of `{tool}` at `{server}` is approved of.\n")
        }
        State::Refused => format!("The call of `{tool}` at `{server}` is refused.\n"),
    };
    plain(StatusCode::OK, &text)
}

pub(super) async fn decide(
    approvals: &Approvals,
    (action, who): (Action, &str),
    body: &[u8],
) -> Response<Body> {
    let word = serde_json::from_slice::<Word>(body).ok();
    let id = word.as_ref().and_then(|word| ApprovalId::parse(&word.id));
    let (Some(word), Some(id)) = (word, id) else {
        return plain(StatusCode::BAD_REQUEST, "the body is not what this request takes");
    };
    let done = match (action, word.remember) {
        (Action::Forget, _) => approvals.forget(id, who).await.map(|one| kept(&one)),
        (Action::Deny, _) => {
            approvals.decide(id, who, Decision::Refuse).await.map(|one| request(&one))
        }
        (_, true) => approvals.decide(id, who, Decision::Remember).await.map(|one| request(&one)),
        (_, false) => approvals.decide(id, who, Decision::Allow).await.map(|one| request(&one)),
    };
    match done {
        Ok(value) => super::told(StatusCode::OK, &value),
        Err(error) => super::told(status(&error), &json!({ "error": error.to_string() })),
    }
}

fn status(error: &DecisionError) -> StatusCode {
    match error {
        DecisionError::Unknown => StatusCode::NOT_FOUND,
        DecisionError::Own => StatusCode::FORBIDDEN,
        DecisionError::Decided
        | DecisionError::NotRemembered
        | DecisionError::Placeless
        | DecisionError::Full => StatusCode::CONFLICT,
        DecisionError::Audit | DecisionError::Disk(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn request(one: &Request) -> Value {
    let state = match one.state {
        State::Waiting => "waiting",
        State::Allowed => "allowed",
        State::Used { .. } => "used",
        State::Refused => "refused",
    };
    let mut told = about(&one.about);
    let more = json!({
        "id": one.id.to_string(),
        "state": state,
        "asked_ms": one.asked_ms,
        "expires_ms": one.expires_ms,
        "can_be_remembered": one.can_be_remembered(),
    });
    super::reload::merge(&mut told, more);
    told
}

fn kept(one: &Remembered) -> Value {
    let mut told = about(&one.about);
    let more = json!({
        "id": one.id.to_string(), "until_ms": one.until_ms, "places": one.places(),
    });
    super::reload::merge(&mut told, more);
    told
}

fn about(about: &About) -> Value {
    let About { principal, client, server, tool, arguments, score, reasons, policies } = about;
    json!({
        "principal": principal,
        "client": client,
        "server": server,
        "tool": tool,
        "arguments": arguments,
        "risk": score,
        "reasons": reasons,
        "policies": policies,
    })
}
