//! A call on its way out: what is to be sent for a permit, and how a session writes it down.
//!
//! A draft is made before its permit exists, while the intent is put on record, and belongs to one
//! call. Promises that what is sent is what was judged: same server, subject, arguments and
//! answers. Sends nothing itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Line, Session};
use crate::{
    domain::{Call, CallError, CallId, Era, Sent, Subject},
    gate::Permit,
    wire::{
        CallForm, CallMethod, CallParams, Frame, Object, Onward, ProgressToken, RequestId,
        encode_call, headers::ParamHeader,
    },
};

/// What is to be sent for one permit.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub params: Arc<CallParams>,
    pub deadline: Duration,
    pub manner: Manner,
    /// The keys of baggage that the server may see.
    pub baggage: Arc<[String]>,
}

/// How a server wants to be called; what is no tool has the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The arguments that a modern server behind HTTP wants repeated in headers.
    pub param_headers: Arc<[ParamHeader]>,
    pub runs: Runs,
}

/// How a tool runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// Its answer is the answer to the call.
    #[default]
    Plainly,
    /// Only as a task of the legacy kind.
    AsTask,
}

/// A call as one session will write it. It is of no use without the permit of the same call.
#[derive(Debug)]
pub struct Draft {
    of: CallId,
    pub(super) id: u64,
    pub(super) frame: Frame,
}

impl Session {
    /// Writes a call down as this session will send it, once there is a permit for it.
    pub fn draft(&self, judged: &Call, call: &Outgoing) -> Draft {
        let id = match &self.line {
            Line::Stdio(line) => line.draw_id(),
            Line::Http(line) => line.draw_id(),
        };
        Draft { of: judged.id, id, frame: self.encode(id, judged, call) }
    }

    /// What was judged is what is sent, to the server that it was judged for.
    pub(super) fn check(
        &self,
        permit: &Permit,
        draft: &Draft,
        call: &Outgoing,
    ) -> Result<(), CallError> {
        let judged = permit.call();
        let here = judged.server == self.server && judged.id == draft.of;
        let sent = call.params.arguments();
        let place = |bytes: &Bytes| (bytes.as_ptr(), bytes.len());
        let same = place(&judged.arguments) == place(&sent) || judged.arguments == sent;
        let aimed = judged.subject.kind() == call.params.kind();
        if here && aimed && same && judged.answers.as_deref() == call.params.answers().as_ref() {
            return Ok(());
        }
        tracing::error!(call.id = %judged.id, "Judged call is not the one to be sent");
        Err(CallError::Unavailable { sent: Sent::No })
    }

    fn encode(&self, id: u64, judged: &Call, call: &Outgoing) -> Frame {
        let id: ProgressToken = RequestId::from_u64(id);
        let form = CallForm {
            version: self.version(),
            id: &id,
            name: judged.subject.as_str(),
            // Our id is unique on this session, so it serves as the token as well.
            progress_token: call.params.progress_token().map(|_| &id),
            client: &self.face,
            tasks: self.tasks(),
            trace: Onward { parent: judged.trace, baggage: &call.baggage },
        };
        encode_call(&call.params, &form)
    }

    pub(super) fn param_headers(
        &self,
        call: &Outgoing,
    ) -> Vec<(::http::HeaderName, ::http::HeaderValue)> {
        if call.manner.param_headers.is_empty() || self.version().era() == Era::Legacy {
            return Vec::new();
        }
        match Object::parse(call.params.arguments()) {
            Ok(arguments) => {
                crate::wire::headers::param_headers(&call.manner.param_headers, &arguments)
            }
            // The arguments were scanned when they came in.
            Err(_) => Vec::new(),
        }
    }
}

/// What `Mcp-Name` says of a call on its way to a server.
pub(super) fn shown_name(subject: &Subject) -> Option<&str> {
    CallMethod::of(subject.kind()).named_by().map(|_| subject.as_str())
}
