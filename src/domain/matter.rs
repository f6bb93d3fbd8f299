//! What crosses the gateway, in either direction.
//!
//! A call goes to a server, with the answers that its caller gives to questions. The questions go
//! the other way: they belong to the call that brought them up. Whatever crosses is one of the
//! kinds of `Matter`, and each is judged and recorded before it does.

use std::sync::Arc;

use bytes::Bytes;

use super::{Call, CallId, Caller, ServerName};

/// One thing that is to cross.
#[derive(Clone, Copy, Debug)]
pub enum Matter<'a> {
    Call(&'a Call),
    Questions(&'a Questions),
}

/// What a server wants to know of a caller before it answers its call.
#[derive(Clone, Debug)]
pub struct Questions {
    pub call: CallId,
    /// Who is asked.
    pub caller: Arc<Caller>,
    /// Who asks.
    pub server: ServerName,
    pub asks: Vec<Asking>,
    /// The bytes of all of them, as the server wrote them and as they are handed on.
    pub text: Bytes,
}

/// What a server may ask a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Form,
    Url,
    Sampling,
    Roots,
}

impl Asking {
    /// The word used in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Url => "url",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }
}
