//! Content that came into the protocol after a client's revision, said in text.
//!
//! Blocks of a tool's result and of a prompt's messages: audio is known since 2025-03-26, links to
//! resources since 2025-06-18. Every other block, and the order, stay as the server wrote them.
//! Clients of later revisions cost nothing here.

use bytes::Bytes;
use serde_json::json;

use crate::{
    domain::limits::LIST_ITEMS_MAX,
    wire::{
        json::{Edit, Object, elements},
        mcp::Version,
    },
};

/// `result` with every block that a client of `to` knows.
pub(super) fn as_known(to: Version, edit: Edit, result: &Object) -> Edit {
    if to >= Version::V2025_06_18 {
        return edit;
    }
    let edit = match replaced(result, "content", |block| told(to, block)) {
        Some(blocks) => edit.set("content", blocks),
        None => edit,
    };
    let in_message = |message: &Object| {
        let block = told(to, &message.object("content")?)?;
        Some(message.edit().set("content", block).finish().into_bytes())
    };
    match replaced(result, "messages", in_message) {
        Some(messages) => edit.set("messages", messages),
        None => edit,
    }
}

/// The array under `key` with the elements that `other` replaces; none if it replaces none.
pub(super) fn replaced(
    result: &Object,
    key: &str,
    other: impl Fn(&Object) -> Option<Bytes>,
) -> Option<Bytes> {
    // More than that are read by nobody; they pass as they are.
    let blocks = elements(result.get(key)?, LIST_ITEMS_MAX + 1).ok();
    let blocks = blocks.filter(|blocks| blocks.len() <= LIST_ITEMS_MAX)?;
    let mut any = false;
    let mut text = Vec::with_capacity(256);
    for block in blocks {
        text.push(if text.is_empty() { b'[' } else { b',' });
        let new = Object::parse(block.clone()).ok().and_then(|block| other(&block));
        any |= new.is_some();
        text.extend_from_slice(&new.unwrap_or(block));
    }
    text.push(b']');
    any.then(|| text.into())
}

/// What stands for a block that a client of `to` does not know.
fn told(to: Version, block: &Object) -> Option<Bytes> {
    let member = |key: &str| block.text(key).unwrap_or_default();
    let text = match member("type").as_str() {
        "audio" if to < Version::V2025_03_26 => format!("[audio: {}]", member("mimeType")),
        "resource_link" if to < Version::V2025_06_18 => {
            format!("[{}: {}]", member("name"), member("uri"))
        }
        _ => return None,
    };
    Some(json!({ "text": text, "type": "text" }).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::{Object, Version, as_known};

    const TEXT: &str = r#"{ "text":"\u0061","type":"text"}"#;
    const AUDIO: &str = r#"{"type":"audio","data":"AA==","mimeType":"audio/wav"}"#;
    const LINK: &str = r#"{"type":"resource_link","uri":"a:\"b","name":"n"}"#;
    const AUDIO_TOLD: &str = r#"{"text":"[audio: audio/wav]","type":"text"}"#;
    const LINK_TOLD: &str = r#"{"text":"[n: a:\"b]","type":"text"}"#;

    #[track_caller]
    fn check(to: Version, result: &str, want: &str) {
        let result = Object::parse(result.to_owned().into()).unwrap();
        let got = as_known(to, result.edit(), &result).finish().into_bytes();
        assert_eq!(got, want.to_owned(), "{to}");
    }

    #[test]
    fn a_block_that_came_after_the_clients_revision_is_said_in_text() {
        for (to, audio, link) in [
            (Version::V2024_11_05, AUDIO_TOLD, LINK_TOLD),
            (Version::V2025_03_26, AUDIO, LINK_TOLD),
            (Version::V2025_06_18, AUDIO, LINK),
            (Version::V2025_11_25, AUDIO, LINK),
        ] {
            let of = |blocks: [&str; 3]| format!(r#"{{"x":1.0,"content":[{}]}}"#, blocks.join(","));
            check(to, &of([TEXT, AUDIO, LINK]), &of([TEXT, audio, link]));
            let message =
                |block| format!(r#"{{"messages":[{{"content":{block},"role":"user"}}]}}"#);
            check(to, &message(AUDIO), &message(audio));
            check(to, &message(LINK), &message(link));
        }
    }

    #[test]
    fn what_is_no_content_passes_as_it_is() {
        for odd in [
            r#"{"content":7,"messages":{"type":"audio"}}"#,
            r#"{"content":[ 7, [],{"type":"image"},{"type":1} ]}"#,
            r#"{"contents":[{"type":"audio"}]}"#,
            r#"{"messages":[{"content":"audio"},{}]}"#,
        ] {
            check(Version::V2024_11_05, odd, odd);
        }
    }
}
