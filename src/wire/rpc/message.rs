//! The three kinds of JSON-RPC message, as decoded.
//!
//! Each holds slices of the bytes it came from. Nothing here is partial: an id is present and
//! legible, params are an object, a response is either a result or an error.

use bytes::Bytes;

use super::id::RequestId;
use crate::wire::json::{Object, Text};

#[derive(Clone, Debug)]
pub enum Message {
    Request(Request),
    Notification(Notification),
    Response(Response),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub id: RequestId,
    pub method: Text,
    pub params: Option<Object>,
}

#[derive(Clone, Debug)]
pub struct Notification {
    pub method: Text,
    pub params: Option<Object>,
}

#[derive(Clone, Debug)]
pub struct Response {
    /// None only in an error about a message whose id could not be read.
    pub id: Option<RequestId>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Result(Object),
    Error(Object),
}

impl Body {
    /// Whichever it is, as it was written.
    pub fn raw(&self) -> &Bytes {
        match self {
            Self::Result(object) | Self::Error(object) => object.raw(),
        }
    }
}
