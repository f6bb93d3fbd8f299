//! Whose a URI is when two servers have it: the first one's as it is, the other's with a prefix.

use serde_json::{Value, json};

use super::{Road, TEXT, listed};
use crate::{
    client::{Client, Kind},
    harness::journal,
    subscriptions::{UPDATED, WATCHED},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_of_two_servers_means_the_first_and_an_unknown_one_nobody() {
    let road = Road::new(&["beta", "alpha"], "").await;
    let uris = listed(&road.client, "resources/list", "uri").await;
    assert_eq!(uris.len(), 6, "each once at each server: {uris:?}");
    let prompts = listed(&road.client, "prompts/list", "name").await;
    assert!(prompts.contains(&"alpha__test_simple_prompt".to_owned()));
    assert!(prompts.contains(&"beta__test_simple_prompt".to_owned()));

    let read = road.read("test://static-text").await;
    assert_eq!(read["result"]["contents"][0]["text"], TEXT);
    assert_eq!(road.reached("alpha", "resources/read"), 1);
    let told = |server: &Value| {
        let problems = server["problems"].as_array().cloned().unwrap_or_default();
        let about = |problem: &Value| {
            problem.as_str().unwrap().contains("because server `alpha` has them too")
        };
        problems.iter().filter(|problem| about(problem)).count()
    };
    let status = road.gateway.status();
    let problems: Vec<usize> = status["servers"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(problems, [0, 2], "{status}");

    let missing = road.read("other://nobody").await;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    assert_eq!(missing["error"]["data"]["uri"], "other://nobody");
    let legacy = Client::http(Kind::LegacyHttp, road.gateway.port).await;
    let missing = legacy.ask("resources/read", json!({ "uri": "other://nobody" })).await.response;
    assert_eq!(missing["error"]["code"], -32002, "{missing}");
    let refused = road.gateway.wait_audit("the refusal", |record| record["kind"] == "refused");
    assert_eq!(
        (&refused["about"], &refused["asked"]),
        (&json!("resource"), &json!("other://nobody"))
    );
    let prompt = road.client.ask("prompts/get", json!({ "name": "test_simple_prompt" })).await;
    assert_eq!(prompt.response["error"]["code"], -32602, "{prompt:?}");
    assert_eq!(road.reached("beta", "resources/read") + road.reached("beta", "prompts/get"), 0);
}

/// What reached a server of a road by this method: one member of each request.
fn params(road: &Road, server: &str, method: &str, pointer: &str) -> Vec<Value> {
    let events = journal(&road.gateway.dir.path().join(format!("{server}.jsonl")));
    let of_method = events.iter().filter(|event| event["method"] == method);
    let params = of_method.map(|event| event["params"].as_str().unwrap());
    let params = params.map(|text| serde_json::from_str::<Value>(text).unwrap());
    params.map(|params| params.pointer(pointer).unwrap().clone()).collect()
}

/// Everything that can be done with a URI can be done with one that has a prefix.
async fn a_contested_uri_is_reached_by_its_prefix(kind: Kind, era: &str) {
    let road = Road::with(&["beta_2", "alpha"], &["--era", era], "").await;
    let client = &Client::http(kind, road.gateway.port).await;
    let prefix = |uri: &str| format!("via.beta..2+{uri}");
    let plain = ["test://static-binary", "test://static-text", WATCHED];
    let all: Vec<_> = plain.map(str::to_owned).into_iter().chain(plain.map(prefix)).collect();
    assert_eq!(listed(client, "resources/list", "uri").await, all);
    let template = "test://template/{id}/data";
    let templates = listed(client, "resources/templates/list", "uriTemplate").await;
    assert_eq!(templates, [template, &prefix(template)]);

    let ask = async |method: &str, params: Value| client.ask(method, params).await.response;
    for own in ["test://static-text", "test://template/7/data"] {
        let read = ask("resources/read", json!({ "uri": prefix(own) })).await;
        assert_eq!(read["result"]["contents"][0]["uri"], prefix(own), "{kind:?} {read}");
        let read = ask("resources/read", json!({ "uri": own })).await;
        assert_eq!(read["result"]["contents"][0]["uri"], own, "{kind:?} {read}");
    }
    let missing = ask("resources/read", json!({ "uri": prefix("test://missing") })).await;
    assert_eq!(missing["error"]["data"]["uri"], prefix("test://missing"), "{missing}");
    let target = json!({ "type": "ref/resource", "uri": prefix(template) });
    let params_of = json!({ "ref": target, "argument": { "name": "id", "value": "par" } });
    let completed = ask("completion/complete", params_of).await;
    let values = &completed["result"]["completion"]["values"];
    assert_eq!(*values, json!(["paris", "park", "party"]), "{completed}");

    let reached = |server, method, pointer| params(&road, server, method, pointer);
    let both = ["test://static-text", "test://template/7/data"];
    assert_eq!(reached("beta_2", "resources/read", "/uri"), both, "under its own URI");
    assert_eq!(reached("alpha", "resources/read", "/uri"), both);
    assert_eq!(reached("beta_2", "completion/complete", "/ref/uri"), [template]);
    let judged = road.gateway.wait_audit("an intent", |record| {
        record["kind"] == "intent" && record["resource"] == "test://static-text"
    });
    assert_eq!(judged["server"], "beta_2");

    let watched = prefix(WATCHED);
    let (mut ear, honoured) = client.hear(&[&watched]).await;
    assert_eq!(honoured, [watched.as_str()]);
    // What the first server says of its own is no news to who watches the other's.
    client.call("alpha__test_trigger_resource_update", json!({})).await;
    client.call("beta_2__test_trigger_resource_update", json!({})).await;
    assert_eq!(ear.next(UPDATED).await["params"]["uri"], watched);
    let (mut both, _) = client.hear(&[WATCHED]).await;
    client.call("alpha__test_trigger_resource_update", json!({})).await;
    assert_eq!(both.next(UPDATED).await["params"]["uri"], WATCHED);
}

macro_rules! reached {
    ($($name:ident: $client:ident, $era:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                a_contested_uri_is_reached_by_its_prefix(Kind::$client, $era).await;
            }
        )*
    };
}

reached! {
    a_contested_uri_is_reached_from_modern_to_modern: ModernHttp, "modern";
    a_contested_uri_is_reached_from_modern_to_legacy: ModernHttp, "legacy";
    a_contested_uri_is_reached_from_legacy_to_modern: LegacyHttp, "modern";
    a_contested_uri_is_reached_from_legacy_to_legacy: LegacyHttp, "legacy";
}
