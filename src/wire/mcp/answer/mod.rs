//! A server's result on its way to a client of either era.
//!
//! Only the members that one era has and the other has not are touched. Everything else is the
//! server's own bytes.

mod content;
mod uri;

use bytes::Bytes;

pub use uri::under_uri;

use super::Version;
use crate::{
    domain::Era,
    wire::{
        json::{Edit, Frame, Object},
        rpc::{RequestId, answer_id, open},
    },
};

/// Whether a client may keep such a result, if its server allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// The answer to a call: it has no hints.
    Never,
    /// A list or a resource: modern clients must be told for how long, and for whom.
    Hinted,
}

/// Writes `result` as the answer to `id` for a client that speaks `to`.
pub fn encode_result(to: Version, id: &RequestId, result: &Object, caching: Caching) -> Frame {
    let mut out = open(256);
    answer_id(&mut out, Some(id));
    out.copy(b",\"result\":");
    let edit = result.edit();
    let edit = match to.era() {
        Era::Modern => with_hints(edit, result, caching),
        Era::Legacy => {
            let edit = edit.remove("resultType").remove("ttlMs").remove("cacheScope");
            let edit = content::as_known(to, edit, result);
            content::unstructured(edit, result)
        }
    };
    edit.write(&mut out);
    out.copy(b"}");
    out.finish()
}

/// What a modern result must say, where its server did not say it: legacy servers never do.
fn with_hints(edit: Edit, result: &Object, caching: Caching) -> Edit {
    let edit = if result.contains("resultType") {
        edit
    } else {
        edit.set("resultType", Bytes::from_static(b"\"complete\""))
    };
    let complete = result.peek("resultType").is_none_or(|kind| kind == b"\"complete\"");
    if caching == Caching::Never || !complete {
        return edit;
    }
    let missing = |key| !result.contains(key);
    let edit = if missing("ttlMs") { edit.set("ttlMs", Bytes::from_static(b"0")) } else { edit };
    if missing("cacheScope") {
        edit.set("cacheScope", Bytes::from_static(b"\"private\""))
    } else {
        edit
    }
}

#[cfg(test)]
mod tests {
    use super::{Caching, Object, RequestId, Version, encode_result};

    #[track_caller]
    fn check(to: Version, caching: Caching, result: &str, want: &str) {
        let result = Object::parse(result.to_owned().into()).unwrap();
        let sent = encode_result(to, &RequestId::from_u64(1), &result, caching).into_bytes();
        let want = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{want}}}"#);
        assert_eq!(sent, want);
    }

    #[test]
    fn modern_clients_are_told_what_a_server_left_out_and_legacy_ones_nothing() {
        let (modern, legacy) = (Version::MODERN, Version::LATEST_LEGACY);
        let hinted = r#"{"contents":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#;
        check(modern, Caching::Hinted, r#"{"contents":[]}"#, hinted);
        check(legacy, Caching::Hinted, hinted, r#"{"contents":[]}"#);
        let said = r#"{"resultType":"complete","ttlMs":9,"cacheScope":"public"}"#;
        check(modern, Caching::Hinted, said, said);
        check(modern, Caching::Never, "{}", r#"{"resultType":"complete"}"#);
        let asking = r#"{"resultType":"input_required","inputRequests":{}}"#;
        check(modern, Caching::Hinted, asking, asking);
    }
}
