//! The HTTP+SSE transport of 2024-11-05: old clients of ours, and old servers, by real processes. A
//! gateway that serves it is the old server of another one.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::{Client, Event, Events, Kind, send_to},
    harness::{Gateway, journal, stdio_server, wait_until, within},
};

const ON: &str = "[gateway]\nlegacy_sse = true\n";

/// An old client, written by hand against its specification.
struct Old {
    port: u16,
    endpoint: String,
    events: Events,
    next: u64,
}

impl Old {
    /// A stream, and nothing more.
    async fn open(port: u16) -> Self {
        let stream = send_to(port, ("GET", "/sse"), String::new(), HeaderMap::new()).await;
        let mut events = Events::of(stream);
        let first = next(&mut events).await;
        assert_eq!(first.name.as_deref(), Some("endpoint"), "{first:?}");
        Self { port, endpoint: first.data, events, next: 1 }
    }

    async fn start(port: u16) -> Self {
        let mut client = Self::open(port).await;
        let params = json!({ "protocolVersion": "2024-11-05",
            "capabilities": { "sampling": {} }, "clientInfo": { "name": "old", "version": "1" } });
        let (_, answer) = client.ask("initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2024-11-05", "{answer}");
        client.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        client
    }

    async fn post(&self, message: &Value) -> StatusCode {
        let to = ("POST", self.endpoint.as_str());
        send_to(self.port, to, message.to_string(), HeaderMap::new()).await.status()
    }

    async fn tell(&self, message: &Value) {
        assert_eq!(self.post(message).await, StatusCode::ACCEPTED, "{message}");
    }

    async fn begin(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.tell(&request).await;
        id
    }

    /// The answer, and what came before it.
    async fn ask(&mut self, method: &str, params: Value) -> (Vec<Value>, Value) {
        let id = self.begin(method, params).await;
        let mut before = Vec::new();
        loop {
            let message = next(&mut self.events).await.message().unwrap();
            if message["id"] == id && message.get("method").is_none() {
                return (before, message);
            }
            before.push(message);
        }
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> (Vec<Value>, Value) {
        let meta = json!({ "progressToken": "t" });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        self.ask("tools/call", params).await
    }
}

async fn next(events: &mut Events) -> Event {
    loop {
        let event = within("an event", events.next()).await.expect("an event before the end");
        if !event.data.is_empty() {
            return event;
        }
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_served_where_that_is_switched_on() {
    let gateway = Gateway::start(&format!("{ON}{}", stdio_server("up", &[])));
    let mut client = Old::start(gateway.port).await;
    let (progress, answer) = client.call("up__progress", json!({ "steps": 3, "ms": 1 })).await;
    assert_eq!((progress.len(), text(&answer)), (3, "progressed"));
    assert!(progress.iter().all(|one| one["params"]["progressToken"] == "t"), "{progress:?}");
    let (_, unknown) = client.call("up__nothing", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    // A question of the server is a request on the stream, its answer another POST.
    let id = client
        .begin("tools/call", json!({ "name": "up__test_input_required_result_sampling" }))
        .await;
    let question = next(&mut client.events).await.message().unwrap();
    assert_eq!(question["method"], "sampling/createMessage", "{question}");
    let given = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" } });
    client.tell(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": given })).await;
    let answer = next(&mut client.events).await.message().unwrap();
    assert_eq!((answer["id"].as_u64(), answer.get("error")), (Some(id), None), "{answer}");

    // News come unasked, to whoever has said hello.
    let (mut heard, _) = client.call("up__test_trigger_tool_change", json!({})).await;
    if heard.is_empty() {
        heard.push(next(&mut client.events).await.message().unwrap());
    }
    assert_eq!(heard[0]["method"], "notifications/tools/list_changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_old_transport_is_there_unless_switched_on() {
    let gateway = Gateway::start("");
    for to in [("GET", "/sse"), ("POST", "/messages?session=x")] {
        let answer = send_to(gateway.port, to, String::new(), HeaderMap::new()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{to:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_must_belong_to_an_open_stream_and_begin_with_initialize() {
    let gateway = Gateway::start(&format!("{ON}{}", stdio_server("up", &[])));
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let stranger = Old { endpoint: "/messages?session=x".into(), ..Old::open(gateway.port).await };
    assert_eq!(stranger.post(&ping).await, StatusCode::NOT_FOUND);
    let early = Old::open(gateway.port).await;
    assert_eq!(early.post(&ping).await, StatusCode::BAD_REQUEST);
    // The word in the endpoint opens nothing elsewhere.
    let word = early.endpoint.rsplit('=').next().unwrap().to_owned();
    let headers: HeaderMap =
        [("mcp-session-id".parse().unwrap(), word.parse().unwrap())].into_iter().collect();
    let elsewhere = send_to(gateway.port, ("POST", "/mcp"), ping.to_string(), headers).await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    for (name, value) in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let headers: HeaderMap =
            [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
        let refused = send_to(gateway.port, ("GET", "/sse"), String::new(), headers).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{name}");
    }
    let client = Old::start(gateway.port).await;
    let Old { port, endpoint, events, .. } = client;
    drop(events);
    let closed = async {
        let to = ("POST", endpoint.as_str());
        while send_to(port, to, ping.to_string(), HeaderMap::new()).await.status()
            != StatusCode::NOT_FOUND
        {}
    };
    within("the end of the session", closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_stream_of_an_old_client_and_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &format!("{ON}{server}"));
    let mut client = Old::start(gateway.port).await;
    let sleep = json!({ "name": "up__sleep", "arguments": { "ms": 600_000, "text": "z" } });
    client.begin("tools/call", sleep.clone()).await;
    let said =
        |method: &str| journal(&path).iter().any(|one| one["method"] == method).then_some(());
    wait_until("the call", || said("tools/call"), || gateway.log());
    drop(client);
    wait_until("the cancellation", || said("notifications/cancelled"), || gateway.log());
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");

    let mut client = Old::start(gateway.port).await;
    client.begin("tools/call", sleep).await;
    gateway.wait_audit("the second intent", |record| {
        record["kind"] == "intent" && record["seq"].as_u64() > Some(3)
    });
    gateway.signal("USR1");
    let answer = next(&mut client.events).await.message().unwrap();
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_requests_of_an_old_client_wait_and_no_more() {
    const OLD_REQUESTS_MAX: usize = 64;
    let server = stdio_server("up", &[]) + "in_flight = 100\n";
    let gateway = Gateway::start(&format!("{ON}{server}"));
    let mut client = Old::start(gateway.port).await;
    let sleep = json!({ "name": "up__sleep", "arguments": { "ms": 600_000, "text": "z" } });
    for _ in 1..OLD_REQUESTS_MAX {
        client.begin("tools/call", sleep.clone()).await;
    }
    let last = client.begin("tools/call", sleep).await;
    let ping = json!({ "jsonrpc": "2.0", "id": "ping", "method": "ping" });
    assert_eq!(client.post(&ping).await, StatusCode::TOO_MANY_REQUESTS);
    let withdrawn = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": { "requestId": last } });
    client.tell(&withdrawn).await;
    let free = async { while client.post(&ping).await != StatusCode::ACCEPTED {} };
    within("a place", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_found_out_and_spoken_to() {
    let far = Gateway::start(&format!("{ON}{}", stdio_server("up", &[])));
    let gateway =
        Gateway::start(&format!("[servers.far]\nurl = \"http://127.0.0.1:{}/sse\"\n", far.port));
    for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
        let client = Client::http(kind, gateway.port).await;
        assert_eq!(client.text("far__up__echo", json!({ "text": "old" })).await, "old");
        let call =
            client.begin("far__up__progress", json!({ "steps": 3, "ms": 50 }), Some("p")).await;
        let answer = call.finish().await;
        assert_eq!((answer.notices.len(), text(&answer.response)), (3, "progressed"));
        let failed = client.call("far__up__rpc_error", json!({})).await.response;
        assert_eq!(failed["error"]["code"], -4711, "{failed}");
        // Many at once, each with its own answer.
        let texts: Vec<String> = (0..20).map(|n| format!("{kind:?} {n}")).collect();
        let mut calls = Vec::new();
        for text in &texts {
            calls.push(client.begin("far__up__echo", json!({ "text": text }), None).await);
        }
        for (call, want) in calls.into_iter().zip(&texts) {
            assert_eq!(text(&call.finish().await.response), want);
        }
    }
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let sleeping =
        client.begin("far__up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    far.wait_audit("the call", |record| record["kind"] == "intent" && record["tool"] == "sleep");
    client.cancel(sleeping).await;
    far.wait_audit("its end", |record| {
        record["kind"] == "outcome" && record["error"] == "cancelled"
    });
}
