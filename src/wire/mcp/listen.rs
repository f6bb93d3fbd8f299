//! Subscriptions of the modern era: the filter of a `subscriptions/listen`, and what is said to it.
//!
//! A filter has four members that we know; others are no part of it, and so are never acknowledged.
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
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The kinds of list changes: the key of a filter, and the notification.
const KINDS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "notifications/resources/list_changed"),
];

/// What a listener wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of `KINDS`.
    lists: Vec<(&'static str, &'static str)>,
    pub uris: Vec<String>,
    /// Whether it asks for news of tasks. They are asked about, and never acknowledged.
    pub names_tasks: bool,
}

impl Filter {
    /// Every list change, and these resources.
    pub fn every_list(uris: Vec<String>) -> Self {
        Self { lists: KINDS.to_vec(), uris, names_tasks: false }
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
        let uris: Vec<String> = match asked.get("resourceSubscriptions") {
            None => Vec::new(),
            Some(list) => serde_json::from_slice(&list)
                .map_err(|_| wrong("`resourceSubscriptions` must be a list of URIs"))?,
        };
        if uris.len() > LISTEN_URIS_MAX {
            return Err(wrong("`resourceSubscriptions` names too many URIs"));
        }
        Ok(Self { lists, uris, names_tasks: asked.contains("taskIds") })
    }

    /// The value of `notifications`.
    pub fn to_json(&self) -> Value {
        let wanted = self.lists.iter().map(|(key, _)| ((*key).to_owned(), true.into()));
        let mut members: Map<String, Value> = wanted.collect();
        if !self.uris.is_empty() {
            members.insert("resourceSubscriptions".to_owned(), json!(self.uris));
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

/// The end of a subscription in good order.
pub fn encode_listen_end(id: &RequestId) -> Frame {
    encode_own_result(id, &format!(r#"{{"resultType":"complete",{}}}"#, stamp(id)))
}

fn on_subscription(id: &RequestId, method: &str, more: &str) -> Frame {
    encode_notification(method, Some(format!("{{{}{more}}}", stamp(id)).as_bytes()))
}

fn stamp(id: &RequestId) -> String {
    format!(r#""_meta":{{"{SUBSCRIPTION_ID}":{}}}"#, String::from_utf8_lossy(id.as_bytes()))
}

/// What an acknowledgement that a server sent says: the number of our request, and the URIs.
pub fn acknowledged(method: &str, params: Option<&Object>) -> Option<(u64, Vec<String>)> {
    let params = params.filter(|_| method == ACKNOWLEDGED)?;
    let id: Bytes = params.object("_meta")?.get(SUBSCRIPTION_ID)?;
    let honoured = params.object("notifications").and_then(|n| n.get("resourceSubscriptions"));
    let uris = honoured.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
    Some((RequestId::parse(&id)?.as_u64()?, uris))
}

#[cfg(test)]
mod tests {
    use super::{
        Filter, Object, RequestId, acknowledged, encode_acknowledged, encode_list_changed,
        encode_listen_end, encode_updated,
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
            Some(r#"{"toolsListChanged":true}"#),
        );
        check(
            r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#,
            Some(r#"{"resourceSubscriptions":["a:b"]}"#),
        );
        check(r#"{"notifications":{"toolsListChanged":1}}"#, None);
        check(r#"{"notifications":{"resourceSubscriptions":"a:b"}}"#, None);
    }

    #[test]
    fn everything_said_carries_the_id_as_it_was_spelt() {
        let id = RequestId::parse(&"\"7\"".into()).unwrap();
        for frame in [
            encode_acknowledged(&id, &Filter::default()),
            encode_list_changed(Some(&id), "notifications/tools/list_changed"),
            encode_updated(Some(&id), "a:b"),
            encode_listen_end(&id),
        ] {
            let text = String::from_utf8(frame.into_bytes().to_vec()).unwrap();
            assert!(text.contains(r#""io.modelcontextprotocol/subscriptionId":"7""#), "{text}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn an_acknowledgement_is_read_with_its_number() {
        let params = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":{"resourceSubscriptions":["a:b"]}}"#;
        let params = Object::parse(params.into()).unwrap();
        let method = "notifications/subscriptions/acknowledged";
        assert_eq!(acknowledged(method, Some(&params)), Some((7, vec!["a:b".to_owned()])));
        assert_eq!(acknowledged("notifications/message", Some(&params)), None);
    }
}
