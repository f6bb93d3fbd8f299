//! The admin surface as an OpenAPI 3.1 document, made from the table of what is served.
//!
//! Nothing is in it that the table does not have. The bodies that requests take are described here,
//! by what asks for them; what is answered, by its form. Pure.

use std::sync::LazyLock;

use http::Method;
use serde_json::{Map, Value, json};

use super::{Action, PAGE, ROUTES, Role, Route, Word};

/// Made once.
pub(in crate::front::admin) fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
    &DOCUMENT
}

fn build() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let here = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(here) = here.as_object_mut() {
            here.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Served on the admin listener only. Over TCP, what changes something \
                            needs the word in estop/token as a bearer token.",
        },
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "paths": paths,
    })
}

fn operation(route: &Route) -> Value {
    let role = route.role.map_or("anybody", Role::as_str);
    let mut operation = json!({
        "summary": route.says,
        "operationId": format!("{:?}", route.action).replace(['(', ')'], ""),
        "x-portcullis-role": role,
        "responses": { "200": { "description": "Done.", "content": { form(route.action): {} } } },
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if route.path == PAGE {
        let id = json!({
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
        });
        fields.insert("parameters".to_owned(), json!([id]));
    }
    if route.role.is_some() && route.method != Method::GET {
        fields.insert("security".to_owned(), json!([{ "token": [] }]));
    }
    if let Some((schema, is_needed)) = body(route.action) {
        let content = json!({ "application/json": { "schema": schema } });
        let body = json!({ "required": is_needed, "content": content });
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

fn form(action: Action) -> &'static str {
    match action {
        Action::Health | Action::Metrics | Action::ApprovalPage => "text/plain",
        Action::Ready
        | Action::Status
        | Action::Stop(_)
        | Action::Reload
        | Action::Diff
        | Action::Pins
        | Action::ApprovePins
        | Action::Approvals
        | Action::Allow
        | Action::Deny
        | Action::Forget
        | Action::Keys
        | Action::RefreshKeys
        | Action::Audit
        | Action::Document => "application/json",
        Action::Calls => "text/event-stream",
    }
}

/// What a request takes, and whether it needs it.
fn body(action: Action) -> Option<(Value, bool)> {
    let text = || json!({ "type": "string" });
    let scope = || {
        let told = "global, server:NAME, tool:SERVER/NAME or principal:NAME";
        json!({ "type": "string", "description": told })
    };
    let category = || json!({ "type": "integer", "enum": [0, 1] });
    Some(match action {
        Action::Stop(Word::Engage) => {
            let fields = json!({ "reason": text(), "scope": scope(), "category": category() });
            (object(&fields, &[]), false)
        }
        Action::Stop(Word::Reset) => {
            (object(&json!({ "id": text(), "reason": text() }), &["id", "reason"]), true)
        }
        Action::Stop(Word::Resume) => (object(&json!({ "id": text() }), &["id"]), true),
        Action::Stop(Word::Drill) => {
            (object(&json!({ "scope": scope(), "category": category() }), &["scope"]), true)
        }
        Action::ApprovePins => {
            let fields = json!({ "server": text(), "name": text(), "seen": text() });
            (object(&fields, &["seen"]), true)
        }
        Action::Allow | Action::Deny | Action::Forget => {
            let fields = json!({ "id": text(), "remember": { "type": "boolean" } });
            (object(&fields, &["id"]), true)
        }
        Action::Stop(Word::Status | Word::Heartbeat)
        | Action::Health
        | Action::Ready
        | Action::Metrics
        | Action::Status
        | Action::Reload
        | Action::Diff
        | Action::Pins
        | Action::Approvals
        | Action::Keys
        | Action::RefreshKeys
        | Action::ApprovalPage
        | Action::Calls
        | Action::Audit
        | Action::Document => return None,
    })
}

fn object(fields: &Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": false,
    })
}
