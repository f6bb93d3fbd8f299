//! Any bytes as a message: the scan, what it leaves to look up, and the splices over it.
//!
//! Holds the scan to serde_json: what it accepts is JSON to others too, with the same members. What
//! is written from an accepted message is accepted again and says the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::wire::{
    Body, Caching, CallForm, CallMethod, CallParams, ClientFace, Message, Object, Onward,
    RequestId, Tasks, Version, decode, decode_batch, encode_call, encode_result,
};
use serde::de::IgnoredAny;

const BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    drop(decode_batch(raw.clone(), BYTES_MAX));
    if let Ok(object) = Object::parse(raw.clone()) {
        check_object(data, &object);
    }
    match decode(raw, BYTES_MAX) {
        Ok(Message::Request(request)) => {
            if let Some(params) = &request.params {
                CallMethod::ALL.iter().for_each(|method| check_call(*method, params));
            }
        }
        Ok(Message::Response(response)) => check_result(&response.body),
        Ok(Message::Notification(_)) => {}
        Err(error) => assert!(matches!(error.code(), -32700 | -32600), "{error:?}"),
    }
});

fn check_object(data: &[u8], object: &Object) {
    assert!(
        serde_json::from_slice::<IgnoredAny>(data).is_ok(),
        "the scan accepts what is not JSON"
    );
    assert!(!object.raw().iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    assert_eq!(&object.edit().finish().into_bytes(), object.raw());
    let again = Object::parse(object.raw().clone()).expect("the same text again");
    assert!(again.members().eq(object.members()));
    // Where every string is readable and every number fits, the values must agree as well.
    let Ok(serde_json::Value::Object(want)) = serde_json::from_slice(data) else { return };
    assert_eq!(want.len(), object.members().count());
    for (key, value) in &want {
        let got = object.get(key).expect("a member that serde_json sees");
        assert_eq!(&serde_json::from_slice::<serde_json::Value>(&got).expect("a value"), value);
    }
}

fn check_call(method: CallMethod, params: &Object) {
    let Ok(call) = CallParams::parse(method, params) else { return };
    let client = ClientFace { info: "{}".into(), capabilities: "{}".into() };
    let token = RequestId::from_u64(9);
    for (version, progress_token) in
        [(Version::MODERN, Some(&token)), (Version::LATEST_LEGACY, None)]
    {
        let id = RequestId::from_u64(1);
        let (tasks, trace) = (Tasks::Kept, Onward::default());
        let form =
            CallForm { version, id: &id, name: "n", progress_token, client: &client, tasks, trace };
        let sent = encode_call(&call, &form).into_bytes();
        let Ok(Message::Request(request)) = decode(sent, usize::MAX) else {
            panic!("our own call")
        };
        let again =
            CallParams::parse(method, &request.params.expect("params")).expect("our own params");
        assert_eq!(again.arguments(), call.arguments());
        assert_eq!(again.progress_token(), progress_token);
    }
}

fn check_result(body: &Body) {
    let Body::Result(result) = body else { return };
    for version in Version::ALL {
        let sent =
            encode_result(version, &RequestId::from_u64(1), result, Caching::Never).into_bytes();
        let Ok(Message::Response(response)) = decode(sent, usize::MAX) else {
            panic!("our own result")
        };
        let Body::Result(again) = response.body else { panic!("still a result") };
        let others = |object: &Object| {
            let ours = ["resultType", "ttlMs", "cacheScope", "structuredContent"];
            // Older clients are told in text of what they do not know.
            let said_anew =
                |key: &str| version < Version::MODERN && ["content", "messages"].contains(&key);
            let is_theirs = |key: &str| !ours.contains(&key) && !said_anew(key);
            let members = object.members().filter(|(key, _)| is_theirs(key));
            members.map(|(key, value)| (key.into_owned(), value)).collect::<Vec<_>>()
        };
        assert_eq!(others(&again), others(result));
    }
}
