//! Notifications from a server about a call: progress and log messages.

use crate::wire::{
    json::{Frame, Object, Text},
    mcp::meta::PROGRESS_TOKEN,
    rpc::{Notification, ProgressToken, RequestId, encode_notification, open},
};

/// A notification to be handed on to whoever made the call.
#[derive(Clone, Debug)]
pub struct Notice {
    pub method: Text,
    pub params: Option<Object>,
}

impl Notice {
    pub fn progress_token(&self) -> Option<ProgressToken> {
        RequestId::parse(&self.params.as_ref()?.get(PROGRESS_TOKEN)?)
    }

    /// Writes it for the client, under the client's token. Without one, ours is taken out: it means
    /// nothing to the client.
    pub fn encode(&self, token: Option<&ProgressToken>) -> Frame {
        let Some(params) = &self.params else {
            return encode_notification(&self.method, None);
        };
        let mut out = open(256);
        out.copy(b",\"method\":").copy(&crate::wire::json::quote(&self.method));
        out.copy(b",\"params\":");
        let edit = match token {
            Some(token) => params.edit().set(PROGRESS_TOKEN, token.to_bytes()),
            None => params.edit().remove(PROGRESS_TOKEN),
        };
        edit.write(&mut out);
        out.copy(b"}");
        out.finish()
    }
}

impl From<Notification> for Notice {
    fn from(Notification { method, params }: Notification) -> Self {
        Self { method, params }
    }
}
