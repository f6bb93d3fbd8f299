//! One client with a memory: a legacy session, or either era on a stdio pipe.
//!
//! Answers one request after the checks of its era; calls run until they are answered or the
//! client withdraws them by id. The transport only carries the bytes.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    Front,
    dispatch::Ask,
    method::{self, Method, Plan},
    reject::{self, Reply},
    session::InFlight,
};
use crate::{
    domain::{Caller, Era},
    upstream::NoticeSender,
    wire::{
        CallParams, ErrorObject, Frame, Message, Meta, Notification, Request, Version, WireError,
        code, encode_error, encode_own_result,
    },
};

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) version: Version,
    pub(super) caller: Arc<Caller>,
    pub(super) in_flight: Arc<InFlight>,
}

impl Peer {
    /// The answer, or nothing for a request that was withdrawn.
    pub(super) async fn answer(
        self,
        front: Arc<Front>,
        request: Request,
        notices: Option<NoticeSender>,
    ) -> Option<Reply> {
        let (method, caller) = match self.check(&request) {
            Ok(checked) => checked,
            Err(error) => return Some(Reply::error(self.version, Some(&request.id), &error)),
        };
        let snapshot = front.publisher.load();
        match method::plan(&snapshot, self.version, method, &request) {
            Plan::Result(result) => Some(Reply::ok(encode_own_result(&request.id, &result))),
            Plan::Fail(error) => Some(Reply::error(self.version, Some(&request.id), &error)),
            Plan::Call(params) => self.call(front, (request, params), caller, notices).await,
        }
    }

    fn check(&self, request: &Request) -> Result<(Method, Arc<Caller>), ErrorObject> {
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

    async fn call(
        &self,
        front: Arc<Front>,
        (request, params): (Request, Box<CallParams>),
        caller: Arc<Caller>,
        notices: Option<NoticeSender>,
    ) -> Option<Reply> {
        let Some(ongoing) = self.in_flight.begin(&request.id) else {
            let told = "a request with this id is in flight already";
            let error = ErrorObject::new(code::INVALID_REQUEST, told);
            return Some(Reply::error(self.version, Some(&request.id), &error));
        };
        tokio::select! {
            biased;
            () = ongoing.withdrawn.cancelled() => None,
            answer = front.call(Ask { caller, params: *params, shown: None }, notices) => {
                Some(reject::reply(self.version, &request.id, answer))
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
                    running.spawn(self.clone().answer(front.clone(), request, None));
                }
                Ok(Message::Notification(notification)) => self.hear(&notification),
                Ok(Message::Response(_)) => {}
                Err(error) => {
                    let id = error.id().cloned();
                    frames.push(encode_error(id.as_ref(), &ErrorObject::from(error)));
                }
            }
        }
        while let Some(answered) = running.join_next().await {
            frames.extend(answered.ok().flatten().map(|reply| reply.frame));
        }
        frames
    }

    /// Notifications of clients: withdrawing a request is the one that changes anything.
    pub(super) fn hear(&self, notification: &Notification) {
        if let Some(id) = notification.cancelled_request() {
            self.in_flight.withdraw(&id);
        }
    }
}
