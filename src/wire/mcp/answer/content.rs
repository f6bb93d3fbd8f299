//! Content that came into the protocol after a client's revision, said in text.
//!
//! Blocks of a tool's result and of a prompt's messages: audio is known since 2025-03-26, links to
//! resources since 2025-06-18; structured content that is no object since 2026-07-28. Every other
//! block, and the order, stay as the server wrote them. What a client knows costs nothing here.

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

/// `result` without structured content that is no object. Servers should say the same in a text;
/// where one says nothing else, we do.
pub(super) fn unstructured(edit: Edit, result: &Object) -> Edit {
    let Some(value) = result.get("structuredContent").filter(|value| value.first() != Some(&b'{'))
    else {
        return edit;
    };
    let edit = edit.remove("structuredContent");
    let blocks = result.get("content").map(|content| elements(content, LIST_ITEMS_MAX));
    let says_nothing = blocks.is_none_or(|blocks| blocks.is_ok_and(|blocks| blocks.is_empty()));
    match std::str::from_utf8(&value) {
        Ok(value) if says_nothing => {
            let block = json!([{ "text": value, "type": "text" }]);
            edit.set("content", block.to_string())
        }
        Ok(_) | Err(_) => edit,
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
    use super::{Object, Version, as_known, unstructured};

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
    fn structured_content_that_is_no_object_is_said_in_text_if_nothing_else_is() {
        let told = |result: &str| {
            let result = Object::parse(result.to_owned().into()).unwrap();
            let told = unstructured(result.edit(), &result).finish().into_bytes();
            String::from_utf8(told.to_vec()).unwrap()
        };
        let object = r#"{"content":[],"structuredContent":{"a":1.0}}"#;
        assert_eq!(told(object), object);
        let said = r#"{"content":[{"type":"text","text":"one"}],"structuredContent":[1]}"#;
        assert_eq!(told(said), r#"{"content":[{"type":"text","text":"one"}]}"#);
        let text = r#"{"content":[{"text":"[ 1.0,\"a\"]","type":"text"}]}"#;
        assert_eq!(told(r#"{"content":[ ],"structuredContent":[ 1.0,"a"]}"#), text);
        assert_eq!(told(r#"{"structuredContent":[ 1.0,"a"]}"#), text);
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
