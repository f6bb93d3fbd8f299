//! The road of one tool call, from a decoded request to an answer. All its branches live here.
//!
//! One snapshot is loaded; the name becomes a `ToolCall`; the gate admits it or refuses; the
//! fleet consumes the permit; the outcome is recorded. Dropping the future at any point cancels
//! the call at the server and still leaves its outcome in the audit. Knows no transport and
//! writes no JSON: `reject` turns an `Answer` into bytes.

use std::sync::Arc;

use super::Front;
use crate::{
    domain::{
        CallError, CallId, Caller, DenyReason, ExposedName, Outcome, Refusal, ServerName, ToolCall,
        ToolName,
    },
    fleet::Resolved,
    gate::{Permit, Ticket},
    sys,
    upstream::NoticeSender,
    wire::{
        Body, CallParams, Response, ShownParams,
        headers::{Mismatch, ParamHeader},
    },
};

/// One decoded `tools/call`.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) caller: Arc<Caller>,
    pub(super) params: CallParams,
    /// The `Mcp-Param-*` headers of a modern HTTP request; they must agree with the arguments.
    pub(super) shown: Option<ShownParams>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Response),
    Refused {
        id: CallId,
        refusal: Refusal,
    },
    Failed {
        id: CallId,
        error: CallError,
    },
    /// Headers and body disagree: nothing was judged.
    Mismatch(Mismatch),
}

/// An admitted call and where it goes.
struct Admitted {
    permit: Permit,
    ticket: Ticket,
    headers: Arc<[ParamHeader]>,
}

impl Front {
    /// The whole road. The only caller of `Gate::admit` and of `Fleet::call`.
    pub(super) async fn call(self: Arc<Self>, ask: Ask, notices: Option<NoticeSender>) -> Answer {
        let id = self.ids.next(sys::unix_millis());
        let Ok(_place) = self.in_flight.try_acquire() else {
            return self.turn_away(id, &ask, DenyReason::Overloaded).await;
        };
        let Admitted { permit, ticket, headers } = match self.admit(id, &ask).await {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
        let answered = self.fleet.call(permit, ask.params, headers, notices.as_ref()).await;
        ticket.conclude(match &answered {
            Ok(response) => outcome(response),
            Err(error) => Outcome::Failed(*error),
        });
        match answered {
            Ok(response) => Answer::Reply(response),
            Err(error) => Answer::Failed { id, error },
        }
    }

    async fn admit(&self, id: CallId, ask: &Ask) -> Result<Admitted, Answer> {
        let snapshot = self.publisher.load();
        let name = ask.params.name();
        let resolved = snapshot.catalog.resolve(name);
        let Some((server, tool, headers)) = place(&resolved, name) else {
            return Err(self.turn_away(id, ask, DenyReason::UnknownTool).await);
        };
        if let Some(shown) = &ask.shown {
            shown.agree(&headers, &ask.params).map_err(Answer::Mismatch)?;
        }
        let call = ToolCall {
            id,
            caller: ask.caller.clone(),
            server,
            tool,
            arguments: ask.params.arguments(),
            generation: snapshot.generation,
        };
        let admitted = self.gate.admit(&snapshot.policy, call, resolved.definition()).await;
        match admitted {
            Ok((permit, ticket)) => Ok(Admitted { permit, ticket, headers }),
            Err(refusal) => Err(Answer::Refused { id, refusal: worded(refusal, name) }),
        }
    }

    /// A refusal before there is a server to name; recorded like every other.
    async fn turn_away(&self, id: CallId, ask: &Ask, reason: DenyReason) -> Answer {
        let name = ask.params.name();
        let refusal = self.gate.refuse(id, &ask.caller, name, reason).await;
        Answer::Refused { id, refusal: worded(refusal, name) }
    }
}

/// Which server and tool a name means, if any.
fn place(
    resolved: &Resolved<'_>,
    name: &str,
) -> Option<(ServerName, ToolName, Arc<[ParamHeader]>)> {
    match resolved {
        Resolved::Tool(tool) => {
            Some((tool.server.clone(), tool.tool.clone(), tool.param_headers.clone()))
        }
        Resolved::Forward(server) => {
            let tool = ToolName::parse(name).ok()?;
            Some(((*server).clone(), tool, Arc::default()))
        }
        Resolved::Missing => None,
    }
}

/// The one sentence for a tool that does not exist and for one that is hidden.
fn worded(refusal: Refusal, name: &str) -> Refusal {
    if !refusal.reason.hides_the_tool() {
        return refusal;
    }
    let told = match ExposedName::parse(name) {
        Ok(name) => format!("Unknown tool: {name}"),
        Err(error) => format!("Unknown tool: {error}"),
    };
    Refusal::new(refusal.reason, told)
}

fn outcome(response: &Response) -> Outcome {
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    match &response.body {
        Body::Error(error) => Outcome::ServerError { result_bytes: size(error.raw().len()) },
        Body::Result(result) => {
            let result_bytes = size(result.raw().len());
            match result.get("isError").as_deref() {
                Some(b"true") => Outcome::ServerError { result_bytes },
                Some(_) | None => Outcome::Answered { result_bytes },
            }
        }
    }
}
