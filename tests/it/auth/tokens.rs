//! Access tokens of an issuer: what they open, what their lack is told with, and where they end.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{call, headers, in_session, json_of, modern, session, tools};
use crate::{
    client::{Events, post, send_to},
    harness::{Gateway, HttpFixture, journal, records_in, stdio_server, wait_until, within},
};

const US: &str = "https://gate.example/mcp";

/// An issuer that says by HTTP which key it signs with, and counts who asks.
struct Issuer {
    key: Ed25519KeyPair,
    url: String,
    asked: Arc<AtomicUsize>,
}

fn url64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..=chunk.len() {
            text.push(char::from(digits[(group >> (18 - 6 * n) & 63) as usize]));
        }
    }
    text
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Issuer {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        let x = url64(key.public_key().as_ref());
        let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x }] });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                count.fetch_add(1, Ordering::SeqCst);
                let body = jwks.to_string();
                let n_bytes = body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {n_bytes}\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap_or_default();
            }
        });
        Self { key, url, asked }
    }

    fn token_by(&self, kid: &str, claims: Value) -> String {
        let mut all = json!({ "iss": self.url, "sub": "ann", "aud": US, "exp": now_s() + 600 });
        let all_of = all.as_object_mut().unwrap();
        all_of.extend(claims.as_object().unwrap().clone());
        let header = json!({ "alg": "EdDSA", "kid": kid });
        let part = |value: &Value| url64(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&all));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", url64(signature.as_ref()))
    }

    fn token(&self, claims: Value) -> String {
        self.token_by("one", claims)
    }

    fn auth(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "[auth.jwt]\nissuer = \"{url}\"\nresource = \"{US}\"\njwks = \"{url}/keys\"\n{more}"
        )
    }
}

async fn status_of(gateway: &Gateway, token: &str) -> (StatusCode, String) {
    let response = modern(gateway.port, token, "tools/list", json!({})).await;
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    (response.status(), challenge.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_token_is_told_where_to_get_one() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth("scopes = [\"mcp:call\"]\n"));
    let known = "/.well-known/oauth-protected-resource";
    for path in [known.to_owned(), format!("{known}/mcp")] {
        let told = send_to(gateway.port, ("GET", &path), "", headers(&[])).await;
        let told = json_of(told).await;
        assert_eq!(
            (&told["resource"], &told["authorization_servers"]),
            (&json!(US), &json!([issuer.url]))
        );
    }
    let place =
        format!("resource_metadata=\"https://gate.example{known}/mcp\", scope=\"mcp:call\"");
    let with = |claims: Value| issuer.token(claims);
    let scope = json!("mcp:call");
    for (token, want) in [
        (with(json!({ "scope": scope, "aud": "https://other.example/mcp" })), 401),
        (with(json!({ "scope": scope, "exp": now_s() - 31 })), 401),
        (with(json!({ "scope": scope, "nbf": now_s() + 60 })), 401),
        (with(json!({ "scope": scope, "iss": "https://evil.example" })), 401),
        (with(json!({ "scope": "other" })), 403),
        (format!("{}x", with(json!({ "scope": scope }))), 401),
        (with(json!({ "scope": scope })), 200),
    ] {
        let (status, challenge) = status_of(&gateway, &token).await;
        assert_eq!(status.as_u16(), want, "{token}");
        let error = match want {
            401 => "invalid_token",
            403 => "insufficient_scope",
            _ => continue,
        };
        assert_eq!(challenge, format!("Bearer error=\"{error}\", {place}"));
    }
    let nobody = send_to(gateway.port, ("POST", "/mcp"), "{}", headers(&[])).await;
    let challenge = nobody.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!((nobody.status().as_u16(), challenge), (401, format!("Bearer {place}").as_str()));
    let refused = || {
        let mut all = records_in(&gateway.dir.path().join("state/audit")).into_iter();
        all.find(|record| record["reason"] == "the token is for somebody else")
    };
    let refused = wait_until("the refusal", refused, || gateway.log());
    assert_eq!((&refused["kind"], &refused["status"]), (&json!("turned_away"), &json!(401)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_unknown_keys_asks_the_issuer_no_more_than_once() {
    let issuer = Issuer::new();
    let began_s = now_s();
    let gateway = Gateway::start(&issuer.auth(""));
    assert_eq!(status_of(&gateway, &issuer.token(json!({}))).await.0, StatusCode::OK);
    for n in 0..300 {
        let token = issuer.token_by(&format!("k{n}"), json!({}));
        assert_eq!(status_of(&gateway, &token).await.0, StatusCode::UNAUTHORIZED);
    }
    // Once a minute, and this takes less.
    let most = 1 + usize::try_from((now_s() - began_s) / 60).unwrap();
    let asked = issuer.asked.load(Ordering::SeqCst);
    assert!((1..=most).contains(&asked), "{asked}");
    assert_eq!(status_of(&gateway, &issuer.token(json!({}))).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_the_session_goes_on_with_the_next() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth(""));
    // What is over for 22 s is good for 8 s more: clocks may differ.
    let short = issuer.token(json!({ "exp": now_s() - 22 }));
    let id = session(gateway.port, &short).await;
    let stream = crate::client::send(gateway.port, "GET", "", in_session(&short, &id)).await;
    let mut events = Events::of(stream);
    within("the end of the stream", async { while events.next().await.is_some() {} }).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    let of = |token: &str| post(gateway.port, &ping, in_session(token, &id));
    assert_eq!(of(&short).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(of(&issuer.token(json!({}))).await.status(), StatusCode::OK);
    // Nobody else's, and of the same one only with the same rights.
    for claims in [json!({ "sub": "bob" }), json!({ "scope": "x" }), json!({ "groups": ["a"] })] {
        assert_eq!(of(&issuer.token(claims)).await.status(), StatusCode::NOT_FOUND);
    }
}

/// What a call under a wide token tells is in the session's record, to be read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_token_of_the_same_subject_hears_nothing_of_the_wider_ones_session() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&format!("{}{}", issuer.auth(""), stdio_server("up", &[])));
    let port = gateway.port;
    let wide = issuer.token(json!({ "scope": "secrets" }));
    let narrow = issuer.token(json!({}));
    let id = session(port, &wide).await;
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "up__progress", "arguments": { "steps": 3, "ms": 50 },
        "_meta": { "progressToken": "p" } } });
    let mut events = Events::of(post(port, &call, in_session(&wide, &id)).await);
    let mut last = None;
    while let Some(event) = within("an event", events.next()).await {
        last = event.id.or(last);
    }
    let last = last.expect("events have ids");
    let again = async |token: &str, from: &str| {
        let mut sent = in_session(token, &id);
        sent.insert("last-event-id", from.parse().unwrap());
        crate::client::send(port, "GET", "", sent).await.status()
    };
    assert_eq!(again(&narrow, &last).await, StatusCode::NOT_FOUND);
    assert_ne!(again(&wide, &last).await, StatusCode::NOT_FOUND);
    let ended = crate::client::send(port, "DELETE", "", in_session(&narrow, &id)).await;
    assert_eq!(ended.status(), StatusCode::NOT_FOUND);
}

/// Groups and scopes of a token decide what is seen; the token itself is seen by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_decides_what_is_seen_and_goes_no_further() {
    let issuer = Issuer::new();
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("groups.toml"), "[groups]\neditors = []\n").unwrap();
    let policy = |who: &str, tool: &str| {
        format!(
            "permit(principal in Gw::Group::\"{who}\", action == Gw::Action::\"{tool}\", resource);\n"
        )
    };
    let all = [("editors", "far/echo"), ("editors", "near/env"), ("scope:x", "near/echo")];
    let all: String = all.iter().map(|(who, tool)| policy(who, tool)).collect();
    fs::write(policies.join("a.cedar"), all).unwrap();
    let (near, far) = (dir.path().join("near.jsonl"), dir.path().join("far.jsonl"));
    let upstream = HttpFixture::start(&["--journal", far.to_str().unwrap()]);
    let servers = format!(
        "{}{}[servers.far]\nurl = \"{}\"\n",
        issuer.auth(""),
        stdio_server("near", &["--journal", near.to_str().unwrap()]),
        upstream.url,
    );
    let gateway = Gateway::start_in(dir, &servers);
    let token = issuer.token(json!({ "groups": ["editors"], "scope": "x" }));
    let port = gateway.port;
    assert_eq!(tools(port, &token).await, ["far__echo", "near__echo", "near__env"]);
    assert_eq!(tools(port, &issuer.token(json!({ "scope": "x" }))).await, ["near__echo"]);
    for tool in ["far__echo", "near__echo"] {
        let told = call(port, &token, tool, json!({ "text": "hi" })).await;
        assert_eq!(told["result"]["content"][0]["text"], "hi", "{told}");
    }
    let env = call(port, &token, "near__env", json!({})).await.to_string();
    let outcomes = || {
        let outcomes = gateway.audit().into_iter().filter(|record| record["kind"] == "outcome");
        (outcomes.count() == 3).then_some(())
    };
    wait_until("all outcomes", outcomes, || gateway.log());
    let arguments = crate::harness::marked(near.to_str().unwrap());
    assert!(!arguments.is_empty());
    let seen = |what: &str, text: &str| {
        for part in token.split('.') {
            assert!(!text.contains(part), "{what} has it: {text}");
        }
        assert!(!text.contains("Bearer ey"), "{what}");
    };
    seen("the environment", &env);
    seen("a command line", &format!("{arguments:?}"));
    seen("the log", &gateway.log());
    seen("the audit", &format!("{:?}", gateway.audit()));
    let told = journal(&far);
    assert!(told.iter().any(|entry| entry["headers"].is_object()), "{told:?}");
    for path in [&near, &far] {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("tools/call"));
        seen("a server", &text);
        assert!(!text.to_lowercase().contains("\"authorization\""), "{text}");
    }
    let intent = gateway.audit().into_iter().find(|record| record["kind"] == "intent").unwrap();
    assert_eq!(intent["principal"], format!("{}|ann", issuer.url));
}
