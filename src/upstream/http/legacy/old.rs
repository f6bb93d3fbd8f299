//! The HTTP+SSE transport of 2024-11-05, deprecated, which servers in use still speak.
//!
//! A GET stream begins with an event that names the endpoint for messages; they are posted there
//! and taken with an empty answer, and what the server has to say comes on the stream. The session
//! is as long as the stream. An endpoint of another origin is refused, whoever names it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Uri;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{Core, Listener, Slot};
use crate::{
    domain::{
        CallError, Sent,
        limits::{SSE_RETRY, UPSTREAM_MESSAGE_BYTES_MAX},
    },
    upstream::http::answer::{is_stream, next_piece},
    wire::{Response, SseReader, Version},
};

/// What there is beside an ordinary session.
#[derive(Debug)]
pub(in crate::upstream::http) struct Old {
    endpoint: Uri,
    /// None once the stream is over.
    awaited: Mutex<Option<HashMap<u64, oneshot::Sender<Response>>>>,
}

/// An answer that is to come on the stream; not expected any more when this is dropped.
#[derive(Debug)]
pub(in crate::upstream::http) struct Awaited<'a> {
    old: &'a Old,
    id: u64,
    answer: oneshot::Receiver<Response>,
}

impl Old {
    pub(in crate::upstream::http) fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// From now on the answer to `id` is expected; not if the stream is over.
    pub(in crate::upstream::http) fn expect(&self, id: u64) -> Result<Awaited<'_>, CallError> {
        let (sender, answer) = oneshot::channel();
        let unsent = CallError::Unavailable { sent: Sent::No };
        self.lock().as_mut().ok_or(unsent)?.insert(id, sender);
        Ok(Awaited { old: self, id, answer })
    }

    /// Whether somebody expects this answer.
    pub(super) fn answered(&self, id: Option<u64>, response: Response) -> bool {
        let awaited = id.and_then(|id| self.lock().as_mut()?.remove(&id));
        awaited.is_some_and(|awaited| awaited.send(response).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Response>>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited<'_> {
    pub(in crate::upstream::http) async fn answer(mut self) -> Result<Response, CallError> {
        (&mut self.answer).await.map_err(|_| CallError::Unavailable { sent: Sent::Yes })
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(awaited) = self.old.lock().as_mut() {
            awaited.remove(&self.id);
        }
    }
}

impl Core {
    /// Opens the stream and learns the endpoint. `false`: the server does not offer that.
    pub(in crate::upstream::http) async fn open_old(self: &Arc<Self>) -> Result<bool, CallError> {
        let mut slot = Slot::default();
        let head = self.open_stream(&mut slot, Version::V2024_11_05, None, None).await?;
        if !head.status().is_success() || !is_stream(head.headers()) {
            return Ok(false);
        }
        let mut reader = SseReader::new(UPSTREAM_MESSAGE_BYTES_MAX);
        let mut body = head.into_body();
        let Some(named) = first_endpoint(&mut slot, &mut reader, &mut body).await else {
            return Ok(false);
        };
        let foreign = "the endpoint that its event stream names is not of its own origin";
        let endpoint = resolve(&self.url, &named).ok_or(CallError::Protocol { what: foreign })?;
        let awaited = Mutex::new(Some(HashMap::new()));
        if self.old.set(Old { endpoint, awaited }).is_err() {
            return Ok(false);
        }
        let core = Arc::clone(self);
        self.tasks.run(async move {
            let (version, last_id, retry) = (Version::V2024_11_05, None, SSE_RETRY);
            let mut listener = Listener { core: &core, version, last_id, retry };
            listener.hear(slot, reader, body).await;
            if let Some(old) = core.old.get() {
                // Whoever waits is told by that.
                *old.lock() = None;
            }
            core.end("the server closed its event stream");
        });
        Ok(true)
    }
}

/// What the first event names, if it is of that kind.
async fn first_endpoint(
    slot: &mut Slot,
    reader: &mut SseReader,
    body: &mut Incoming,
) -> Option<String> {
    let line = slot.line.as_mut()?;
    loop {
        match reader.next() {
            Some(Ok(event)) if event.event.as_deref() == Some("endpoint") => {
                return String::from_utf8(event.data.to_vec()).ok();
            }
            Some(Ok(event)) if event.data.is_empty() => {}
            Some(Ok(_) | Err(_)) => return None,
            None => reader.push(&next_piece(line, body).await?.ok()?),
        }
    }
}

/// Where `named` leads from the URL of the stream: a path and query there, or nowhere.
fn resolve(base: &Uri, named: &str) -> Option<Uri> {
    let path_end = named.find(['/', '?', '#']).unwrap_or(named.len());
    let is_absolute = named.get(..path_end).is_some_and(|scheme| scheme.contains(':'));
    let target = if is_absolute {
        named.parse::<Uri>().ok()?
    } else if let Some(authority) = named.strip_prefix("//") {
        format!("{}://{authority}", base.scheme_str()?).parse().ok()?
    } else if named.starts_with('/') {
        named.parse().ok()?
    } else {
        let path = base.path();
        let kept = if named.starts_with('?') { path.len() } else { path.rfind('/')? + 1 };
        format!("{}{named}", path.get(..kept)?).parse().ok()?
    };
    let same = target.authority().is_none() || origin(&target)? == origin(base)?;
    same.then(|| target.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).parse().ok())?
}

fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match (uri.port_u16(), scheme.as_str()) {
        (Some(port), _) => port,
        (None, "http") => 80,
        (None, "https") => 443,
        (None, _) => return None,
    };
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn an_endpoint_is_a_path_at_the_same_origin() {
        let cases = [
            ("/messages?s=1", "/messages?s=1"),
            ("messages/?s=1", "/a/messages/?s=1"),
            ("?s=1", "/a/sse?s=1"),
            ("http://host:8080/m", "/m"),
            ("HTTP://HOST:8080/m", "/m"),
            ("//host:8080/m", "/m"),
            ("//host/m", ""),
            ("https://host:8080/m", ""),
            ("http://host:8081/m", ""),
            ("http://host/m", ""),
            ("http://evil:8080/m", ""),
            ("http://host:8080@evil/m", ""),
            ("http://evil:8080#@host:8080/m", ""),
            ("//evil/m", ""),
            ("file:///etc/passwd", ""),
            ("javascript:alert(1)", ""),
            ("http:\\\\evil", ""),
            ("/a b", ""),
            ("/a\r\nHost: evil", ""),
        ];
        let base = "http://host:8080/a/sse".parse().unwrap();
        for (named, want) in cases {
            let got = resolve(&base, named).map(|uri| uri.to_string());
            assert_eq!(got.unwrap_or_default(), want, "{named}");
        }
        let plain = "https://host/sse".parse().unwrap();
        assert!(resolve(&plain, "https://host:443/m").is_some());
        assert!(resolve(&plain, "http://host:443/m").is_none());
    }
}
