//! The road of one call, from a decoded request to an answer. All its branches live here.
//!
//! One snapshot is loaded; the name becomes a `Call`, whether
//! of a tool, a prompt, a resource or a completion; the gate admits it or refuses; the
//! fleet consumes the permit; the outcome is recorded. Dropping the future at any point cancels
//! the call at the server and still leaves its outcome in the audit. Knows no transport and
//! writes no JSON: `reject` turns an `Answer` into bytes.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{
    Front,
    listen::Watching,
    questions::{self, Asked, GoesOn},
    snapshot::resolve,
    traced::{Traced, end_of, end_of_body},
};
use crate::{
    domain::{Call, CallError, CallId, Caller, DenyReason, Kind, Outcome, Refusal, Sent, Subject},
    fleet::{Again, Answered, Prepared, Resolved, Unanswered},
    gate::{Known, Permit, Ticket},
    sys,
    telemetry::{End, meters},
    upstream::NoticeSender,
    wire::{
        Body, CallParams, InputRequired, Object, Progressed, Response, ShownParams, TaskNews,
        WireError, headers::Mismatch, under_uri,
    },
};

/// One decoded request that is to be judged.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) caller: Arc<Caller>,
    pub(super) params: Arc<CallParams>,
    /// The `Mcp-Param-*` headers of a modern HTTP request; they must agree with the arguments.
    pub(super) shown: Option<ShownParams>,
    /// Who is told when pages that it was shown were visited: a session of 2025-11-25.
    pub(super) visitor: Option<Arc<Watching>>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// The server's, to a call of that kind.
    Reply(Kind, Response),
    /// It wants to know something first; its state is sealed.
    Asks {
        id: CallId,
        asked: Asked,
    },
    /// A page is to be visited first, to which the client did not say that it can send anybody.
    LacksPages,
    /// What the server says of a task, under the id that its client knows.
    Task(Object),
    /// There is no such thing for this caller.
    Unknown {
        kind: Kind,
        name: String,
    },
    Refused {
        id: CallId,
        kind: Kind,
        refusal: Refusal,
    },
    Failed {
        id: CallId,
        error: CallError,
    },
    /// Headers and body disagree.
    Mismatch(Mismatch),
}

/// Which call it is, for us and in its caller's trace.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    id: CallId,
    traced: &'a Traced,
    goes_on: GoesOn,
}

/// An admitted call and where it goes.
struct Admitted {
    permit: Permit,
    ticket: Ticket,
    prepared: Result<Prepared, CallError>,
}

impl Front {
    /// The whole road. The only caller of `Gate::admit` and of `Fleet::call`. No `async fn`, which
    /// would have room for the request twice.
    pub(super) fn call(
        self: Arc<Self>,
        ask: Ask,
        notices: Option<NoticeSender>,
    ) -> impl Future<Output = Answer> + Send {
        let id = self.ids.next(sys::unix_millis());
        let traced = Traced::begin(id, &ask);
        let (began, what) = (Instant::now(), (ask.caller.transport, ask.params.kind()));
        async move {
            let lines = traced.ours().map_or_else(Span::none, |trace| {
                let (trace_id, span_id) = (trace.trace_id(), trace.span_id());
                tracing::info_span!("call", call.id = %id, %trace_id, %span_id)
            });
            let open = traced.serve();
            let step = Step { id, traced: &traced, goes_on: GoesOn::default() };
            let answer = self.go(step, ask, notices).instrument(lines).await;
            open.end(|| end_of(&answer));
            meters().operation(what, began.elapsed());
            answer
        }
    }

    async fn go(
        self: Arc<Self>,
        step: Step<'_>,
        mut ask: Ask,
        notices: Option<NoticeSender>,
    ) -> Answer {
        let id = step.id;
        let Ok(goes_on) = self.unseal(&mut ask).await else {
            return self.turn_away(id, &ask, DenyReason::State).await;
        };
        let Ok(_place) = self.in_flight.try_acquire() else {
            return self.turn_away(id, &ask, DenyReason::Overloaded).await;
        };
        let step = Step { goes_on, ..step };
        let Admitted { permit, mut ticket, prepared } = match self.admit(step, &ask).await {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
        let (server, subject) = (permit.call().server.clone(), permit.call().subject.clone());
        let under = permit.call().under.clone();
        let epoch = permit.epoch();
        let open = step.traced.ask(&server);
        let calling = async { self.carry(permit, prepared?, notices.as_ref()).await };
        let answered = tokio::select! {
            biased;
            // The grace of an orderly end is over: better an outcome now than an orphan later.
            () = self.abandon.cancelled() => Err(CallError::Unavailable { sent: Sent::Unknown }),
            answered = calling => answered,
        };
        open.end(|| match &answered {
            Ok(answered) => end_of_body(&answered.response.body),
            Err(error) => End::Error(error.as_str().to_owned()),
        });
        // Before anybody has it.
        let answered = answered.inspect(|answered| ticket.hear(answered.response.body.raw()));
        // Its server may be gone before the stop is heard of.
        let answered = answered.map_err(|error| match self.gate.latch().holds(epoch) {
            true => error,
            false => error.of_a_stopped_call(),
        });
        let read = answered.and_then(|Answered { response, at }| Ok((at, read(&ask, response)?)));
        let read = match read {
            Ok((_, (outcome, Read::Answer(response)))) => {
                let response = as_asked(&ask, &subject, response);
                Ok((outcome, Answer::Reply(ask.params.kind(), response)))
            }
            // In a box: it is rare, and every call would carry it.
            Ok((at, (outcome, Read::Asks(asks)))) => {
                let asked = Box::pin(self.let_ask(
                    (id, under.as_deref().copied()),
                    &ask,
                    (server, at),
                    asks,
                ))
                .await;
                asked.map(|asked| (outcome, Answer::Asks { id, asked }))
            }
            Ok((_, (outcome, Read::Refers { pages, response }))) => {
                let told = Box::pin(self.let_refer(id, &ask, server, (pages, response))).await;
                told.map(|told| (outcome, told))
            }
            Ok((at, (outcome, Read::Task(news)))) => {
                let told = Box::pin(self.let_tell(id, &ask, (server, at, subject), news)).await;
                told.map(|told| (outcome, Answer::Task(told)))
            }
            Err(error) => Err(error),
        };
        ticket.conclude(match &read {
            Ok((outcome, _)) => *outcome,
            Err(error) => Outcome::Failed(*error),
        });
        tracing::debug!(call.id = %id, error = ?read.as_ref().err(), "Call ended");
        read.map_or_else(|error| Answer::Failed { id, error }, |(_, answer)| answer)
    }

    /// Sends it, to another replica if one did not receive it; each attempt is on record first.
    async fn carry(
        &self,
        mut permit: Permit,
        mut prepared: Prepared,
        notices: Option<&NoticeSender>,
    ) -> Result<Answered, CallError> {
        loop {
            // In a box, the inner half of the road: whatever moves the outer one would copy it.
            let carried = Box::pin(self.fleet.call(permit, prepared, notices)).await;
            let Unanswered { error, again } = match carried {
                Ok(answered) => return Ok(answered),
                Err(unanswered) => unanswered,
            };
            let Some(again) = again else { return Err(error) };
            if !self.gate.latch().holds(again.permit.epoch()) {
                return Err(error);
            }
            let Again { from, to, .. } = *again;
            self.gate.resend(&again.permit, from, to).await.map_err(|_| error)?;
            (permit, prepared) = (again.permit, again.prepared);
        }
    }

    /// While the intent is written, the call is prepared for its server.
    async fn admit(&self, step: Step<'_>, ask: &Ask) -> Result<Admitted, Answer> {
        let Step { id, traced, goes_on } = step;
        let snapshot = self.publisher.load();
        let asked = (ask.params.kind(), ask.params.name());
        let task = self.task_meant(&ask.caller, asked);
        let Some(resolved) = resolve(&snapshot, asked, task.as_ref()) else {
            return Err(self.turn_away(id, ask, DenyReason::Unknown).await);
        };
        let Resolved { server, subject, definition, pin, manner, meter } = resolved;
        let meter = meter.unwrap_or_else(|| snapshot.roster.meter(server, asked.0));
        let shown = ask.shown.as_ref().map(|shown| shown.agree(&manner.param_headers, &ask.params));
        // Only for what the caller may see: a hidden tool's headers would tell that it exists.
        if let (Some(Err(mismatch)), true) =
            (shown, snapshot.rules.shows(&ask.caller.principal, server, &subject))
        {
            let refusal = self.refuse(id, ask, DenyReason::Headers).await;
            // The stop comes before everything.
            let is_mismatch = refusal.reason == DenyReason::Headers;
            let told =
                if is_mismatch { Answer::Mismatch(mismatch) } else { refused(id, ask, refusal) };
            return Err(told);
        }
        let Ok(params) = of_server(&ask.params, &subject) else {
            return Err(self.turn_away(id, ask, DenyReason::Internal).await);
        };
        let call = Call {
            id,
            caller: ask.caller.clone(),
            server: server.clone(),
            subject,
            arguments: params.arguments(),
            answers: params.answers().map(Box::new),
            generation: snapshot.generation,
            trace: traced.onward(),
            at: goes_on.at.or(task.as_ref().map(|task| task.task.at)),
            under: goes_on.under.map(Box::new),
        };
        let refused = |refusal| refused(id, ask, refusal);
        let known = Known { definition, pin, meter };
        let admission = match self.gate.allow(&snapshot.rules, call, known).await {
            Ok(admission) => admission,
            Err(refusal) => {
                let asked = self.ask_for_approval((id, goes_on), ask, server, &refusal);
                return Err(Box::pin(asked).await.unwrap_or_else(|| refused(refusal)));
            }
        };
        let room = self.in_flight.available_permits();
        let prepared = snapshot.roster.prepare(admission.call(), params, manner, room);
        let (permit, ticket) = admission.on_record().await.map_err(refused)?;
        Ok(Admitted { permit, ticket, prepared })
    }

    /// A refusal before there is a server to name; recorded like every other.
    async fn turn_away(&self, id: CallId, ask: &Ask, reason: DenyReason) -> Answer {
        refused(id, ask, self.refuse(id, ask, reason).await)
    }

    async fn refuse(&self, id: CallId, ask: &Ask, reason: DenyReason) -> Refusal {
        let asked = (ask.params.kind(), ask.params.name());
        self.gate.refuse(id, &ask.caller, asked, reason).await
    }
}

/// A resource is read under its server's own URI, which is what is judged.
fn of_server(asked: &Arc<CallParams>, subject: &Subject) -> Result<Arc<CallParams>, WireError> {
    match subject {
        Subject::Resource(own) if own.as_str() != asked.name() => {
            asked.of_uri(own.as_str()).map(Arc::new)
        }
        // How others are named in a request is the affair of whoever writes it.
        Subject::Resource(_)
        | Subject::Tool(_)
        | Subject::Prompt(_)
        | Subject::PromptArgument(_)
        | Subject::TemplateArgument(_)
        | Subject::Task(..) => Ok(asked.clone()),
    }
}

/// And answered for under the URI that its caller knows.
fn as_asked(ask: &Ask, subject: &Subject, response: Response) -> Response {
    let asked = ask.params.name();
    match subject {
        Subject::Resource(own) if own.as_str() != asked => under_uri(response, own.as_str(), asked),
        Subject::Resource(_)
        | Subject::Tool(_)
        | Subject::Prompt(_)
        | Subject::PromptArgument(_)
        | Subject::TemplateArgument(_)
        | Subject::Task(..) => response,
    }
}

/// What is hidden and what does not exist are one answer.
fn refused(id: CallId, ask: &Ask, refusal: Refusal) -> Answer {
    if refusal.reason.hides() {
        return Answer::Unknown { kind: ask.params.kind(), name: ask.params.name().to_owned() };
    }
    Answer::Refused { id, kind: ask.params.kind(), refusal }
}

/// What a response turns out to be.
enum Read {
    Answer(Response),
    Asks(InputRequired),
    /// An error of a server, for whose call pages are to be visited first.
    Refers {
        pages: InputRequired,
        response: Response,
    },
    /// The server begins a task, or says how one stands.
    Task(TaskNews),
}

fn read(ask: &Ask, response: Response) -> Result<(Outcome, Read), CallError> {
    let outcome = outcome(ask.params.kind(), &response);
    let result = match &response.body {
        Body::Result(result) => result,
        Body::Error(error) => {
            let pages = questions::pages(error, &ask.params);
            return Ok((
                outcome,
                match pages {
                    Some(pages) => Read::Refers { pages, response },
                    None => Read::Answer(response),
                },
            ));
        }
    };
    match questions::read(result, &ask.params).map_err(|what| CallError::Protocol { what })? {
        Progressed::Task(news) => Ok((outcome, Read::Task(news))),
        Progressed::Complete => Ok((outcome, Read::Answer(response))),
        Progressed::Asks(asks) => Ok((outcome, Read::Asks(asks))),
    }
}

fn outcome(kind: Kind, response: &Response) -> Outcome {
    let Body::Result(result) = &response.body else { return Outcome::ServerError };
    match (result.peek("isError"), result.peek("resultType"), kind) {
        (Some(b"true"), _, _) => Outcome::ServerError,
        (_, Some(b"\"task\""), Kind::Tool) => Outcome::TaskBegun,
        (_, _, _) => Outcome::Answered,
    }
}
