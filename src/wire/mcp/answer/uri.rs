//! The answer to the reading of a resource that its client knows by another URI than its server.
//!
//! Where the server's own URI stands as such, the client's stands instead: in `contents`, and in
//! what an error names. Text that only holds it is not ours to change.

use bytes::Bytes;

use super::content::replaced;
use crate::wire::{
    json::{Object, quote},
    rpc::{Body, Response},
};

const URI: &str = "uri";

/// `response` with `asked` for `own`.
pub fn under_uri(response: Response, own: &str, asked: &str) -> Response {
    let renamed = |object: &Object| -> Option<Bytes> {
        let is_own = object.str(URI).is_some_and(|uri| uri.as_str() == own);
        is_own.then(|| object.edit().set(URI, quote(asked)).finish().into_bytes())
    };
    let (key, value) = match &response.body {
        Body::Result(result) => ("contents", replaced(result, "contents", renamed)),
        Body::Error(error) => ("data", error.object("data").and_then(|data| renamed(&data))),
    };
    let Some(value) = value else { return response };
    let with = |object: &Object| {
        // Both were read once; one that cannot be read again stays as it was.
        Object::parse(object.edit().set(key, value.clone()).finish().into_bytes())
            .unwrap_or_else(|_| object.clone())
    };
    let body = match &response.body {
        Body::Result(result) => Body::Result(with(result)),
        Body::Error(error) => Body::Error(with(error)),
    };
    Response { body, ..response }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Body, Object, Response, under_uri};
    use crate::wire::{Message, decode};

    #[track_caller]
    fn check(body: &str, want: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        let Ok(Message::Response(response)) = decode(Bytes::from(text), 1 << 20) else {
            panic!("no response: {body}")
        };
        let Response { body, .. } = under_uri(response, "a:\"b", "via.s+a:\"b");
        let (Body::Result(got) | Body::Error(got)) = body;
        assert_eq!(*got.raw(), Bytes::from(want.to_owned()));
        Object::parse(got.raw().clone()).unwrap();
    }

    #[test]
    fn only_the_uri_that_was_asked_for_is_given_back_as_it_was_asked() {
        check(
            r#""result":{ "contents":[{"uri":"a:\u0022b","text":"a:\"b"},{"uri":"a:\"b/c","n":1.0}],"ttlMs":7}"#,
            r#"{ "contents":[{"uri":"via.s+a:\"b","text":"a:\"b"},{"uri":"a:\"b/c","n":1.0}],"ttlMs":7}"#,
        );
        for other in
            [r#"{"contents":{"uri":"a:\"b"}}"#, r#"{"uri":"a:\"b"}"#, r#"{"contents":[7]}"#]
        {
            check(&format!(r#""result":{other}"#), other);
        }
        check(
            r#""error":{"code":-32002,"message":"a:\"b","data":{"uri":"a:\"b"}}"#,
            r#"{"code":-32002,"message":"a:\"b","data":{"uri":"via.s+a:\"b"}}"#,
        );
        let other = r#"{"code":-32002,"message":"","data":"a:\"b"}"#;
        check(&format!(r#""error":{other}"#), other);
    }
}
