//! Everything that the admin listener serves, in one table: what is asked there, and who may.
//!
//! Whoever adds a request adds its row; what has none is not served. The order is that of the
//! document which tells other programs of them. Pure: answers nothing itself.

mod openapi;

use std::sync::LazyLock;

use http::Method;

pub(super) use openapi::document;

use super::{
    approvals,
    estop::{self, Word},
    keys,
};
use crate::front::identity::Role;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Health,
    Ready,
    Metrics,
    Status,
    Stop(Word),
    Reload,
    Diff,
    Pins,
    ApprovePins,
    Approvals,
    Allow,
    Deny,
    Forget,
    ApprovalPage,
    Keys,
    RefreshKeys,
    Document,
    Calls,
    Audit,
}

/// Whether it is answered also when there is no room for more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Vital,
    Usual,
}

/// One request that is served.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) method: Method,
    pub(super) action: Action,
    /// The least that may; none: whoever gets here.
    pub(super) role: Option<Role>,
    pub(super) room: Room,
    /// One sentence, for people.
    pub(super) says: &'static str,
}

const PAGE: &str = "/admin/approvals/{id}";

/// A row each: path, method, action, role, room, what it is.
macro_rules! routes {
    ($($path:expr, $method:ident, $action:expr, $role:expr, $room:ident, $says:literal;)*) => {
        pub(super) const ROUTES: &[Route] = &[$(Route {
            path: $path, method: Method::$method, action: $action, role: $role,
            room: Room::$room, says: $says,
        }),*];
    };
}

const ANYBODY: Option<Role> = None;
const VIEWER: Option<Role> = Some(Role::Viewer);
const OPERATOR: Option<Role> = Some(Role::Operator);
const ADMIN: Option<Role> = Some(Role::Admin);

routes! {
    "/health", GET, Action::Health, ANYBODY, Vital, "Whether the process lives.";
    "/ready", GET, Action::Ready, ANYBODY, Vital, "Whether calls may come, and if not, why.";
    "/metrics", GET, Action::Metrics, VIEWER, Vital, "Every metric, for Prometheus.";
    "/admin/status", GET, Action::Status, VIEWER, Vital, "How everything is, and why.";
    estop::STATE, GET, Action::Stop(Word::Status), VIEWER, Vital, "What is stopped.";
    estop::STATE, POST, Action::Stop(Word::Engage), OPERATOR, Vital, "Stops something, at once.";
    estop::RESET, POST, Action::Stop(Word::Reset), ADMIN, Vital, "The first step back.";
    estop::RESUME, POST, Action::Stop(Word::Resume), ADMIN, Vital, "The second: calls go on.";
    estop::DRILL, POST, Action::Stop(Word::Drill), ADMIN, Usual,
        "Stops something in earnest, says how long that took, and lifts it.";
    estop::HEARTBEAT, POST, Action::Stop(Word::Heartbeat), OPERATOR, Vital,
        "Says that somebody still watches.";
    "/admin/reload", POST, Action::Reload, OPERATOR, Usual, "Takes what servers.toml says now.";
    "/admin/diff", GET, Action::Diff, VIEWER, Usual, "What a reload would do.";
    "/admin/pins", GET, Action::Pins, VIEWER, Usual,
        "Definitions that are approved, and those that wait.";
    "/admin/pins/approve", POST, Action::ApprovePins, ADMIN, Usual,
        "Approves definitions that somebody has seen.";
    approvals::LIST, GET, Action::Approvals, OPERATOR, Usual,
        "Calls that wait for an approval, and approvals that are remembered.";
    approvals::ALLOW, POST, Action::Allow, OPERATOR, Usual, "Lets a call through.";
    approvals::DENY, POST, Action::Deny, OPERATOR, Usual, "Refuses one.";
    approvals::FORGET, POST, Action::Forget, OPERATOR, Usual,
        "Asks again about what was remembered.";
    PAGE, GET, Action::ApprovalPage, ANYBODY, Usual,
        "What a call waits for, in words for who made it.";
    keys::KEYS, GET, Action::Keys, OPERATOR, Usual, "Whose keys there are, and until when.";
    keys::REFRESH, POST, Action::RefreshKeys, ADMIN, Usual, "Takes what keys.json says now.";
    "/admin/calls", GET, Action::Calls, VIEWER, Usual,
        "What is decided on calls, and what comes of them, as it happens.";
    "/admin/audit", GET, Action::Audit, VIEWER, Usual,
        "How far the record is, and its last checkpoint.";
    "/admin/openapi.json", GET, Action::Document, VIEWER, Usual, "This document.";
}

/// What a request comes to.
#[derive(Debug)]
pub(super) enum Found {
    This(&'static Route),
    /// Something is served there, by these methods.
    OtherMethod(&'static str),
    Nothing,
}

pub(super) fn find(path: &str, method: &Method) -> Found {
    let is_served = ROUTES.iter().any(|route| route.path == path);
    let path = if !is_served && approvals::on_page(path).is_some() { PAGE } else { path };
    let mut here = ROUTES.iter().filter(|route| route.path == path);
    if let Some(route) = here.clone().find(|route| route.method == method) {
        return Found::This(route);
    }
    match (here.next().map(|route| &route.method), here.next()) {
        (None, _) => Found::Nothing,
        (Some(_), Some(_)) => Found::OtherMethod("GET, POST"),
        (Some(&Method::GET), None) => Found::OtherMethod("GET"),
        (Some(_), None) => Found::OtherMethod("POST"),
    }
}

/// The paths that are served under a flood, too.
pub(in crate::front) fn vital() -> &'static [&'static str] {
    static VITAL: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let vital = ROUTES.iter().filter(|route| route.room == Room::Vital);
        vital.map(|route| route.path).collect()
    });
    &VITAL
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Action, Found, ROUTES, Role, Word, find};

    #[test]
    fn a_path_is_found_by_its_method_and_the_others_are_named() {
        let action = |path, method| match find(path, &method) {
            Found::This(route) => Some(route.action),
            Found::OtherMethod(_) | Found::Nothing => None,
        };
        assert_eq!(action("/admin/estop", Method::POST), Some(Action::Stop(Word::Engage)));
        let page = format!("/admin/approvals/{}", crate::domain::ApprovalId::new(7));
        assert_eq!(action(&page, Method::GET), Some(Action::ApprovalPage));
        assert_eq!(action("/admin/approvals/allow", Method::POST), Some(Action::Allow));
        for (path, allowed) in
            [("/admin/estop", "GET, POST"), ("/admin/reload", "POST"), (page.as_str(), "GET")]
        {
            let found = find(path, &Method::DELETE);
            assert!(matches!(found, Found::OtherMethod(told) if told == allowed), "{found:?}");
        }
        for path in ["/admin", "/admin/approvals/x", "/admin/approvals/{id}/x", "/mcp"] {
            assert!(matches!(find(path, &Method::GET), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn nobody_changes_anything_as_a_viewer() {
        for route in ROUTES {
            let reads = route.method == Method::GET;
            assert!(reads || route.role >= Some(Role::Operator), "{route:?}");
            assert!(route.says.ends_with('.'), "{route:?}");
        }
    }
}
