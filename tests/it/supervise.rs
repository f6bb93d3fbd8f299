//! Servers that crash again and again, hang, or are gone for a while.

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, stdio_server, wait_until, write_config},
};

/// Waits until the status of this server is as wanted.
fn wait_server(gateway: &Gateway, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let look = || {
        let status = gateway.status();
        let mut servers = status["servers"].as_array().unwrap().iter();
        servers.find(|server| server["name"] == name).filter(|server| is(server)).cloned()
    };
    wait_until(what, look, || gateway.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_seen_harms_nobody_and_ends_with_a_reload() {
    let (good, bad) = (stdio_server("good", &[]), "[servers.bad]\ncommand = \"/bin/false\"\n");
    let gateway = Gateway::start(&format!("{good}{bad}"));
    let looping = |server: &Value| server["state"] == "crash-loop";
    let bad = wait_server(&gateway, "bad", "the crash loop", looping);
    assert_eq!((&bad["restarts"], &bad["replicas"][0]["state"]), (&json!(5), &json!("crash-loop")));
    assert!(bad["why"].as_str().unwrap().contains("ended before it was ready"), "{bad}");
    assert!(gateway.log().contains("\"Server is in a crash loop\""), "{}", gateway.log());
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 200"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("good__echo", json!({ "text": "x" })).await, "x");

    // Nothing is different in the file, but the program may be another.
    assert!(gateway.cli(&["reload"]).status.success());
    wait_server(&gateway, "bad", "another start", |server| server["restarts"] == 6);
    write_config(gateway.dir.path(), &format!("{good}{}", stdio_server("bad", &[])));
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(client.text("bad__echo", json!({ "text": "x" })).await, "x");
}
