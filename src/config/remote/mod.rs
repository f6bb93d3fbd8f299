//! Whom the gateway calls by itself, besides its servers: by URL, over https or on this machine.

pub(super) mod telemetry;
pub(super) mod witness;

use http::Uri;

use super::{Code, check::Check, report::Note, section::At, server::is_loopback};

/// What is called, and how that is told.
struct Remote {
    key: &'static str,
    what: &'static str,
    /// What is to be written.
    shape: &'static str,
    /// Where it is asked, below what is written.
    path: &'static str,
    /// Why nobody may listen in.
    why: &'static str,
}

fn address(remote: &Remote, text: &At<&str>, check: &mut Check<'_>) -> Option<Uri> {
    let Remote { key, what, shape, path, why } = *remote;
    let refuse = |told: &str, help: &str| {
        Note::new(Code::BadUrl, text.span.clone(), format!("`{key}` {told}"))
            .label("not usable")
            .help(help.to_owned())
    };
    let written = text.value.trim_end_matches('/');
    let uri: Option<Uri> = format!("{written}{path}").parse().ok();
    let plain = |uri: &Uri| !text.value.contains(['@', '#', '?']) && uri.host().is_some();
    let Some(uri) = uri.filter(plain) else {
        check.notes.push(refuse(&format!("is not a URL of {what}"), shape));
        return None;
    };
    match (uri.scheme_str(), uri.host().is_some_and(is_loopback)) {
        (Some("https"), _) | (Some("http"), true) => Some(uri),
        (Some("http"), false) => {
            let help = format!("use https: {why}");
            check.notes.push(refuse("is called without encryption", &help));
            None
        }
        (_, _) => {
            check.notes.push(refuse("is neither http nor https", shape));
            None
        }
    }
}
