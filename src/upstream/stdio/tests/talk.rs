//! Questions of a child: parked, answered, given up, refused.

use serde_json::Value;

use super::{Rig, WAIT, can, result_of};
use crate::{
    domain::{CallError, Sent, limits::QUESTION_WAIT_MAX},
    upstream::talk::{Able, Resume, Talking},
    wire::{Object, Response, Version},
};

fn talking(resume: Option<Resume>) -> Option<Talking> {
    Some(Talking { able: Able { can: can(), to: Version::MODERN }, resume })
}

async fn ask(rig: &Rig, resume: Option<Resume>) -> Result<Response, CallError> {
    let (_, mut ask) = rig.ask(r#"{"name":"t"}"#, WAIT);
    ask.talk = talking(resume);
    rig.session.ask(ask).await
}

const FORM: &str = r#"{"jsonrpc":"2.0","id":"f","method":"elicitation/create","params":{}}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#;
const SAMPLE: &str = r#"{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{}}"#;

/// Starts a call about which the child asks twice at once, and returns the token.
async fn parked(rig: &mut Rig) -> String {
    rig.say(format!("{FORM}\n")).await;
    assert!(rig.line().await.contains("-32602"), "nobody can be asked outside a call");
    let (_, mut asked) = rig.ask(r#"{"name":"t"}"#, WAIT);
    asked.talk = talking(None);
    let session = rig.session.clone();
    let call = async { session.ask(asked).await };
    let child = async {
        rig.line().await;
        rig.say(format!("{FORM}\n{ROOTS}\n{SAMPLE}\n")).await;
        assert!(rig.line().await.contains("-32601"), "what was not declared is refused");
    };
    let (asks, ()) = tokio::join!(call, child);
    let asks: Value = serde_json::from_slice(&result_of(asks)).unwrap();
    assert_eq!(asks["inputRequests"].as_object().unwrap().len(), 2, "{asks}");
    asks["requestState"].as_str().unwrap().to_owned()
}

fn resume(token: &str, responses: &str) -> Option<Resume> {
    let responses = Object::parse(responses.to_owned().into()).ok();
    Some(Resume { token: token.to_owned(), responses })
}

#[tokio::test(start_paused = true)]
async fn gathered_questions_are_answered_under_the_childs_own_ids() {
    let mut rig = Rig::new();
    let token = parked(&mut rig).await;
    let wrong = ask(&rig, resume("no such token", "{}")).await;
    assert_eq!(wrong.unwrap_err(), CallError::Unavailable { sent: Sent::Unknown });
    let again = result_of(ask(&rig, resume(&token, "{}")).await);
    assert!(String::from_utf8_lossy(&again).contains(&token), "a missing answer asks again");
    let (_, mut asked) = rig.ask("{}", WAIT);
    asked.talk = talking(resume(&token, r#"{"q0":{"action":"accept"},"q1":{"roots":[]}}"#));
    let session = rig.session.clone();
    let call = async { session.ask(asked).await };
    let child = async {
        assert!(rig.line().await.contains(r#""id":"f","result":{"action":"accept"}"#));
        assert!(rig.line().await.contains(r#""id":9,"result":{"roots":[]}"#));
        rig.answer(1, r#"{"done":1}"#).await;
    };
    let (done, ()) = tokio::join!(call, child);
    assert_eq!(result_of(done), r#"{"done":1}"#);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_told_at_once_and_asked_no_more() {
    let mut rig = Rig::new();
    let token = parked(&mut rig).await;
    let form = r#"{"q0":{"action":"accept"}}"#;
    for round in 0..2 {
        let left: Value =
            serde_json::from_slice(&result_of(ask(&rig, resume(&token, form)).await)).unwrap();
        let left: Vec<&String> = left["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(left, ["q1"], "{round}");
        if round == 0 {
            assert!(rig.line().await.contains(r#""id":"f","result":{"action":"accept"}"#));
        }
    }
    let (_, mut asked) = rig.ask("{}", WAIT);
    asked.talk = talking(resume(&token, r#"{"q0":{"action":"decline"},"q1":{"roots":[]}}"#));
    let session = rig.session.clone();
    let call = async { session.ask(asked).await };
    let child = async {
        assert!(rig.line().await.contains(r#""id":9,"result":{"roots":[]}"#));
        rig.answer(1, r#"{"done":1}"#).await;
    };
    let (done, ()) = tokio::join!(call, child);
    assert_eq!(result_of(done), r#"{"done":1}"#);
}

async fn everything_is_taken_back(rig: &mut Rig, token: &str) {
    assert!(rig.line().await.contains(r#""id":"f","result":{"action":"cancel"}"#));
    assert!(rig.line().await.contains(r#""id":9,"error""#));
    assert!(rig.line().await.contains(r#""requestId":1"#));
    let late = ask(rig, resume(token, "{}")).await;
    assert!(late.is_err(), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_answers_is_given_up() {
    let mut rig = Rig::new();
    let token = parked(&mut rig).await;
    tokio::time::sleep(QUESTION_WAIT_MAX).await;
    everything_is_taken_back(&mut rig, &token).await;
}

#[tokio::test(start_paused = true)]
async fn the_stop_takes_parked_questions_back() {
    let mut rig = Rig::new();
    let token = parked(&mut rig).await;
    rig.stop();
    assert!(rig.latch.now().is_err());
    rig.reset();
    everything_is_taken_back(&mut rig, &token).await;
}

/// While something is completed, say, or a list is asked for.
#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_cannot_be_asked_is_not_asked_about() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    rig.say(format!("{FORM}\n{SAMPLE}\n")).await;
    assert!(rig.line().await.contains("-32602"), "it was declared, but not for this call");
    assert!(rig.line().await.contains("-32601"), "it was not declared");
    rig.answer(id, "{}").await;
    assert_eq!(result_of(call.await.unwrap()), "{}");
}
