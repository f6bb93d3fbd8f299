//! Every member that is not ours passes byte-true, in both directions and for both eras.
//!
//! Arbitrary messages go through decode and encode; what comes out is read by serde_json with order
//! and spelling kept, and compared with what went in.

use bytes::Bytes;
use proptest::prelude::*;

use super::{generate, oracle};
use crate::{
    domain::Era,
    wire::{
        Body, Caching, CallForm, CallMethod, CallParams, ClientFace, Frame, Message, Object,
        Onward, RequestId, Response, Tasks, Version, decode, encode_call, encode_result,
        relay_error,
    },
};

const BYTES_MAX: usize = 1 << 24;
const PREFIX: &str = "io.modelcontextprotocol/";

/// A `_meta` with what a client of either era may put there, and more.
fn meta() -> impl Strategy<Value = String> {
    let ours = prop::sample::subsequence(
        vec![
            "\"progressToken\":\"t 1\"".to_owned(),
            "\"io.modelcontextprotocol\\/protocolVersion\" : \"2026-07-28\"".to_owned(),
            "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"}".to_owned(),
            "\"io.modelcontextprotocol/clientCapabilities\":{}".to_owned(),
            "\"io.modelcontextprotocol/logLevel\":\"info\"".to_owned(),
            "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\""
                .to_owned(),
        ],
        0..=6,
    );
    mixed(ours)
}

fn params() -> impl Strategy<Value = String> {
    let ours = (
        prop::sample::select(vec![
            "\"name\":\"files__read\"",
            "\"n\\u0061me\" :\"files__re\\u0061d\"",
        ]),
        prop::option::of(generate::object().prop_map(|object| format!("\"arguments\":{object}"))),
        prop::option::of(meta().prop_map(|meta| format!("\"_meta\":{meta}"))),
        prop::option::of(generate::text().prop_map(|s| format!("\"requestState\":{s}"))),
    );
    mixed(ours.prop_map(|(name, arguments, meta, state)| {
        [Some(name.to_owned()), arguments, meta, state].into_iter().flatten().collect()
    }))
}

/// An object of the given members and arbitrary others, in any order.
fn mixed(ours: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    (ours, generate::members(generate::value()), generate::blank())
        .prop_flat_map(|(ours, others, blank)| {
            (Just(ours.into_iter().chain(others).collect::<Vec<_>>()).prop_shuffle(), Just(blank))
        })
        .prop_map(|(members, blank)| format!("{{{blank}{}}}", members.join(",")))
}

fn request(params: &str) -> Bytes {
    format!("{{\"id\": \"\\u0041\",\n\"params\":{params},\"method\":\"tools\\/call\",\"jsonrpc\":\"2.0\"}}").into()
}

fn params_of(raw: Bytes) -> Object {
    match decode(raw, BYTES_MAX).unwrap() {
        Message::Request(request) => request.params.unwrap(),
        other @ (Message::Notification(_) | Message::Response(_)) => panic!("{other:?}"),
    }
}

fn text(frame: Frame) -> String {
    let len = frame.len();
    let text = String::from_utf8(frame.into_bytes().to_vec()).unwrap();
    assert_eq!(text.len(), len);
    assert!(oracle::is_json(text.as_bytes()), "{text}");
    text
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect()
}

/// Members of `text` but for those that `ours` names.
fn others(text: &str, ours: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    oracle::members(one_line(text).as_bytes()).into_iter().filter(|(key, _)| !ours(key)).collect()
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::ALL.to_vec())
}

proptest! {
    // Each case is a whole message with dozens of values in it.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_call_keeps_every_byte_that_is_not_ours(
        params in params(),
        version in version(),
        token in prop::option::of(any::<u64>().prop_map(RequestId::from_u64)),
    ) {
        let call = CallParams::parse(CallMethod::ToolsCall, &params_of(request(&params))).unwrap();
        prop_assert_eq!(call.name(), "files__read");
        let face = ClientFace { info: "{\"name\":\"p\"}".into(), capabilities: "{\"a\":1e2}".into() };
        let form = CallForm {
            version,
            id: &RequestId::from_u64(42),
            name: "re\"ad",
            progress_token: token.as_ref(),
            client: &face,
            tasks: Tasks::Kept,
            trace: Onward { parent: call.trace_parent(), baggage: &[] },
        };
        let sent = text(encode_call(&call, &form));
        prop_assert_eq!(oracle::member(sent.as_bytes(), "id").unwrap(), "42");
        let sent_params = oracle::member(sent.as_bytes(), "params").unwrap();
        let ours = |key: &str| matches!(key, "name" | "_meta" | "requestState" | "task");
        prop_assert_eq!(others(&sent_params, ours), others(&params, ours));
        prop_assert_eq!(oracle::member(sent_params.as_bytes(), "name").unwrap(), "\"re\\\"ad\"");

        // What a server wants to see again is told to modern servers only, spelled our way.
        let state = |params: &str| {
            let state = oracle::member(one_line(params).as_bytes(), "requestState")?;
            Some(serde_json::from_str::<String>(&state).unwrap())
        };
        let want = state(&params).filter(|_| version.era() == Era::Modern);
        prop_assert_eq!(state(&sent_params), want);

        let meta = |params: &str| oracle::member(one_line(params).as_bytes(), "_meta").unwrap_or("{}".into());
        let (sent_meta, given_meta) = (meta(&sent_params), meta(&params));
        let rewritten = |key: &str| key == "progressToken" || match version.era() {
            Era::Legacy => key.starts_with(PREFIX),
            Era::Modern => key.starts_with(PREFIX) && key != "io.modelcontextprotocol/logLevel",
        };
        prop_assert_eq!(others(&sent_meta, rewritten), others(&given_meta, rewritten));
        let sent_token = oracle::member(sent_meta.as_bytes(), "progressToken");
        prop_assert_eq!(sent_token, token.as_ref().map(ToString::to_string));
        let said = oracle::member(sent_meta.as_bytes(), "io.modelcontextprotocol/protocolVersion");
        let want = (version.era() == Era::Modern).then(|| format!("\"{version}\""));
        prop_assert_eq!(said, want);

        // And what we send, we would accept ourselves, with the same arguments.
        let again = CallParams::parse(CallMethod::ToolsCall, &params_of(sent.into())).unwrap();
        prop_assert_eq!(again.arguments(), call.arguments());
        prop_assert_eq!(again.progress_token(), token.as_ref());
    }

    #[test]
    fn a_result_keeps_every_byte_that_is_not_ours(
        result in mixed(prop::sample::subsequence(
            vec![
                "\"resultType\":\"input_required\"".to_owned(),
                "\"ttlMs\": 5.0e3".to_owned(),
                "\"cacheScope\":\"public\"".to_owned(),
                "\"content\":[{\"type\":\"text\",\"text\":\"\"}]".to_owned(),
                "\"structuredContent\":[1]".to_owned(),
            ],
            0..=5,
        )),
        version in version(),
    ) {
        let raw = format!("{{\"result\":{result},\"jsonrpc\":\"2.0\",\"extra\":1,\"id\":7}}");
        let Message::Response(Response { body: Body::Result(object), .. }) =
            decode(raw.into(), BYTES_MAX).unwrap() else { panic!("not a result") };
        let sent = text(encode_result(version, &RequestId::from_u64(1), &object, Caching::Never));
        let sent = oracle::member(sent.as_bytes(), "result").unwrap();
        let modern = version.era() == Era::Modern;
        let ours = |key: &str| match key {
            "resultType" => true,
            "ttlMs" | "cacheScope" | "structuredContent" => !modern,
            _ => false,
        };
        // What would be said by nothing else is said in a text.
        let said_by_us = !modern && oracle::member(one_line(&result).as_bytes(), "content").is_none();
        let not_theirs = |key: &str| ours(key) || (said_by_us && key == "content");
        prop_assert_eq!(others(&sent, not_theirs), others(&result, ours));
        let kind = oracle::member(sent.as_bytes(), "resultType");
        let given = oracle::member(one_line(&result).as_bytes(), "resultType");
        let want = modern.then(|| given.unwrap_or("\"complete\"".to_owned()));
        prop_assert_eq!(kind, want);
        if !modern {
            prop_assert!(!oracle::members(sent.as_bytes()).iter().any(|(key, _)| ours(key)));
        }
    }

    #[test]
    fn an_error_keeps_every_byte_but_a_code_of_the_other_era(
        error in mixed(Just(vec!["\"code\" :-32002".to_owned(), "\"message\":\"\\u0000\"".to_owned()])),
        version in version(),
    ) {
        let object = Object::parse(Bytes::from(error.clone())).unwrap();
        let sent = text(relay_error(version, &RequestId::from_u64(1), &object));
        let sent = oracle::member(sent.as_bytes(), "error").unwrap();
        let modern = version.era() == Era::Modern;
        prop_assert_eq!(sent, if modern { one_line(&error).replace("-32002", "-32602") } else { one_line(&error) });
    }

    #[test]
    fn an_edit_touches_the_named_members_only(
        members in generate::members(generate::value()),
        chosen in prop::collection::vec((any::<prop::sample::Index>(), 0..2_u8), 0..5),
        added in prop::option::of(Just("added")),
    ) {
        let object = Object::parse(format!("{{ {} }}", members.join(",")).into()).unwrap();
        let keys: Vec<String> = object.members().map(|(key, _)| key.into_owned()).collect();
        let mut want = oracle::members(object.raw());
        let mut edit = object.edit();
        for (which, how) in chosen {
            if keys.is_empty() { break }
            let key = keys[which.index(keys.len())].clone();
            if how == 0 {
                want.retain(|(name, _)| *name != key);
                edit = edit.remove(key);
            } else if let Some(member) = want.iter_mut().find(|(name, _)| *name == key) {
                member.1 = "[ 1.50 ]".to_owned();
                edit = edit.set(key, "[ 1.50 ]");
            }
        }
        if let Some(key) = added {
            want.push((key.to_owned(), "2".to_owned()));
            edit = edit.set(key, "2");
        }
        let got = text(edit.finish());
        prop_assert_eq!(oracle::members(got.as_bytes()), want);
    }

    #[test]
    fn an_edit_that_changes_nothing_is_the_identity(object in generate::object()) {
        let object = Object::parse(object.into()).unwrap();
        prop_assert_eq!(&object.edit().remove("absent").finish().into_bytes(), object.raw());
    }
}

#[test]
fn large_arguments_are_shared_and_not_copied() {
    let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    let raw = request(&format!("{{\"name\":\"a\",\"arguments\":{arguments}}}"));
    // The request holds a newline, so the scanned text is a copy; look for its bytes there.
    let call = CallParams::parse(CallMethod::ToolsCall, &params_of(raw)).unwrap();
    let face = ClientFace { info: "{}".into(), capabilities: "{}".into() };
    let id = RequestId::from_u64(1);
    let form = CallForm {
        version: Version::MODERN,
        id: &id,
        name: "b",
        progress_token: None,
        client: &face,
        tasks: Tasks::Kept,
        trace: Onward::default(),
    };
    let frame = encode_call(&call, &form);
    let whole = call.arguments();
    let shared = |part: &Bytes| part.as_ptr_range().contains(&whole.as_ptr());
    assert!(frame.parts().iter().any(shared));
    assert_eq!(frame.parts().len(), 3);
}
