//! `traceparent`, `tracestate` and `baggage` in `_meta`: what came, and what a server is told.
//!
//! A server gets our own span as its parent; the state passes only beside a parent that can be
//! read, as W3C Trace Context says; of the baggage go the members whose keys the operator allows
//! for that server, byte by byte. Nothing is repaired: what breaks a rule is left out.

use smallvec::SmallVec;

use crate::{
    domain::{
        TraceParent,
        limits::{BAGGAGE_BYTES_MAX, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX},
    },
    wire::json::{Edit, Object, Text, quote},
};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// What a request says of the trace it is part of.
#[derive(Clone, Debug)]
pub(in crate::wire::mcp) struct Trace {
    parent: Option<TraceParent>,
    state: Option<Text>,
    baggage: Option<Text>,
}

/// What one server is told of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Onward<'a> {
    /// Our own step of the caller's trace.
    pub parent: Option<TraceParent>,
    /// The keys of baggage that this server may see.
    pub baggage: &'a [String],
}

impl Trace {
    /// None if the request says nothing at all, legible or not.
    pub(super) fn of(meta: &Object) -> Option<Box<Self>> {
        if ![PARENT, STATE, BAGGAGE].iter().any(|key| meta.contains(key)) {
            return None;
        }
        let parent = meta.str(PARENT).and_then(|text| TraceParent::parse(&text));
        let state = meta.str(STATE).filter(|text| parent.is_some() && is_state(text));
        let baggage = meta.str(BAGGAGE).filter(|text| text.len() <= BAGGAGE_BYTES_MAX);
        Some(Box::new(Self { parent, state, baggage }))
    }

    pub(super) fn parent(&self) -> Option<TraceParent> {
        self.parent
    }

    /// Writes the three members anew.
    pub(in crate::wire::mcp) fn write(&self, meta: Edit, onward: Onward<'_>) -> Edit {
        let state = self.state.as_deref().filter(|_| onward.parent.is_some());
        let baggage = self.baggage.as_deref().map(|text| allowed(text, onward.baggage));
        let baggage = baggage.filter(|text| !text.is_empty());
        let meta = put(meta, PARENT, onward.parent.map(|parent| parent.to_string()).as_deref());
        let meta = put(meta, STATE, state);
        put(meta, BAGGAGE, baggage.as_deref())
    }
}

fn put(meta: Edit, key: &'static str, value: Option<&str>) -> Edit {
    match value {
        Some(text) => meta.set(key, quote(text)),
        None => meta.remove(key),
    }
}

/// Whether `text` is a `tracestate`: members `key=value`, each key once.
fn is_state(text: &str) -> bool {
    if text.is_empty() || text.len() > TRACESTATE_BYTES_MAX {
        return false;
    }
    let mut keys = SmallVec::<[&str; TRACESTATE_MEMBERS_MAX]>::new();
    text.split(',').map(blanks_off).filter(|member| !member.is_empty()).all(|member| {
        let Some(key) = key_of_state(member).filter(|key| !keys.contains(key)) else {
            return false;
        };
        keys.push(key);
        keys.len() <= TRACESTATE_MEMBERS_MAX
    })
}

/// The key of a member; none if the member is not well formed.
fn key_of_state(member: &str) -> Option<&str> {
    const PART_BYTES_MAX: usize = 256;
    let (key, value) = member.split_once('=')?;
    let first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let in_key = |byte: u8| first(&byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    let in_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    let fits = key.as_bytes().first().is_some_and(first)
        && key.bytes().all(in_key)
        && value.bytes().all(in_value)
        && !value.is_empty()
        && key.len().max(value.len()) <= PART_BYTES_MAX;
    fits.then_some(key)
}

/// The members of `text` whose keys are among `keys`, in their order.
fn allowed(text: &str, keys: &[String]) -> String {
    let octet =
        |byte: u8| matches!(byte, b'!'..=b'~' | b' ' | b'\t') && !matches!(byte, b'"' | b'\\');
    let goes = |member: &&str| {
        let key = member.split_once('=').map(|(key, _)| blanks_off(key));
        let key = key.filter(|key| keys.iter().any(|allowed| allowed == key));
        key.is_some() && member.bytes().all(octet)
    };
    let members: Vec<&str> = text.split(',').map(blanks_off).filter(goes).collect();
    members.join(",")
}

fn blanks_off(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::{Onward, Trace};
    use crate::{domain::SpanId, wire::json::Object};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    /// What becomes of the `_meta` with these members, when `tenant` and `zone` are allowed.
    #[track_caller]
    fn check(sent: &str, want: &str) {
        let fill = |text: &str| {
            let text = text.replace("PARENT", &format!("00-{TRACE}-b7ad6b7169203331-01"));
            text.replace("CHILD", &format!("00-{TRACE}-0000000000000007-01"))
        };
        let meta = Object::parse(format!("{{{}}}", fill(sent)).into()).unwrap();
        let span = SpanId(NonZeroU64::new(7).unwrap());
        let trace = Trace::of(&meta).unwrap();
        let parent = trace.parent().map(|parent| parent.child(span));
        let baggage = &["tenant".to_owned(), "zone".to_owned()];
        let got = trace.write(meta.edit(), Onward { parent, baggage }).finish().into_bytes();
        assert_eq!(got, format!("{{{}}}", fill(want)), "{sent}");
    }

    #[test]
    fn a_parent_becomes_its_child_and_an_illegible_one_goes_with_its_state() {
        check(r#""x":1,"traceparent":"PARENT","y":2"#, r#""x":1,"traceparent":"CHILD","y":2"#);
        let state = r#""tracestate":"a=1, b@c=x y,,d=~""#;
        check(
            &format!(r#""traceparent":"PARENT",{state}"#),
            &format!(r#""traceparent":"CHILD",{state}"#),
        );
        check(&format!(r#""traceparent":"00-1-2-01",{state}"#), "");
        check(&format!(r#""traceparent":7,{state}"#), "");
        check(state, "");
    }

    #[test]
    fn a_state_that_breaks_a_rule_is_left_out() {
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "x".repeat(257));
        let longer = format!("a={0},b={0},c=x", "x".repeat(256));
        for wrong in ["", "a", "A=1", "a=", "a=b=c", "a=1,a=2", "a=é", "=1", &many, &long, &longer]
        {
            let sent = format!(r#""traceparent":"PARENT","tracestate":"{wrong}""#);
            check(&sent, r#""traceparent":"CHILD""#);
        }
        check(r#""traceparent":"PARENT","tracestate":["a=1"]"#, r#""traceparent":"CHILD""#);
    }

    #[test]
    fn baggage_is_what_the_operator_allows_with_a_trace_or_without() {
        check(
            r#""baggage":"user=ann, tenant = a%20b;p=1 ,zone=eu""#,
            r#""baggage":"tenant = a%20b;p=1,zone=eu""#,
        );
        check(r#""traceparent":"PARENT","baggage":"user=ann""#, r#""traceparent":"CHILD""#);
        for wrong in
            ["tenant", "Tenant=1", "tenantx=1", "x;tenant=1", r#"tenant=\"1\""#, "tenant=é"]
        {
            check(&format!(r#""baggage":"{wrong}""#), "");
        }
        check(&format!(r#""baggage":"tenant={}""#, "x".repeat(8192)), "");
        check(r#""baggage":{"tenant":1}"#, "");
    }

    #[test]
    fn who_says_nothing_of_a_trace_has_none() {
        let meta = Object::parse(r#"{"progressToken":1,"traceParent":"x"}"#.into()).unwrap();
        assert!(Trace::of(&meta).is_none());
    }
}
