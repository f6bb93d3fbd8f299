//! In which form content is kept. Pure.

use std::borrow::Cow;

use crate::{
    config::{Payloads, may_hold_secrets, sounds_secret, without_secrets},
    domain::limits::AUDIT_PAYLOAD_BYTES_MAX,
    wire::{Leaf, What, quote, rewrite},
};

/// The content in that form; none if nothing is kept of it.
pub(super) fn formed(content: &[u8], form: Payloads) -> Option<Cow<'_, str>> {
    if content.len() > AUDIT_PAYLOAD_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    let formed = match form {
        Payloads::None => return None,
        Payloads::Full => Cow::Borrowed(text),
        Payloads::Shape => {
            Cow::Owned(rewrite(text, |leaf| shape(&leaf.what)).unwrap_or_else(|| length(text)))
        }
        Payloads::Redacted if !may_hold_secrets(content) => Cow::Borrowed(text),
        // A URI for one is no JSON.
        Payloads::Redacted => match rewrite(text, redact) {
            Some(redacted) => Cow::Owned(redacted),
            None => without_secrets(text).map_or(Cow::Borrowed(text), Cow::Owned),
        },
    };
    // Where there were many short values, their types are longer.
    (formed.len() <= AUDIT_PAYLOAD_BYTES_MAX).then_some(formed)
}

/// What is known of a value without it. A key is data too, unless it is a name.
fn shape(what: &What<'_>) -> Option<bytes::Bytes> {
    match what {
        What::Text(text) => Some(quote(&length(text))),
        What::Number(_) => Some(quote("number")),
        What::Key(key) if is_name(key) => None,
        What::Key(key) => Some(quote(&length(key))),
    }
}

fn length(text: &str) -> String {
    format!("text {}", text.len())
}

const NAME_BYTES_MAX: usize = 40;

fn is_name(key: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_alphabetic() || b"_-.$".contains(&b);
    key.len() <= NAME_BYTES_MAX && key.bytes().all(of_name)
}

/// What stands under a key that names a secret is one, whatever it looks like.
fn redact(leaf: &Leaf<'_>) -> Option<bytes::Bytes> {
    match &leaf.what {
        What::Text(text) if sounds_secret(&leaf.key) => Some(quote(&"*".repeat(text.len()))),
        What::Number(number) if sounds_secret(&leaf.key) => Some(quote(&"*".repeat(number.len()))),
        What::Text(text) | What::Key(text) => without_secrets(text).map(|text| quote(&text)),
        What::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{AUDIT_PAYLOAD_BYTES_MAX, formed};
    use crate::config::Payloads;

    const CONTENT: &str = r#"{"to":"bob@ours.example","n":[1,-2.5,true,null],"bob@x.y":{"api_key":"s3","pin_token":17},"text":"take ghp_0123456789abcdef \u0067hp_0123456789abcdef"}"#;

    #[track_caller]
    fn check(content: &str, form: Payloads, want: Option<&str>) {
        assert_eq!(formed(content.as_bytes(), form).as_deref(), want, "{form:?}");
    }

    #[test]
    fn content_is_kept_in_the_form_that_was_chosen() {
        check(CONTENT, Payloads::None, None);
        check(CONTENT, Payloads::Full, Some(CONTENT));
        let shape = r#"{"to":"text 16","n":["number","number",true,null],"text 7":{"api_key":"text 2","pin_token":"number"},"text":"text 46"}"#;
        check(CONTENT, Payloads::Shape, Some(shape));
        let redacted = r#"{"to":"bob@ours.example","n":[1,-2.5,true,null],"bob@x.y":{"api_key":"**","pin_token":"**"},"text":"take ******************** ********************"}"#;
        check(CONTENT, Payloads::Redacted, Some(redacted));
    }

    #[test]
    fn what_is_no_json_is_not_let_through() {
        let uri = "https://me:pw@host/a?b";
        check(uri, Payloads::Shape, Some("text 22"));
        check(uri, Payloads::Redacted, Some("https://*****@host/a?b"));
        check("{\"a\":\"secret", Payloads::Shape, Some("text 12"));
        assert_eq!(formed(&[0xff], Payloads::Full), None);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let long = format!("[{}1]", "1,".repeat(AUDIT_PAYLOAD_BYTES_MAX / 4));
        check(&long, Payloads::Full, Some(&long));
        check(&long, Payloads::Shape, None);
        check(&" ".repeat(AUDIT_PAYLOAD_BYTES_MAX + 1), Payloads::Full, None);
    }
}
