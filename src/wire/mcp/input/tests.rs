//! What is a question, who may be asked, and what a server hears of a client.

use super::{
    InputRequired, Object, Progressed, RELAYABLE, RELAYED, input_responses, relayable,
    relayable_in_session,
};

fn parse(text: &str) -> Object {
    Object::parse(text.to_owned().into()).unwrap()
}

#[track_caller]
fn check(result: &str, want: Result<usize, &str>) {
    let got = match InputRequired::read(&parse(result)) {
        Ok(Progressed::Complete) => Ok(0),
        Ok(Progressed::Asks(asks)) => Ok(asks.questions.len()),
        Ok(Progressed::Task(news)) => panic!("{news:?}"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(got, want.map_err(|rule| format!("invalid params: {rule}")), "{result}");
}

#[test]
fn an_answer_is_told_from_questions() {
    check(r#"{"content":[]}"#, Ok(0));
    check(r#"{"resultType":"complete"}"#, Ok(0));
    let asks =
        |requests: &str| format!(r#"{{"resultType":"input_required","inputRequests":{requests}}}"#);
    let form = r#"{"method":"elicitation/create","params":{"message":"?"}}"#;
    let roots = r#"{"method":"roots/list"}"#;
    check(&asks(&format!(r#"{{"a":{form},"b":{roots}}}"#)), Ok(2));
    check(r#"{"resultType":"input_required","requestState":"s"}"#, Ok(0));
    check(r#"{"resultType":"tasks"}"#, Err("`resultType` is none that we know"));
    let nothing = Err("`input_required` asks nothing and has no state");
    check(r#"{"resultType":"input_required"}"#, nothing);
    check(&asks("{}"), nothing);
    check(&asks("[]"), Err("`inputRequests` must be an object"));
    check(&asks(r#"{"a":1}"#), Err("a question must be an object"));
    check(&asks(r#"{"a":{}}"#), Err("a question must name its `method`"));
    let kind = Err("a question is of a kind that no client can be asked");
    check(&asks(r#"{"a":{"method":"tools/call","params":{}}}"#), kind);
    check(&asks(r#"{"a":{"method":"sampling/createMessage"}}"#), kind);
    check(&asks(r#"{"a":{"method":"elicitation/create","params":{"mode":"x"}}}"#), kind);
    check(
        r#"{"resultType":"input_required","requestState":1}"#,
        Err("`requestState` must be a string"),
    );
}

#[test]
fn nobody_is_asked_what_they_did_not_declare() {
    let of = |method: &str, params: &str| {
        let text = format!(
            r#"{{"resultType":"input_required","inputRequests":{{"k":{{"method":"{method}","params":{params}}}}}}}"#
        );
        let Ok(Progressed::Asks(asks)) = InputRequired::read(&parse(&text)) else { panic!() };
        asks
    };
    let form = of("elicitation/create", r#"{"mode":"form"}"#);
    let url = of("elicitation/create", r#"{"mode":"url"}"#);
    let sampling = of("sampling/createMessage", "{}");
    let roots = of("roots/list", "{}");
    let check = |asks: &InputRequired, capabilities: &str, want: bool| {
        assert_eq!(asks.fits(Some(&parse(capabilities))), want, "{asks:?} {capabilities}");
    };
    check(&form, r#"{"elicitation":{}}"#, true);
    check(&form, r#"{"elicitation":{"form":{}}}"#, true);
    check(&form, r#"{"elicitation":{"url":{}}}"#, false);
    check(&form, r#"{"sampling":{}}"#, false);
    check(&url, r#"{"elicitation":{}}"#, false);
    check(&url, r#"{"elicitation":{"url":{}}}"#, true);
    check(&sampling, r#"{"sampling":{}}"#, true);
    check(&sampling, "{}", false);
    check(&roots, r#"{"roots":{"listChanged":true}}"#, true);
    assert!(!roots.fits(None));
}

#[test]
fn a_server_hears_only_of_capabilities_that_are_relayed() {
    let told = |text: &str| relayable(Some(&parse(text)));
    assert_eq!(relayable(None), "{}");
    let roots = r#"{"sampling":{},"roots":{"listChanged":true,"x":1.0},"tasks":{}}"#;
    assert_eq!(told(roots), r#"{"sampling":{},"roots":{"x":1.0}}"#);
    assert_eq!(
        relayable_in_session(Some(&parse(roots))),
        r#"{"sampling":{},"roots":{"listChanged":true,"x":1.0}}"#
    );
    assert_eq!(told(r#"{"roots":{ "x":1.0 }}"#), r#"{"roots":{ "x":1.0 }}"#);
    assert_eq!(
        told(r#"{"sampling":{},"extensions":{"e/x":{}},"elicitation":{"url":{}},"tasks":{}}"#),
        r#"{"sampling":{},"elicitation":{"url":{}}}"#
    );
}

#[test]
fn answers_stand_under_the_keys_of_their_questions() {
    let answers = [("a\"b", "{\"action\":\"accept\"}".into()), ("c", "{}".into())];
    assert_eq!(input_responses(answers), r#"{"a\"b":{"action":"accept"},"c":{}}"#);
}

#[test]
fn questions_keep_their_bytes_under_another_state() {
    let result = parse(r#"{"resultType":"input_required","requestState":"s", "x": 1.0}"#);
    let Ok(Progressed::Asks(asks)) = InputRequired::read(&result) else { panic!() };
    assert_eq!(asks.state().as_deref(), Some("s"));
    let sealed = asks.with_state("t").unwrap();
    assert_eq!(
        sealed.result().raw(),
        r#"{"resultType":"input_required","requestState":"t", "x": 1.0}"#
    );
}

#[test]
fn all_that_is_relayed_can_be_declared() {
    let all = parse(RELAYABLE);
    assert_eq!(all.keys().collect::<Vec<_>>(), RELAYED);
    assert_eq!(relayable(Some(&all)), RELAYABLE);
}
