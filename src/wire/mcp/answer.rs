//! A server's result on its way to a client of either era.
//!
//! Only the members that one era has and the other has not are touched. Everything else is the
//! server's own bytes.

use bytes::Bytes;

use super::Version;
use crate::{
    domain::Era,
    wire::{
        json::{Frame, Object},
        rpc::{RequestId, answer_id, open},
    },
};

/// Writes `result` as the answer to `id` for a client that speaks `to`.
pub fn encode_result(to: Version, id: &RequestId, result: &Object) -> Frame {
    let mut out = open(256);
    answer_id(&mut out, Some(id));
    out.copy(b",\"result\":");
    let edit = result.edit();
    let edit = match to.era() {
        Era::Modern if result.contains("resultType") => edit,
        Era::Modern => edit.set("resultType", Bytes::from_static(b"\"complete\"")),
        Era::Legacy => {
            let edit = edit.remove("resultType").remove("ttlMs").remove("cacheScope");
            match result.peek("structuredContent") {
                // Legacy revisions know objects only; the text content says the same.
                Some(value) if value.first() != Some(&b'{') => edit.remove("structuredContent"),
                _ => edit,
            }
        }
    };
    edit.write(&mut out);
    out.copy(b"}");
    out.finish()
}
