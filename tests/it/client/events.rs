//! A response that is a stream, event by event, with the ids to come back with.

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Client, Line, post, send};

pub(crate) fn is_stream(response: &Response<Incoming>) -> bool {
    let media = response.headers().get("content-type");
    media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

/// Dropping it cuts the connection.
pub(crate) struct Events {
    response: Response<Incoming>,
    text: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: String,
}

impl Events {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        assert!(is_stream(&response), "{response:?}");
        Self { response, text: Vec::new() }
    }

    /// The next event that is more than a comment; nothing when the stream ends or breaks.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(event) = Event::read(std::str::from_utf8(&event).unwrap()) {
                    return Some(event);
                }
            }
            let frame = self.response.body_mut().frame().await?.ok()?;
            self.text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }
}

impl Event {
    fn read(text: &str) -> Option<Self> {
        let mut event = Self::default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let mut is_event = false;
        for (field, value) in fields.filter(|(field, _)| !field.is_empty()) {
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            is_event = true;
            match field {
                "id" => event.id = Some(value),
                "event" => event.name = Some(value),
                "retry" => event.retry = Some(value),
                "data" => event.data += &value,
                _ => panic!("{text}"),
            }
        }
        is_event.then_some(event)
    }

    /// What it carries, unless it only carries an id.
    pub(crate) fn message(&self) -> Option<Value> {
        (!self.data.is_empty()).then(|| serde_json::from_str(&self.data).unwrap())
    }
}

/// Hands on every message of a response, JSON or SSE.
pub(super) async fn read(response: Response<Incoming>, out: mpsc::UnboundedSender<Value>) {
    if is_stream(&response) {
        let mut events = Events::of(response);
        while let Some(event) = events.next().await {
            if let Some(message) = event.message() {
                out.send(message).unwrap_or_default();
            }
        }
    } else if let Ok(body) = response.into_body().collect().await
        && let text = body.to_bytes()
        && !text.is_empty()
    {
        out.send(serde_json::from_slice(&text).unwrap()).unwrap_or_default();
    }
}

impl Client {
    /// Calls a tool and leaves the response as it comes.
    pub(crate) async fn open(&self, tool: &str, arguments: Value) -> Response<Incoming> {
        let Line::Http { port, session } = &self.line else { panic!("not over HTTP") };
        let mut body = json!({ "jsonrpc": "2.0", "id": "the call", "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": { "progressToken": "t" } } });
        if self.is_modern() {
            body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] =
                super::MODERN.into();
            body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let headers = self.headers("tools/call", Some(tool), session.as_deref());
        post(*port, &body, headers).await
    }

    /// The GET stream, from behind this event on if there is one.
    pub(crate) async fn resume(&self, last_event: Option<&str>) -> Response<Incoming> {
        let Line::Http { port, session } = &self.line else { panic!("not over HTTP") };
        let mut headers = self.headers("", None, session.as_deref());
        headers.insert("accept", "text/event-stream".parse().unwrap());
        if let Some(id) = last_event {
            headers.insert("last-event-id", id.parse().unwrap());
        }
        send(*port, "GET", String::new(), headers).await
    }

    /// DELETE.
    pub(crate) async fn end_session(&self) -> Response<Incoming> {
        let Line::Http { port, session } = &self.line else { panic!("not over HTTP") };
        send(*port, "DELETE", String::new(), self.headers("", None, session.as_deref())).await
    }
}
