//! A server that is reached by URL.
//!
//! Decides where requests go and which headers the operator adds to them. Headers that belong
//! to the protocol or to the transport are refused: they are ours to set, and an operator's
//! value in their place would desynchronise what was judged from what is sent.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Uri};

use super::{
    super::{
        Code, HttpTarget, Secret,
        secret::{is_variable_name, variable},
    },
    At, Check, Lookup, Note, Section, has_reference, holds_key, holds_known_key, literal,
    literal_in_the_open, quoted, secrets, string, unresolved,
};

/// Set by the client side of the protocol or of HTTP itself.
const OUR_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept",
    "last-event-id",
    "expect",
];
const OUR_PREFIXES: [&str; 3] = ["mcp-", "content-", "proxy-"];

/// Headers by name in lower case.
type Headers = BTreeMap<String, (HeaderName, Secret)>;

pub(super) fn read(
    section: &Section<'_>,
    lookup: Lookup,
    check: &mut Check<'_>,
) -> Option<HttpTarget> {
    let url = url(section, check);
    let mut headers = Headers::new();
    literal_headers((section, "http_headers"), lookup, &mut headers, check);
    variable_headers(section, lookup, &mut headers, check);
    bearer(section, lookup, &mut headers, check);
    Some(HttpTarget { url: url?, headers: headers.into_values().collect() })
}

fn url(section: &Section<'_>, check: &mut Check<'_>) -> Option<Uri> {
    let text = section.text("url", &mut check.notes)?;
    let refuse = |message: String| {
        Note::new(Code::BadUrl, text.span.clone(), message)
            .label("not usable")
            .help("write http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
    };
    let shown = text.value.escape_debug();
    let uri: Uri = match text.value.parse() {
        Ok(uri) => uri,
        Err(_) => {
            check.notes.push(refuse("`url` is not a URL".to_owned()));
            return None;
        }
    };
    let host = uri.host().unwrap_or_default();
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        check.notes.hide(text.span.clone());
        let help = "send credentials with bearer_token_env_var or http_headers";
        check.notes.push(refuse("`url` contains a user or password".to_owned()).help(help));
        return None;
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
        check.notes.push(refuse(format!("`{shown}` is neither an http nor an https URL")));
        return None;
    }
    // What follows the host is `:PORT` or nothing.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.len() > host.len() && uri.port_u16().is_none_or(|port| port == 0) {
        check.notes.push(refuse("`url` has no valid port".to_owned()));
        return None;
    }
    if text.value.contains('#') {
        check.notes.push(refuse("`url` contains a fragment".to_owned()));
        return None;
    }
    if holds_known_key(text.value) {
        literal_in_the_open("url", text.span.clone(), &mut check.notes);
    }
    if uri.scheme_str() == Some("http") && !is_loopback(host) {
        check.notes.push(
            Note::new(Code::PlainHttp, text.span, format!("`{host}` is called without encryption"))
                .label("http to another machine")
                .help(
                    "use https: calls, results and credentials can be read and changed on the way",
                ),
        );
    }
    Some(uri)
}

pub(in crate::config) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The headers of a table, for whomever else we call. References in them are resolved.
pub(in crate::config) fn headers_of(
    section: &Section<'_>,
    key: &str,
    check: &mut Check<'_>,
) -> Vec<(HeaderName, Secret)> {
    let mut headers = Headers::new();
    literal_headers((section, key), Lookup::Resolve, &mut headers, check);
    headers.into_values().collect()
}

fn literal_headers(
    (section, key): (&Section<'_>, &str),
    lookup: Lookup,
    headers: &mut Headers,
    check: &mut Check<'_>,
) {
    let table = section.section(key, key, &mut check.notes);
    for (name, value) in table.entries() {
        let written = value.get_ref().as_str().unwrap_or_default();
        let credential = ["authorization", "cookie"].contains(&&*name.value.to_ascii_lowercase());
        // Whatever it looks like: what is written here is a credential.
        if credential && !written.is_empty() && !has_reference(written) && !holds_key(written) {
            check.notes.push(literal(name.value, value.span()));
        }
    }
    for (name, value) in secrets(&table, lookup, check) {
        add(&name, &value, headers, check);
    }
}

fn variable_headers(
    section: &Section<'_>,
    lookup: Lookup,
    headers: &mut Headers,
    check: &mut Check<'_>,
) {
    let table = section.section("env_http_headers", "env_http_headers", &mut check.notes);
    for (name, value) in table.entries() {
        let Some(text) = string(&quoted(name.value), value, &mut check.notes) else { continue };
        if let Some(secret) = from_variable(&text, lookup, check) {
            add(&name, &At::new(secret, text.span), headers, check);
        }
    }
}

fn bearer(section: &Section<'_>, lookup: Lookup, headers: &mut Headers, check: &mut Check<'_>) {
    const KEY: &str = "bearer_token_env_var";
    let Some(text) = section.text(KEY, &mut check.notes) else { return };
    if let Some(token) = from_variable(&text, lookup, check) {
        let value = Secret::referred(format!("Bearer {}", token.expose()));
        let place = section.key_span(KEY).unwrap_or_default();
        add(&At::new("authorization", place), &At::new(value, text.span), headers, check);
    }
}

fn from_variable(text: &At<&str>, lookup: Lookup, check: &mut Check<'_>) -> Option<Secret> {
    if !is_variable_name(text.value) {
        // A usual slip is the token itself.
        check.notes.hide(text.span.clone());
        let message = "this is not the name of an environment variable";
        let note = Note::new(Code::BadVariable, text.span.clone(), message).label("not a name");
        check.notes.push(note.help("write the variable's name here, not its value"));
        return None;
    }
    if lookup == Lookup::SpellingOnly {
        return Some(Secret::new(""));
    }
    match variable(text.value, check.around) {
        Ok(value) => Some(Secret::referred(value)),
        Err(error) => {
            check.notes.push(unresolved(error, text.span.clone()));
            None
        }
    }
}

fn add(name: &At<&str>, value: &At<Secret>, headers: &mut Headers, check: &mut Check<'_>) {
    let shown = name.value.escape_debug();
    let Ok(header) = HeaderName::from_bytes(name.value.as_bytes()) else {
        let message = format!("`{shown}` is not the name of a header");
        let note = Note::new(Code::BadHeader, name.span.clone(), message).label("not a name");
        check.notes.push(note.help("use letters, digits and `-`"));
        return;
    };
    if is_header_of_ours(header.as_str()) {
        let message = format!("header `{shown}` is set by portcullis itself");
        let note = Note::new(Code::BadHeader, name.span.clone(), message).label("cannot be set");
        check.notes.push(note.help("remove it"));
        return;
    }
    let text = value.value.expose();
    if !text.is_ascii() || HeaderValue::from_str(text).is_err() {
        let message = format!("the value of header `{shown}` contains a character not allowed");
        let note = Note::new(Code::BadHeader, value.span.clone(), message).label("cannot be sent");
        check.notes.push(note.help("use visible ASCII characters and spaces"));
        return;
    }
    let key = header.as_str().to_owned();
    if headers.insert(key, (header, value.value.clone())).is_some() {
        let message = format!("header `{shown}` is set twice");
        let note = Note::new(Code::SetTwice, name.span.clone(), message).label("already set");
        check.notes.push(
            note.help("keep one of http_headers, env_http_headers and bearer_token_env_var for it"),
        );
    }
}

/// Whether no operator may set it.
pub(in crate::config) fn is_header_of_ours(name: &str) -> bool {
    let name = &*name.to_ascii_lowercase();
    OUR_HEADERS.contains(&name) || OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
