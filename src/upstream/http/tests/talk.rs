//! Questions of a legacy server behind HTTP: whose they are, answered, given up, taken back.

use bytes::Bytes;
use serde_json::Value;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    About, Asked, Opening, Progress, Rig, WAIT, answer, event, next_progress, notices, progress,
    result_of,
    server::{Events, Seen},
    soon, spawn,
};
use crate::{
    domain::{
        CallError, Era, Sent,
        limits::{QUESTION_WAIT_MAX, UPSTREAM_STREAM_WAIT_MAX},
    },
    gate::Epoch,
    upstream::{
        NoticeSender, handshake,
        talk::{Able, Resume, Talking},
    },
    wire::{ClientFace, Object, RequestId, Response, Version, encode_request},
};

const CAN: &str = r#"{"elicitation":{},"roots":{}}"#;
const FORM: &str = r#"{"jsonrpc":"2.0","id":"f","method":"elicitation/create","params":{}}"#;
pub(super) const ROOTS: &str = r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#;

pub(super) type Call = JoinHandle<Result<Response, CallError>>;

/// A session of somebody who can be asked, and its GET stream.
pub(super) async fn able() -> (Rig, Events) {
    let (opening, get) = opening().await;
    let stream = get.stream();
    (opening.done().await, stream)
}

/// The same, while the server has not answered for the stream.
async fn opening() -> (Opening, Seen) {
    let face = ClientFace { capabilities: Bytes::from_static(CAN.as_bytes()), ..handshake::face() };
    let mut opening = Opening::begin_as(Some(Era::Legacy), face).await;
    opening.server.greet("s1").await;
    let get = opening.server.next().await;
    assert_eq!(get.method, "GET");
    (opening, get)
}

impl Rig {
    /// A call whose caller can be asked.
    pub(super) fn talk(&self, resume: Option<Resume>) -> (u64, Call) {
        self.talk_under(self.latch.now().unwrap(), resume, None)
    }

    fn talk_under(
        &self,
        epoch: Epoch,
        resume: Option<Resume>,
        notices: Option<NoticeSender>,
    ) -> (u64, Call) {
        let (id, http, version) = (self.http.draw_id(), self.http.clone(), self.version);
        let can = Object::parse(CAN.into()).unwrap();
        let task = spawn(async move {
            let frame = encode_request(&RequestId::from_u64(id), "tools/call", Some(b"{}"));
            let asked = Asked {
                wait: WAIT,
                epoch: Some(epoch),
                notices: notices.as_ref(),
                progress: Progress::Wanted,
                talk: Some(Talking { able: Able { can, to: Version::MODERN }, resume }),
                ..Asked::own(id, frame, About::own(Some(version), "tools/call"))
            };
            http.ask(asked).await
        });
        (id, task)
    }

    /// A call that is out, and the stream of its answer.
    async fn under_way(&mut self) -> (u64, Call, Events) {
        let (id, call) = self.talk(None);
        (id, call, self.server.next().await.stream())
    }

    /// A call that was asked a form: its number, the stream of its answer and its token.
    async fn parked(&mut self) -> (u64, Events, String) {
        let (id, call, stream) = self.under_way().await;
        stream.say(&event(FORM)).await;
        (id, stream, token(&asks(call).await))
    }

    /// The next message that is posted; it is taken.
    async fn told(&mut self) -> Value {
        let seen = self.server.next().await;
        let body = serde_json::from_str(&seen.body).unwrap();
        seen.json(202, "");
        body
    }

    async fn told_twice(&mut self) -> [Value; 2] {
        [self.told().await, self.told().await]
    }
}

pub(super) async fn asks(call: Call) -> Value {
    let asks: Value = serde_json::from_str(&result_of(soon(call).await.unwrap())).unwrap();
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    asks
}

fn token(asks: &Value) -> String {
    asks["requestState"].as_str().unwrap().to_owned()
}

fn resume(token: &str, responses: &str) -> Option<Resume> {
    let responses = Object::parse(responses.to_owned().into()).ok();
    Some(Resume { token: token.to_owned(), responses })
}

fn accepted(token: &str) -> Option<Resume> {
    resume(token, r#"{"q0":{"action":"accept"}}"#)
}

fn posted(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

async fn failure(call: Call) -> CallError {
    soon(call).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn no_call_comes_before_the_stream_on_which_it_may_be_asked_but_for_a_while() {
    for is_answered in [true, false] {
        let (mut opening, get) = opening().await;
        tokio::time::pause();
        let early = timeout(UPSTREAM_STREAM_WAIT_MAX / 2, &mut opening.opened).await;
        assert!(early.is_err(), "the stream is not there yet");
        // Kept open in either case.
        let _get = match is_answered {
            true => (Some(get.stream()), None),
            false => (None, Some(get)),
        };
        timeout(UPSTREAM_STREAM_WAIT_MAX, opening.opened).await.unwrap().unwrap().unwrap();
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_answer_is_a_post_of_its_own_and_the_call_ends_on_its_first_stream() {
    let (mut rig, _get) = able().await;
    let (id, call, stream) = rig.under_way().await;
    stream.say(&(event(FORM) + &event(ROOTS))).await;
    let asked = asks(call).await;
    assert_eq!(asked["inputRequests"].as_object().unwrap().len(), 2, "{asked}");
    let token = token(&asked);
    let (_, again) = rig.talk(resume(&token, "{}"));
    assert_eq!(asks(again).await["requestState"], token, "a missing answer asks again");

    let (sender, mut receiver) = notices();
    let answers = resume(&token, r#"{"q0":{"action":"accept"},"q1":{"roots":[]}}"#);
    let (_, retry) = rig.talk_under(rig.latch.now().unwrap(), answers, Some(sender));
    let mut answers = rig.told_twice().await;
    answers.sort_by_key(|answer| answer["id"].is_string());
    assert_eq!(answers[0]["result"]["roots"], serde_json::json!([]), "{answers:?}");
    assert_eq!(
        (&answers[1]["id"], &answers[1]["result"]["action"]),
        (&"f".into(), &"accept".into())
    );
    stream.say(&event(&progress(id, 5))).await;
    assert_eq!(next_progress(&mut receiver).await, 5, "who answers hears of it");
    stream.say(&event(&answer(id, r#"{"done":1}"#))).await;
    assert_eq!(result_of(soon(retry).await.unwrap()), r#"{"done":1}"#);
}

#[tokio::test]
async fn a_question_belongs_to_the_call_that_it_came_with_else_to_the_oldest() {
    let (mut rig, get) = able().await;
    let (_, older, _older_stream) = rig.under_way().await;
    let (_, newer, newer_stream) = rig.under_way().await;
    newer_stream.say(&event(FORM)).await;
    assert_eq!(asks(newer).await["inputRequests"]["q0"]["method"], "elicitation/create");
    get.say(&event(ROOTS)).await;
    assert_eq!(asks(older).await["inputRequests"]["q0"]["method"], "roots/list");
    // Nobody runs: it is the oldest parked one's.
    let sample = r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#;
    get.say(&event(sample)).await;
    assert_eq!(rig.told().await["error"]["code"], -32601, "it was not declared");
    assert_eq!(rig.http.counts().read().n_questions, 1);
}

#[tokio::test]
async fn a_question_outside_of_any_call_is_refused() {
    let (mut rig, get) = able().await;
    get.say(&event(ROOTS)).await;
    assert_eq!(rig.told().await["error"]["code"], -32602);
    // A call of ours asks nobody, whatever the session has declared.
    let (_, plain) = rig.call();
    let stream = rig.server.next().await.stream();
    stream.say(&event(FORM)).await;
    assert_eq!(rig.told().await["error"]["code"], -32602);
    plain.abort();
}

#[tokio::test]
async fn what_nobody_answers_is_given_up() {
    let (mut rig, _get) = able().await;
    let (id, stream, token) = rig.parked().await;
    tokio::time::pause();
    tokio::time::advance(QUESTION_WAIT_MAX).await;
    tokio::time::resume();
    taken_back(&mut rig, id).await;
    stream.hung_up().await;
    let (_, late) = rig.talk(accepted(&token));
    assert_eq!(failure(late).await, CallError::Unavailable { sent: Sent::Unknown });
    assert!(rig.server.is_quiet());
}

async fn taken_back(rig: &mut Rig, id: u64) {
    let told = rig.told_twice().await;
    let find = |found: &dyn Fn(&Value) -> bool| told.iter().any(found);
    assert!(find(&|told| told["id"] == "f" && told["result"]["action"] == "cancel"), "{told:?}");
    assert!(find(&|told| told["params"]["requestId"] == id), "{told:?}");
}

#[tokio::test]
async fn an_answer_after_a_stop_is_heard_by_nobody() {
    let (mut rig, _get) = able().await;
    let before = rig.latch.now().unwrap();
    let (id, _stream, token) = rig.parked().await;
    rig.stop();
    taken_back(&mut rig, id).await;
    rig.reset();
    // Admitted before the stop, and after it.
    let (_, stale) = rig.talk_under(before, accepted(&token), None);
    assert_eq!(failure(stale).await, CallError::Stopped { sent: Sent::No });
    let (_, late) = rig.talk(accepted(&token));
    assert_eq!(failure(late).await, CallError::Unavailable { sent: Sent::Unknown });
    assert!(rig.server.is_quiet());
}

#[tokio::test]
async fn the_stop_ends_a_call_that_could_have_been_asked() {
    let (mut rig, _get) = able().await;
    let (id, call, stream) = rig.under_way().await;
    rig.stop();
    assert_eq!(failure(call).await, CallError::Stopped { sent: Sent::Yes });
    assert_eq!(rig.told().await["params"]["requestId"], id);
    stream.hung_up().await;
}

#[tokio::test]
async fn leaving_takes_back_the_call_and_what_was_asked_about_it() {
    let (mut rig, _get) = able().await;
    let (id, call, stream) = rig.under_way().await;
    stream.say(&event(FORM)).await;
    // It is gathered or parked by now, or will be: in each case nobody is there.
    call.abort();
    let told = rig.told().await;
    if told["id"] != "f" {
        assert_eq!(told["params"]["requestId"], id, "{told}");
    }
    stream.hung_up().await;
}

#[tokio::test]
async fn a_call_that_ends_while_it_is_parked_is_over_at_the_retry() {
    let (mut rig, _get) = able().await;
    let (id, stream, token) = rig.parked().await;
    stream.say(&event(&answer(id, r#"{"early":1}"#))).await;
    assert_eq!(rig.told().await["result"]["action"], "cancel", "nobody is asked any more");
    let (_, retry) = rig.talk(accepted(&token));
    assert_eq!(result_of(soon(retry).await.unwrap()), r#"{"early":1}"#);

    let (_, stream, token) = rig.parked().await;
    drop(stream);
    assert_eq!(rig.told().await["result"]["action"], "cancel");
    let (_, retry) = rig.talk(accepted(&token));
    assert_eq!(failure(retry).await, CallError::Unavailable { sent: Sent::Yes });
}

#[tokio::test]
async fn an_answer_that_the_server_does_not_take_ends_the_call() {
    let (mut rig, _get) = able().await;
    let (id, stream, token) = rig.parked().await;
    let (_, retry) = rig.talk(accepted(&token));
    let answer = rig.server.next().await;
    assert_eq!(posted(&answer)["id"], "f");
    answer.json(500, "");
    let failed = failure(retry).await;
    assert_eq!(failed.sent(), Sent::Yes, "{failed:?}");
    assert_eq!(rig.told().await["params"]["requestId"], id);
    stream.hung_up().await;
}

/// The call is parked for another question meanwhile.
#[tokio::test]
async fn what_was_answered_is_told_at_once_and_asked_no_more() {
    let (mut rig, _get) = able().await;
    for is_taken in [true, false] {
        let (id, stream, token) = rig.parked().await;
        stream.say(&event(ROOTS)).await;
        // Read before the answer that comes on another way.
        stream.say(&event(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#)).await;
        assert_eq!(rig.told().await["id"], "p");
        let (_, retry) = rig.talk(accepted(&token));
        let left = asks(retry).await;
        let keys: Vec<&String> = left["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["q1"]);
        assert_eq!(left["requestState"], token);
        let told = rig.server.next().await;
        assert_eq!(posted(&told)["id"], "f");
        let rest = || resume(&token, r#"{"q0":{"action":"decline"},"q1":{"roots":[]}}"#);
        if is_taken {
            told.json(202, "");
            let (_, retry) = rig.talk(rest());
            assert_eq!(rig.told().await["id"], 9, "only what was open");
            stream.say(&event(&answer(id, r#"{"done":1}"#))).await;
            assert_eq!(result_of(soon(retry).await.unwrap()), r#"{"done":1}"#);
        } else {
            told.json(500, "");
            let told = rig.told_twice().await;
            assert!(
                told.iter().any(|told| told["id"] == 9 && told["error"].is_object()),
                "{told:?}"
            );
            assert!(told.iter().any(|told| told["params"]["requestId"] == id), "{told:?}");
            let (_, late) = rig.talk(rest());
            assert_eq!(failure(late).await.sent(), Sent::Yes);
        }
    }
}

#[tokio::test]
async fn a_session_of_nobody_in_particular_takes_up_nothing() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.talk(accepted("no such token"));
    assert_eq!(failure(call).await, CallError::Unavailable { sent: Sent::Unknown });
    assert!(rig.server.is_quiet());
}
