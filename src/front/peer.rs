//! One client with a memory: a legacy session, or either era on a stdio pipe.
//!
//! Answers one request after the checks of its era; calls run until they are answered or the
//! client withdraws them by id. The transport only carries the bytes.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    Front,
    dispatch::{Answer, Ask},
    exchange::{Lines, Wants},
    listen::Watching,
    method::{self, Method, Plan},
    questions::{self, Acquaintance, Voice},
    reject::{self, Reply},
    session::InFlight,
};
use crate::{
    domain::{CallError, Caller, Era, limits::QUESTION_ROUNDS_MAX},
    fleet::Parked,
    gate::Marks,
    wire::{
        CallParams, ErrorObject, Frame, Level, Message, Meta, Notification, Request, RequestId,
        Version, WireError, code, encode_error, encode_own_result, encode_visited,
    },
};

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) version: Version,
    pub(super) caller: Arc<Caller>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) known: Arc<Acquaintance>,
    pub(super) watching: Arc<Watching>,
}

/// One request of a peer that is to be called.
struct Calling {
    request: Request,
    params: Arc<CallParams>,
    caller: Arc<Caller>,
    lines: Lines,
}

impl Peer {
    /// What is to be heard before the answer to this request. A legacy client has said once from
    /// which level on it hears log messages; a modern one says it with each request.
    pub(super) fn wants(&self, request: &Request) -> Wants {
        let params = request.params.as_ref();
        let token = Meta::progress_token_of(params);
        match self.version.era() {
            Era::Legacy => {
                Wants { token, level: self.known.level(), answers: self.known.answers() }
            }
            Era::Modern => Wants { token, level: Meta::log_level_of(params), answers: false },
        }
    }

    /// The answer, or nothing for a request that was withdrawn.
    pub(super) async fn answer(
        self,
        front: Arc<Front>,
        request: Request,
        lines: Lines,
    ) -> Option<Reply> {
        let (method, caller) = match self.check(&request) {
            Ok(checked) => checked,
            Err(error) => return Some(self.refuse(&front, &request.id, &error)),
        };
        if method == Method::SetLevel {
            return Some(front.noted(&caller, self.set_level(&request)));
        }
        if matches!(method, Method::Subscribe | Method::Unsubscribe) {
            let watching = &self.watching;
            let reply = watching.answer(&front, (self.version, &caller), &request, method).await;
            return Some(front.noted(&caller, reply));
        }
        // The snapshot is let go: held for a call, it would keep servers that a reload has removed.
        let plan = method::plan(
            &front.publisher.load(),
            (self.version, &caller.principal),
            method,
            &request,
        );
        match plan {
            Plan::Result(result) => Some(Reply::ok(encode_own_result(&request.id, &result))),
            Plan::Fail(error) => Some(self.refuse(&front, &request.id, &error)),
            Plan::Call(params) => {
                self.call(front, Calling { request, params, caller, lines }).await
            }
        }
    }

    /// Refuses what does not become a call.
    fn refuse(&self, front: &Front, id: &RequestId, error: &ErrorObject) -> Reply {
        front.noted(&self.caller, Reply::error(self.version, Some(id), error))
    }

    /// What is asked, and on whose behalf.
    pub(super) fn check(&self, request: &Request) -> Result<(Method, Arc<Caller>), ErrorObject> {
        let era = self.version.era();
        let method = method::known(era, &request.method)
            .ok_or_else(|| method::unknown_method(&request.method))?;
        if era == Era::Legacy {
            return Ok((method, self.caller.clone()));
        }
        let meta = Meta::required(request.params.as_ref())?;
        match meta.version().and_then(Version::parse) {
            Some(version) if version.era() == Era::Modern => {
                let client = Caller::client_of(meta.client_name().as_deref());
                Ok((method, Arc::new(Caller { client, ..Caller::clone(&self.caller) })))
            }
            Some(_) | None => Err(ErrorObject::unsupported_version(meta.version())),
        }
    }

    /// Whether this is a subscription that can be opened.
    pub(super) fn listens(&self, request: &Request) -> bool {
        matches!(self.check(request), Ok((Method::Listen, _)))
    }

    /// From which level on the client hears log messages.
    fn set_level(&self, request: &Request) -> Reply {
        let level = request.params.as_ref().and_then(|params| params.text("level"));
        match level.as_deref().and_then(Level::parse) {
            Some(level) => {
                self.known.set_level(level);
                Reply::ok(encode_own_result(&request.id, "{}"))
            }
            None => {
                let told = "`level` must be one of debug, info, notice, warning, error, critical, \
                            alert, emergency";
                let error = ErrorObject::new(code::INVALID_PARAMS, told);
                Reply::error(self.version, Some(&request.id), &error)
            }
        }
    }

    async fn call(&self, front: Arc<Front>, calling: Calling) -> Option<Reply> {
        let id = calling.request.id.clone();
        let Some(ongoing) = self.in_flight.begin(&id) else {
            let told = "a request with this id is in flight already";
            let error = ErrorObject::new(code::INVALID_REQUEST, told);
            return Some(self.refuse(&front, &id, &error));
        };
        tokio::select! {
            biased;
            () = ongoing.withdrawn.cancelled() => None,
            reply = self.converse(front, calling) => Some(reply),
        }
    }

    /// A call with as many rounds of questions as its server needs. Each round is a call of its
    /// own, judged and on record.
    async fn converse(&self, front: Arc<Front>, calling: Calling) -> Reply {
        let Calling { request, params, caller, lines } = calling;
        let refused =
            |error: WireError| self.refuse(&front, &request.id, &ErrorObject::from(error));
        let first = match self.version.era() {
            Era::Modern => params,
            Era::Legacy => {
                let sender = self.known.sender(self.version, lines.voice.as_ref());
                match Arc::unwrap_or_clone(params).of_session(sender) {
                    Ok(first) => Arc::new(first),
                    Err(error) => return refused(error),
                }
            }
        };
        let mut params = first.clone();
        let knows_visits =
            self.version.era() == Era::Legacy && self.version >= Version::V2025_11_25;
        let visitor = knows_visits.then(|| self.watching.clone());
        let mut rounds = 0_usize;
        let mut parked: Option<Parked> = None;
        loop {
            rounds = rounds.saturating_add(1);
            let ask = Ask { caller: caller.clone(), params, shown: None, visitor: visitor.clone() };
            // In a box: it would be moved with everything that waits for it.
            let calling = Box::pin(front.clone().call(ask, lines.notices.clone()));
            let answer = match (rounds, &lines.voice) {
                (2.., Some(voice)) => Box::pin(self.telling_visits(calling, voice)).await,
                (_, _) => calling.await,
            };
            // A server that asks again may still wait for the answers to its last round.
            if let (Some(parked), Answer::Asks { .. }) = (parked.take(), &answer) {
                parked.keep();
            }
            let (id, mut asked) = match (answer, self.version.era()) {
                (Answer::Asks { id, asked }, Era::Legacy) => (id, asked),
                (answer, Era::Legacy | Era::Modern) => {
                    return reject::reply(self.version, &request.id, answer);
                }
            };
            let failed =
                |error| reject::reply(self.version, &request.id, Answer::Failed { id, error });
            if rounds == QUESTION_ROUNDS_MAX {
                return failed(CallError::Protocol { what: "it asks without end" });
            }
            let responses =
                match questions::inquire(&front, &self.known, self.version, &asked, &lines).await {
                    Ok(responses) => responses,
                    Err(error) => return failed(error),
                };
            params = match first.again(responses, asked.asks.state()) {
                Ok(again) => Arc::new(again),
                Err(error) => return refused(error),
            };
            parked = asked.parked.take();
        }
    }

    /// A call that goes on after questions, and on its stream what comes of pages meanwhile.
    async fn telling_visits(
        &self,
        mut calling: impl Future<Output = Answer> + Unpin,
        voice: &Voice,
    ) -> Answer {
        loop {
            let visited = tokio::select! {
                biased;
                answer = &mut calling => return answer,
                visited = self.watching.visits.heard(|| true) => visited,
            };
            for id in visited {
                // A client that takes nothing finds out by itself.
                voice.try_send(encode_visited(&id)).ok();
            }
        }
    }

    /// The members of a batch run side by side. Nobody hears what is said before the answers.
    pub(super) async fn answer_all(
        self,
        front: Arc<Front>,
        messages: Vec<Result<Message, WireError>>,
    ) -> Vec<Frame> {
        let mut running = JoinSet::new();
        let mut frames: Vec<Frame> = Vec::new();
        for message in messages {
            match message {
                Ok(Message::Request(request)) => {
                    let lines = Lines::default();
                    running.spawn(self.clone().answer(front.clone(), request, lines));
                }
                Ok(Message::Notification(notification)) => self.hear(&front, &notification),
                Ok(Message::Response(_)) => {}
                Err(error) => {
                    let id = error.id().cloned();
                    let error = ErrorObject::from(error);
                    front.turn_message_away(&self.caller, &error);
                    frames.push(encode_error(id.as_ref(), &error));
                }
            }
        }
        while let Some(answered) = running.join_next().await {
            frames.extend(answered.ok().flatten().map(|reply| reply.frame));
        }
        frames
    }

    /// Notifications of clients: a request is withdrawn, or the roots of a legacy one are others.
    pub(super) fn hear(&self, front: &Front, notification: &Notification) {
        if let Some(id) = notification.cancelled_request() {
            self.in_flight.withdraw(&id);
        }
        let of_roots = notification.method == "notifications/roots/list_changed";
        if of_roots
            && self.version.era() == Era::Legacy
            && let Ok(epoch) = front.gate.latch().epoch(Marks::of_principal(&self.caller.principal))
        {
            front.fleet.roots_changed(&self.caller, &self.known.declared(), epoch);
        }
    }
}
