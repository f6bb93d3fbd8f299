//! What crosses the gateway, in either direction.
//!
//! A call goes to a server, with the answers that its caller gives to questions. The questions go
//! the other way: they belong to the call that brought them up. A wish to watch a
//! resource brings its URI to a server. Whatever crosses is one of the
//! kinds of `Matter`, and each is judged and recorded before it does.

use std::sync::Arc;

use bytes::Bytes;

use super::{Call, CallId, Caller, Generation, ResourceUri, ServerName};

/// One thing that is to cross.
#[derive(Clone, Copy, Debug)]
pub enum Matter<'a> {
    Call(&'a Call),
    Questions(&'a Questions),
    Wish(&'a Wish),
}

/// That a caller hears when a resource changes. Its server is told the URI, which the caller may
/// have chosen freely where a template allows it.
#[derive(Clone, Debug)]
pub struct Wish {
    pub id: CallId,
    pub caller: Arc<Caller>,
    pub server: ServerName,
    pub uri: ResourceUri,
    pub generation: Generation,
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
