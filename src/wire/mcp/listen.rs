//! Subscriptions of the modern era: the filter of a `subscriptions/listen`, and what is said to it.
//!
//! A filter has five members that we know; others are no part of it, and so are never acknowledged.
//! Everything said on a subscription carries the id of its request, spelt as the client spelt it.
//! Knows neither who listens nor what changes.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    domain::limits::LISTEN_URIS_MAX,
    wire::{
        WireError,
        json::{Frame, Object},
        rpc::{RequestId, encode_notification},
    },
};

use super::encode_own_result;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const TASK_TOLD: &str = "notifications/tasks";
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The kinds of list changes: the key of a filter, and the notification.
const KINDS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "notifications/resources/list_changed"),
];

const URIS: &str = "resourceSubscriptions";
const TASKS: &str = "taskIds";

/// What a listener wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of `KINDS`.
    lists: Vec<(&'static str, &'static str)>,
    pub uris: Vec<String>,
    pub tasks: Vec<String>,
}

impl Filter {
    /// Every list change.
    pub fn every_list() -> Self {
        Self { lists: KINDS.to_vec(), ..Self::default() }
    }

    /// The filter in the parameters of a listen.
    pub fn parse(params: Option<&Object>) -> Result<Self, WireError> {
        let wrong = |rule| WireError::Params { rule };
        let asked = params
            .and_then(|params| params.object("notifications"))
            .ok_or(wrong("`notifications` must be an object"))?;
        let mut lists = Vec::new();
        for kind in KINDS {
            match asked.peek(kind.0) {
                None | Some(b"false" | b"null") => {}
                Some(b"true") => lists.push(kind),
                Some(_) => return Err(wrong("a kind of list change must be true or false")),
            }
        }
        let named = |key| named(&asked, key).transpose().map(Option::unwrap_or_default);
        let uris =
            named(URIS).map_err(|_| wrong("`resourceSubscriptions` must be a list of URIs"))?;
        let tasks = named(TASKS).map_err(|_| wrong("`taskIds` must be a list of ids"))?;
        if uris.len().saturating_add(tasks.len()) > LISTEN_URIS_MAX {
            return Err(wrong("`notifications` names too many resources and tasks"));
        }
        Ok(Self { lists, uris, tasks })
    }

    /// The value of `notifications`.
    pub fn to_json(&self) -> Value {
        let wanted = self.lists.iter().map(|(key, _)| ((*key).to_owned(), true.into()));
        let mut members: Map<String, Value> = wanted.collect();
        for (key, names) in [(URIS, &self.uris), (TASKS, &self.tasks)] {
            if !names.is_empty() {
                members.insert(key.to_owned(), json!(names));
            }
        }
        Value::Object(members)
    }

    /// Whether a list change of this method is wanted.
    pub fn wants(&self, method: &str) -> bool {
        self.lists.iter().any(|(_, known)| *known == method)
    }
}

/// The first thing said on a subscription: what of the filter is honoured.
pub fn encode_acknowledged(id: &RequestId, honoured: &Filter) -> Frame {
    on_subscription(id, ACKNOWLEDGED, &format!(r#","notifications":{}"#, honoured.to_json()))
}

/// A list has changed.
pub fn encode_list_changed(id: Option<&RequestId>, method: &str) -> Frame {
    match id {
        Some(id) => on_subscription(id, method, ""),
        None => encode_notification(method, None),
    }
}

/// A resource has changed; on a subscription if there is an id, else to a legacy client.
pub fn encode_updated(id: Option<&RequestId>, uri: &str) -> Frame {
    const METHOD: &str = "notifications/resources/updated";
    match id {
        Some(id) => on_subscription(id, METHOD, &format!(r#","uri":{}"#, json!(uri))),
        None => encode_notification(METHOD, Some(json!({ "uri": uri }).to_string().as_bytes())),
    }
}

/// How a task stands: what a server tells who asks about it, as a notification.
pub fn encode_task_news(id: &RequestId, told: &Object) -> Frame {
    let params = told.edit().remove("resultType").set("_meta", stamp(id)).finish().into_bytes();
    encode_notification(TASK_TOLD, Some(&params))
}

/// The end of a subscription in good order.
pub fn encode_listen_end(id: &RequestId) -> Frame {
    encode_own_result(id, &format!(r#"{{"resultType":"complete","_meta":{}}}"#, stamp(id)))
}

fn on_subscription(id: &RequestId, method: &str, more: &str) -> Frame {
    encode_notification(method, Some(format!(r#"{{"_meta":{}{more}}}"#, stamp(id)).as_bytes()))
}

fn stamp(id: &RequestId) -> String {
    format!(r#"{{"{SUBSCRIPTION_ID}":{}}}"#, String::from_utf8_lossy(id.as_bytes()))
}

/// What an acknowledgement that a server sent says: the number of our request, and the resources
/// and tasks that it will tell of.
pub fn acknowledged(method: &str, params: Option<&Object>) -> Option<(u64, Filter)> {
    let params = params.filter(|_| method == ACKNOWLEDGED)?;
    let id: Bytes = params.object("_meta")?.get(SUBSCRIPTION_ID)?;
    let honoured = params.object("notifications").unwrap_or_else(Object::empty);
    // What cannot be read is not granted.
    let named = |key| named(&honoured, key).and_then(Result::ok).unwrap_or_default();
    let honoured = Filter { lists: Vec::new(), uris: named(URIS), tasks: named(TASKS) };
    Some((RequestId::parse(&id)?.as_u64()?, honoured))
}

/// The server's own id of the task that a notification tells of.
pub fn task_told(method: &str, params: Option<&Object>) -> Option<String> {
    params.filter(|_| method == TASK_TOLD)?.text("taskId")
}

fn named(of: &Object, key: &str) -> Option<serde_json::Result<Vec<String>>> {
    of.get(key).map(|list| serde_json::from_slice(&list))
}

#[cfg(test)]
mod tests {
    use super::{
        Filter, Object, RequestId, acknowledged, encode_acknowledged, encode_list_changed,
        encode_listen_end, encode_task_news, encode_updated,
    };

    fn parse(params: &'static str) -> Option<String> {
        let params = Object::parse(params.into()).unwrap();
        Filter::parse(Some(&params)).ok().map(|filter| filter.to_json().to_string())
    }

    #[test]
    fn a_filter_keeps_what_is_known_and_refuses_what_is_misshapen() {
        let check = |params, want: Option<&str>| assert_eq!(parse(params).as_deref(), want);
        check("{}", None);
        check(r#"{"notifications":[]}"#, None);
        check(r#"{"notifications":{}}"#, Some("{}"));
        check(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"taskIds":["a"]}}"#,
            Some(r#"{"toolsListChanged":true,"taskIds":["a"]}"#),
        );
        check(
            r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#,
            Some(r#"{"resourceSubscriptions":["a:b"]}"#),
        );
        check(r#"{"notifications":{"toolsListChanged":1}}"#, None);
        check(r#"{"notifications":{"resourceSubscriptions":"a:b"}}"#, None);
        check(r#"{"notifications":{"taskIds":[7]}}"#, None);
        let many = |key: &str, n: usize| format!(r#""{key}":{}"#, serde_json::json!(vec!["a"; n]));
        let both = |n| {
            let named = [many("resourceSubscriptions", n), many("taskIds", 128)].join(",");
            let params = format!(r#"{{"notifications":{{{named}}}}}"#);
            Filter::parse(Some(&Object::parse(params.into()).unwrap())).is_ok()
        };
        assert_eq!((both(128), both(129)), (true, false), "together");
    }

    #[test]
    fn everything_said_carries_the_id_as_it_was_spelt() {
        let id = RequestId::parse(&"\"7\"".into()).unwrap();
        for frame in [
            encode_acknowledged(&id, &Filter::default()),
            encode_list_changed(Some(&id), "notifications/tools/list_changed"),
            encode_updated(Some(&id), "a:b"),
            encode_task_news(&id, &Object::parse(r#"{"taskId":"a","_meta":{}}"#.into()).unwrap()),
            encode_listen_end(&id),
        ] {
            let text = String::from_utf8(frame.into_bytes().to_vec()).unwrap();
            assert!(text.contains(r#""io.modelcontextprotocol/subscriptionId":"7""#), "{text}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn what_a_server_tells_of_a_task_becomes_a_notification() {
        let told = r#"{"resultType":"complete","taskId":"a","result":{"x":1.0},"_meta":{"y":1}}"#;
        let told = Object::parse(told.into()).unwrap();
        let frame = encode_task_news(&RequestId::from_u64(7), &told);
        let want = r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"a","result":{"x":1.0},"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
        assert_eq!(frame.into_bytes(), want);
    }

    #[test]
    fn an_acknowledgement_is_read_with_its_number() {
        let params = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":{"resourceSubscriptions":["a:b"],"taskIds":7}}"#;
        let params = Object::parse(params.into()).unwrap();
        let method = "notifications/subscriptions/acknowledged";
        let honoured = Filter { uris: vec!["a:b".to_owned()], ..Filter::default() };
        assert_eq!(acknowledged(method, Some(&params)), Some((7, honoured)));
        assert_eq!(acknowledged("notifications/message", Some(&params)), None);
    }
}
