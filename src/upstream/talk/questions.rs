//! What is being asked about each call.
//!
//! Owns which question belongs to which call, and the tokens under which parked calls are found
//! again. A call's questions are gathered for a moment, then handed out together; from there until
//! all are answered the call is parked: its request stays open at the server and no clock of the
//! call runs, only that of `QUESTION_WAIT_MAX`. Promises that a question that was answered is never
//! handed out again, whatever is asked meanwhile. Does no IO and asks nobody.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Write as _,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::Resume;
use crate::{
    domain::{
        Asking, CallError,
        limits::{QUESTION_GATHER, QUESTION_WAIT_MAX, QUESTIONS_MAX},
    },
    gate::Epoch,
    wire::{
        Body, Caching, ErrorObject, Frame, Object, Request, RequestId, Response, Version,
        encode_error, encode_result, input_required, question_key,
    },
};

/// What is being asked about each call, by the call's number.
#[derive(Debug, Default)]
pub(super) struct Talks(HashMap<u64, Talk>);

#[derive(Debug)]
struct Talk {
    token: String,
    /// The revision in which its caller is asked.
    to: Version,
    open: Vec<Open>,
    /// How many there have been; it numbers them, so that no key is ever used for another one.
    n_asked: usize,
    phase: Phase,
    /// What came of the call while nobody waited for it.
    early: Option<Result<Response, CallError>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Gathering { until: Instant },
    Parked { until: Instant, asked_as: u64, epoch: Option<Epoch> },
}

/// One question that the server waits for.
#[derive(Debug)]
struct Open {
    number: usize,
    request: Request,
    asking: Asking,
}

/// What came of the answers.
pub(super) enum Resumed {
    /// Nobody asked under this token.
    Unknown,
    /// The call is over; this was its answer.
    Early(Result<Response, CallError>),
    /// To be written; then the call with this number waits again, or is still parked where
    /// answers are missing.
    Answers { call: u64, frames: Vec<Frame> },
}

/// What becomes of an answer of the server.
pub(super) enum Answered {
    /// Its call is parked: it waits for the caller, and nothing more is asked.
    Kept {
        called_off: Vec<Frame>,
    },
    Now {
        called_off: Vec<Frame>,
        answer: Result<Response, CallError>,
    },
}

/// What is left to do when a call's talk ends.
#[derive(Default)]
pub(super) struct Ended {
    /// What the server is told instead of answers.
    pub(super) called_off: Vec<Frame>,
    /// Its call had come to an end before.
    pub(super) was_over: bool,
}

impl Talks {
    pub(super) fn n_parked(&self) -> usize {
        self.parked(|_, _| true).count()
    }

    /// The oldest call that is parked and not over.
    pub(super) fn oldest_parked(&self) -> Option<u64> {
        self.parked(|_, _| true).filter(|call| !self.is_over(*call)).min()
    }

    /// Whether the call has come to an end while it was parked.
    pub(super) fn is_over(&self, call: u64) -> bool {
        self.0.get(&call).is_some_and(|talk| talk.early.is_some())
    }

    /// The call that was parked when its caller had asked under this number.
    pub(super) fn parked_for(&self, number: u64) -> Option<u64> {
        let is_meant = |talk: &Talk| matches!(talk.phase, Phase::Parked { asked_as, .. } if asked_as == number);
        self.0.iter().find(|(_, talk)| is_meant(talk)).map(|(call, _)| *call)
    }

    pub(super) fn parked_under(&self, token: &str) -> Option<u64> {
        let mut found = self.0.iter().filter(|(_, talk)| talk.token == token);
        found.next().map(|(call, _)| *call).filter(|call| self.is_parked(*call))
    }

    /// Whether the question has a place with this call, whose caller is asked in the revision
    /// `to`, if it is not known from before. `None` without one or without randomness.
    pub(super) fn add(
        &mut self,
        call: u64,
        request: Request,
        (can, to): (&Object, Option<Version>),
    ) -> Option<()> {
        let asking = Asking::parse(request.method.as_str(), request.params.as_ref())?;
        let to = self.0.get(&call).map(|talk| talk.to).or(to)?;
        if !asking.is_in(can) || !asking.is_known_to(request.params.as_ref(), to) {
            return None;
        }
        let talk = match self.0.entry(call) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let until = Instant::now() + QUESTION_GATHER;
                let (open, phase) = (Vec::new(), Phase::Gathering { until });
                place.insert(Talk { token: token()?, to, open, n_asked: 0, phase, early: None })
            }
        };
        let is_new = talk.open.iter().all(|open| open.request.id != request.id);
        if talk.open.len() >= QUESTIONS_MAX || !is_new || talk.early.is_some() {
            return None;
        }
        talk.open.push(Open { number: talk.n_asked, request, asking });
        talk.n_asked = talk.n_asked.saturating_add(1);
        Some(())
    }

    /// The calls whose questions are to be handed out.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        let is_due = |talk: &Talk| matches!(talk.phase, Phase::Gathering { until } if until <= now);
        self.0.iter().filter(|(_, talk)| is_due(talk)).map(|(call, _)| *call).collect()
    }

    /// Parks the call and says what its caller is told.
    pub(super) fn park(
        &mut self,
        call: u64,
        asked_as: u64,
        epoch: Option<Epoch>,
    ) -> Option<Response> {
        let talk = self.0.get_mut(&call)?;
        talk.phase = Phase::Parked { until: Instant::now() + QUESTION_WAIT_MAX, asked_as, epoch };
        talk.asks(call)
    }

    /// The parked calls for whose limit and epoch `matches` holds.
    pub(super) fn parked_ids(&self, matches: impl Fn(Instant, Option<Epoch>) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.parked(matches).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        let moment = |talk: &Talk| match talk.phase {
            Phase::Gathering { until } | Phase::Parked { until, .. } => until,
        };
        self.0.values().map(moment).min()
    }

    /// The server has answered a call, or never will.
    pub(super) fn answered(&mut self, call: u64, answer: Result<Response, CallError>) -> Answered {
        match self.0.get_mut(&call) {
            Some(talk) if matches!(talk.phase, Phase::Parked { .. }) => {
                talk.early.get_or_insert(answer);
                let open = std::mem::take(&mut talk.open);
                Answered::Kept { called_off: called_off(&open) }
            }
            Some(_) => Answered::Now { called_off: self.end(call).called_off, answer },
            None => Answered::Now { called_off: Vec::new(), answer },
        }
    }

    pub(super) fn is_parked(&self, call: u64) -> bool {
        self.0.get(&call).is_some_and(|talk| matches!(talk.phase, Phase::Parked { .. }))
    }

    /// Forgets what is asked about the call.
    pub(super) fn end(&mut self, call: u64) -> Ended {
        let Some(talk) = self.0.remove(&call) else { return Ended::default() };
        Ended { called_off: called_off(&talk.open), was_over: talk.early.is_some() }
    }

    pub(super) fn resume(&mut self, resume: &Resume) -> Resumed {
        let Some(call) = self.parked_under(&resume.token) else { return Resumed::Unknown };
        let Some(talk) = self.0.get_mut(&call) else { return Resumed::Unknown };
        if let Some(early) = talk.early.take() {
            self.0.remove(&call);
            return Resumed::Early(early);
        }
        let frames = talk.take_answers(resume.responses.as_ref());
        if talk.open.is_empty() {
            self.0.remove(&call);
        }
        Resumed::Answers { call, frames }
    }

    fn parked(
        &self,
        matches: impl Fn(Instant, Option<Epoch>) -> bool,
    ) -> impl Iterator<Item = u64> {
        let is_meant = move |talk: &Talk| match talk.phase {
            Phase::Parked { until, epoch, .. } => matches(until, epoch),
            Phase::Gathering { .. } => false,
        };
        self.0.iter().filter(move |(_, talk)| is_meant(talk)).map(|(call, _)| *call)
    }
}

fn called_off(open: &[Open]) -> Vec<Frame> {
    open.iter().filter_map(Open::call_off).collect()
}

impl Talk {
    /// What the server is told of these answers. Their questions are open no more; those without
    /// an answer here, which may have come after the others were handed out, still are.
    fn take_answers(&mut self, responses: Option<&Object>) -> Vec<Frame> {
        let answer = |open: &Open| {
            let said = responses?.object(&question_key(open.number))?;
            Some(encode_result(Version::LATEST_LEGACY, &open.request.id, &said, Caching::Never))
        };
        let mut frames = Vec::new();
        self.open.retain(|open| {
            let answered = answer(open);
            let is_open = answered.is_none();
            frames.extend(answered);
            is_open
        });
        frames
    }

    /// The result that asks.
    fn asks(&self, call: u64) -> Option<Response> {
        let asked = self.open.iter();
        let asked = asked.map(|one| (one.number, one.asking, one.request.params.as_ref()));
        let result = input_required(asked, Some(&self.token)).ok()?;
        Some(Response { id: Some(RequestId::from_u64(call)), body: Body::Result(result) })
    }
}

impl Open {
    fn call_off(&self) -> Option<Frame> {
        let id = &self.request.id;
        match self.asking {
            Asking::Form | Asking::Url => {
                let cancel = Object::parse(Bytes::from_static(br#"{"action":"cancel"}"#)).ok()?;
                Some(encode_result(Version::LATEST_LEGACY, id, &cancel, Caching::Never))
            }
            Asking::Sampling | Asking::Roots => {
                let message = "nobody answered".to_owned();
                let error = ErrorObject { code: DECLINED, message, data: None };
                Some(encode_error(Some(id), &error))
            }
        }
    }
}

/// What the specification has a client say that declines to sample.
const DECLINED: i64 = -1;

fn token() -> Option<String> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).ok()?;
    Some(random.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    }))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{Resume, Resumed, Talks, Version};
    use crate::{
        domain::limits::UPSTREAM_MESSAGE_BYTES_MAX,
        wire::{Body, Frame, Message, Object, Request, decode},
    };

    const CALL: u64 = 7;

    fn object(text: &str) -> Object {
        Object::parse(text.to_owned().into()).unwrap()
    }

    fn question(id: &str) -> Request {
        let line = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"roots/list"}}"#);
        match decode(line.into(), UPSTREAM_MESSAGE_BYTES_MAX) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn add(talks: &mut Talks, id: &str) {
        let can = object(r#"{"roots":{}}"#);
        talks.add(CALL, question(id), (&can, Some(Version::MODERN))).unwrap();
    }

    /// The keys that its caller is handed now, and the token.
    fn handed_out(talks: &mut Talks) -> (Vec<String>, String) {
        let Body::Result(asks) = talks.park(CALL, CALL, None).unwrap().body else { panic!() };
        let requests = asks.object("inputRequests").unwrap();
        let keys = requests.keys().map(Cow::into_owned).collect();
        (keys, asks.text("requestState").unwrap())
    }

    /// Which of the server's questions are answered by these responses.
    fn told(talks: &mut Talks, token: &str, responses: Option<&str>) -> Vec<String> {
        let responses = responses.map(object);
        let resume = Resume { token: token.to_owned(), responses };
        let Resumed::Answers { call: CALL, frames } = talks.resume(&resume) else { panic!() };
        let id = |frame: Frame| Object::parse(frame.into_bytes()).unwrap().text("id").unwrap();
        frames.into_iter().map(id).collect()
    }

    /// Handed out are `a` and `b`; `c` comes meanwhile.
    #[test]
    fn what_is_answered_is_told_and_only_the_rest_is_asked() {
        for (responses, want_told, want_asked) in [
            (None, vec![], vec!["q0", "q1", "q2"]),
            (Some("{}"), vec![], vec!["q0", "q1", "q2"]),
            (Some(r#"{"q0":"no object"}"#), vec![], vec!["q0", "q1", "q2"]),
            (Some(r#"{"q9":{}}"#), vec![], vec!["q0", "q1", "q2"]),
            (Some(r#"{"q0":{}}"#), vec!["a"], vec!["q1", "q2"]),
            (Some(r#"{"q1":{}}"#), vec!["b"], vec!["q0", "q2"]),
            (Some(r#"{"q1":{},"q0":{}}"#), vec!["a", "b"], vec!["q2"]),
            (Some(r#"{"q0":{},"q1":{},"q2":{}}"#), vec!["a", "b", "c"], vec![]),
        ] {
            let mut talks = Talks::default();
            add(&mut talks, "a");
            add(&mut talks, "b");
            let (keys, token) = handed_out(&mut talks);
            assert_eq!(keys, ["q0", "q1"]);
            add(&mut talks, "c");
            assert_eq!(told(&mut talks, &token, responses), want_told, "{responses:?}");
            assert_eq!(talks.is_parked(CALL), !want_asked.is_empty(), "{responses:?}");
            if !want_asked.is_empty() {
                let (keys, again) = handed_out(&mut talks);
                assert_eq!(keys, want_asked, "{responses:?}");
                assert_eq!(again, token);
            }
        }
    }

    /// A client may bring an answer again with the next one.
    #[test]
    fn an_answer_counts_once_and_for_no_other_question() {
        let mut talks = Talks::default();
        add(&mut talks, "a");
        let (_, token) = handed_out(&mut talks);
        add(&mut talks, "b");
        let given = Some(r#"{"q0":{}}"#);
        assert_eq!(told(&mut talks, &token, given), ["a"]);
        assert_eq!(handed_out(&mut talks).0, ["q1"]);
        add(&mut talks, "c");
        assert!(told(&mut talks, &token, given).is_empty());
        assert_eq!(handed_out(&mut talks).0, ["q1", "q2"]);
    }
}
