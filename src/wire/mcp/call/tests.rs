//! Which parameters are taken, and what a server gets of them.

use bytes::Bytes;

use super::{
    CallForm, CallMethod, CallParams, ClientFace, Level, Object, Onward, Sender, Tasks, encode_call,
};
use crate::{
    domain::TaskStep,
    wire::{RequestId, Version},
};

#[track_caller]
fn check(params: &str, want: Result<&str, &str>) {
    check_of(CallMethod::ToolsCall, params, want);
}

#[track_caller]
fn check_of(method: CallMethod, params: &str, want: Result<&str, &str>) {
    let object = Object::parse(params.to_owned().into()).unwrap();
    let got = CallParams::parse(method, &object).map(|call| call.arguments()).map_err(|error| {
        assert_eq!(error.code(), -32602);
        error.to_string()
    });
    let refused = |rule| format!("invalid params: {rule}");
    assert_eq!(got, want.map(|text| text.to_owned().into()).map_err(refused), "{params}");
}

#[test]
fn parameters_must_have_their_types() {
    check(r#"{"name":"a"}"#, Ok("{}"));
    check(r#"{"name":"a","arguments":{"x": 1.0 }}"#, Ok(r#"{"x": 1.0 }"#));
    check("{}", Err("`name` must be a string"));
    check(r#"{"name":7}"#, Err("`name` must be a string"));
    check(r#"{"name":"\udfff"}"#, Err("`name` must be a string"));
    check(r#"{"name":"a","arguments":null}"#, Err("`arguments` must be an object"));
    check(r#"{"name":"a","arguments":[]}"#, Err("`arguments` must be an object"));
    check(r#"{"name":"a","_meta":[]}"#, Err("`_meta` must be an object"));
    let meta = |meta: &str| format!(r#"{{"name":"a","_meta":{{{meta}}}}}"#);
    check(&meta(r#""progressToken":"""#), Ok("{}"));
    let token = Err("`progressToken` must be a string or an integer");
    check(&meta(r#""progressToken":1.5"#), token);
    check(&meta(r#""progressToken":null"#), token);
    check(
        &meta(r#""io.modelcontextprotocol/protocolVersion":1"#),
        Err("`io.modelcontextprotocol/protocolVersion` must be a string"),
    );
    check(
        &meta(r#""io.modelcontextprotocol/clientCapabilities":"x""#),
        Err("`io.modelcontextprotocol/clientCapabilities` must be an object"),
    );
    let level = Err("`io.modelcontextprotocol/logLevel` must be a log level");
    check(&meta(r#""io.modelcontextprotocol/logLevel":1"#), level);
    check(&meta(r#""io.modelcontextprotocol/logLevel":"loud""#), level);
    check(&meta(r#""io.modelcontextprotocol/logLevel":"emergency""#), Ok("{}"));
}

#[test]
fn meta_says_what_the_client_said() {
    let params = r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientInfo":{"name":"c"},"progressToken":"p",
        "io.modelcontextprotocol\/clientCapabilities":{"x":{}},
        "io.modelcontextprotocol/logLevel":"info"}}"#;
    let call =
        CallParams::parse(CallMethod::ToolsCall, &Object::parse(params.into()).unwrap()).unwrap();
    let meta = &call.meta;
    assert_eq!(meta.version(), Some("2026-07-28"));
    assert_eq!(meta.client_info().unwrap().text("name").as_deref(), Some("c"));
    assert_eq!(meta.capabilities().unwrap().raw(), r#"{"x":{}}"#);
    assert_eq!(meta.log_level(), Some(Level::Info));
    assert_eq!(call.progress_token().unwrap().as_bytes(), b"\"p\"");
}

#[test]
fn every_method_has_its_own_place_for_the_target() {
    let get = |params, want| check_of(CallMethod::PromptsGet, params, want);
    get(r#"{"name":"a","arguments":{"x":"1"}}"#, Ok(r#"{"x":"1"}"#));
    get(r#"{"uri":"a"}"#, Err("`name` must be a string"));
    let read = |params, want| check_of(CallMethod::ResourcesRead, params, want);
    read(r#"{"uri":"a:\u002fb","arguments":7}"#, Ok(r#""a:\u002fb""#));
    read(r#"{"name":"a"}"#, Err("`uri` must be a string"));
    let complete = |params: &str, want| check_of(CallMethod::Complete, params, want);
    let prompt = r#""ref":{"type":"ref/prompt","name":"p"}"#;
    complete(&format!(r#"{{{prompt},"argument":{{"name":"n"}}}}"#), Ok(r#"{"name":"n"}"#));
    complete(&format!("{{{prompt}}}"), Err("`argument` must be an object"));
    complete(r#"{"argument":{}}"#, Err("`ref` must be an object"));
    complete(
        r#"{"ref":{"type":"ref/tool","name":"p"},"argument":{}}"#,
        Err("`ref.type` must be `ref/prompt` or `ref/resource`"),
    );
    complete(
        r#"{"ref":{"type":"ref/resource","name":"p"},"argument":{}}"#,
        Err("`ref.uri` must be a string"),
    );
}

/// The request for a server, which knows the target as `name`.
fn encoded(call: &CallParams, version: Version, name: &str, tasks: Tasks) -> Bytes {
    let id = &RequestId::from_u64(3);
    let client = &ClientFace { info: "{}".into(), capabilities: "{}".into() };
    let form = CallForm {
        version,
        id,
        name,
        progress_token: None,
        client,
        tasks,
        trace: Onward::default(),
    };
    encode_call(call, &form).into_bytes()
}

#[track_caller]
fn sent(method: CallMethod, params: &str, want: &str) {
    let object = Object::parse(params.to_owned().into()).unwrap();
    let call = CallParams::parse(method, &object).unwrap();
    let method = method.as_str();
    let want = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{want}}}"#);
    assert_eq!(encoded(&call, Version::LATEST_LEGACY, "own", Tasks::Kept), want);
}

#[test]
fn the_target_goes_out_under_the_servers_own_name_and_the_rest_as_it_is() {
    sent(
        CallMethod::PromptsGet,
        r#"{"x":1.0,"name":"s__own","arguments":{"a":"b"}}"#,
        r#"{"x":1.0,"name":"own","arguments":{"a":"b"}}"#,
    );
    let read = r#"{"uri":"o\u0077n","x":1.0}"#;
    sent(CallMethod::ResourcesRead, read, read);
    sent(
        CallMethod::Complete,
        r#"{"ref":{"type":"ref/prompt","x":[ ],"name":"s__own"},"argument":{"name":"a"},"context":{}}"#,
        r#"{"ref":{"type":"ref/prompt","x":[ ],"name":"own"},"argument":{"name":"a"},"context":{}}"#,
    );
}

#[test]
fn methods_read_back() {
    for method in CallMethod::ALL {
        assert_eq!(CallMethod::parse(method.as_str()), Some(method));
    }
    assert_eq!(CallMethod::parse("tools/list"), None);
}

/// What a server of `version` gets of a retry, whose caller's session has said `sender`.
#[track_caller]
fn retried(version: Version, sender: Option<Sender>, state: Option<&str>, want: &str) {
    let params = r#"{"name":"a","inputResponses":{"k":{}},"requestState":"sealed"}"#;
    let params = Object::parse(params.into()).unwrap();
    let call = CallParams::parse(CallMethod::ToolsCall, &params).unwrap();
    assert_eq!(call.state(), Some("sealed"));
    let call = match sender {
        None => call.with_state(state.map(Into::into)),
        Some(sender) => call.of_session(sender).unwrap(),
    };
    let sent = String::from_utf8(encoded(&call, version, "a", Tasks::Kept).to_vec()).unwrap();
    let sent = sent.split_once("\"params\":").unwrap().1.strip_suffix('}').unwrap().to_owned();
    assert_eq!(sent, want);
}

#[test]
fn a_server_gets_its_own_state_back_and_never_ours() {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    let answers = r#""name":"a","inputResponses":{"k":{}}"#;
    let with = format!(r#"{{{answers},"requestState":"its",{meta}}}"#);
    retried(Version::MODERN, None, Some("its"), &with);
    retried(Version::MODERN, None, None, &format!("{{{answers},{meta}}}"));
    retried(Version::LATEST_LEGACY, None, Some("its"), r#"{"name":"a"}"#);
}

#[test]
fn a_session_speaks_for_its_client_and_the_request_cannot() {
    let capabilities = Some(Object::parse(r#"{"sampling":{},"tasks":{}}"#.into()).unwrap());
    let sender =
        Sender { version: Version::LATEST_LEGACY, capabilities, log_level: Some(Level::Info) };
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"info"}"#;
    let want = format!(r#"{{"name":"a",{meta}}}"#);
    retried(Version::MODERN, Some(sender.clone()), None, &want);
    retried(Version::LATEST_LEGACY, Some(sender), None, r#"{"name":"a"}"#);
}

#[test]
fn asking_again_keeps_the_request_and_adds_the_answers() {
    let params = Object::parse(r#"{"name":"a","arguments":{"x": 1.0}}"#.into()).unwrap();
    let call = CallParams::parse(CallMethod::ToolsCall, &params).unwrap();
    let again = call.again(Some("{\"k\":{}}".into()), Some("s".into())).unwrap();
    assert_eq!(
        again.raw().raw(),
        r#"{"name":"a","arguments":{"x": 1.0},"inputResponses":{"k":{}}}"#
    );
    assert_eq!((again.arguments(), again.state().unwrap()), (call.arguments(), "s"));
}

#[test]
fn a_server_hears_of_tasks_only_if_it_and_its_caller_have_them() {
    let declared =
        r#"{"roots":{},"extensions":{"x/y":{},"io.modelcontextprotocol/tasks":{"z":1}}}"#;
    let both = r#"{"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let none = r#"{"roots":{}}"#;
    let check = |method, params: &str, sender: Option<Sender>, tasks, want: &str| {
        let meta =
            format!(r#""_meta":{{"io.modelcontextprotocol/clientCapabilities":{declared}}}"#);
        let params = Object::parse(format!("{{{params},{meta}}}").into()).unwrap();
        let call = CallParams::parse(method, &params).unwrap();
        let call = match sender {
            Some(sender) => call.of_session(sender).unwrap(),
            None => call,
        };
        let sent = Object::parse(encoded(&call, Version::MODERN, "own", tasks)).unwrap();
        let meta = sent.object("params").and_then(|params| params.object("_meta")).unwrap();
        let told = meta.get("io.modelcontextprotocol/clientCapabilities").unwrap();
        assert_eq!(told, want, "{method:?}");
    };
    let session = || {
        let capabilities = Some(Object::parse(declared.into()).unwrap());
        Some(Sender { version: Version::LATEST_LEGACY, capabilities, log_level: None })
    };
    let (tool, get) = (CallMethod::ToolsCall, CallMethod::Tasks(TaskStep::Get));
    check(tool, r#""name":"a""#, None, Tasks::Kept, both);
    check(get, r#""taskId":"a""#, None, Tasks::Kept, both);
    check(tool, r#""name":"a""#, None, Tasks::Unknown, none);
    check(tool, r#""name":"a""#, session(), Tasks::Kept, none);
    check(CallMethod::PromptsGet, r#""name":"a""#, None, Tasks::Kept, none);
}

#[test]
fn a_request_about_a_task_goes_out_under_the_servers_own_id_and_without_a_state() {
    let update = |params, want| check_of(CallMethod::Tasks(TaskStep::Update), params, want);
    update(r#"{"taskId":"a","inputResponses":{"k":{}}}"#, Ok("{}"));
    update(r#"{"taskId":"a"}"#, Err("`inputResponses` must be an object"));
    update(r#"{"taskId":"a","inputResponses":[]}"#, Err("`inputResponses` must be an object"));
    check_of(CallMethod::Tasks(TaskStep::Get), r#"{"taskId":"a"}"#, Ok("{}"));
    let no_id = Err("`taskId` must be a string");
    check_of(CallMethod::Tasks(TaskStep::Cancel), r#"{"name":"a"}"#, no_id);
    let params = Object::parse(r#"{"taskId":"ours","requestState":"s"}"#.into()).unwrap();
    let call = CallParams::parse(CallMethod::Tasks(TaskStep::Get), &params).unwrap();
    assert_eq!(call.state(), None);
    let sent = Object::parse(encoded(&call, Version::MODERN, "own", Tasks::Kept)).unwrap();
    let sent = sent.object("params").unwrap();
    assert_eq!(sent.text("taskId").as_deref(), Some("own"));
    assert!(!sent.contains("requestState"));
}

#[test]
fn the_member_by_which_legacy_clients_ask_for_a_task_is_not_relayed() {
    sent(
        CallMethod::ToolsCall,
        r#"{"name":"s__own","task":{"ttl":1},"x":2}"#,
        r#"{"name":"own","x":2}"#,
    );
}

#[test]
fn a_reading_under_another_uri_is_otherwise_as_it_was() {
    let params = r#"{ "uri" : "via.s+a:\u0062","x":1.0,"_meta":{"progressToken":7}}"#;
    let asked = Object::parse(params.into()).unwrap();
    let asked = CallParams::parse(CallMethod::ResourcesRead, &asked).unwrap();
    let own = asked.of_uri("a:\"b").unwrap();
    assert_eq!((own.name(), own.arguments()), ("a:\"b", Bytes::from(r#""a:\"b""#)));
    let want = r#"{ "uri" : "a:\"b","x":1.0,"_meta":{"progressToken":7}}"#;
    assert_eq!(own.raw().raw(), want);
    assert!(own.progress_token().is_some());
}
