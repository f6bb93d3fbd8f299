//! A session of either transport, and the one thing done with it: a checked, timed call.
//!
//! Promises that ids never repeat within a target, over all its sessions and connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Result,
    http::HttpSession,
    message::{Call, Wire, request, result_of},
    stdio::StdioServer,
    target::{Address, Target},
};

#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    wire: Wire,
    prefix: String,
    next_id: u64,
}

#[derive(Debug)]
enum Link {
    Http(Box<HttpSession>),
    Stdio(Arc<StdioServer>),
}

/// What to call: the tool's own name, the text's length and, for `sleep`, how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    pub(crate) tool: &'a str,
    pub(crate) filler: &'a str,
    pub(crate) ms: Option<u64>,
}

impl Session {
    /// Opens `n` sessions, each with a connection of its own where there are connections.
    pub(crate) async fn open(target: &Target, wire: Wire, n: u32) -> Result<Vec<Self>> {
        let mut sessions = Vec::new();
        match &target.address {
            Address::Http(uri) => {
                for index in 0..n {
                    let link = Link::Http(Box::new(HttpSession::open(target, uri, wire).await?));
                    sessions.push(Self::new(link, wire, target, index));
                }
            }
            Address::Stdio(command) => {
                let server = Arc::new(StdioServer::open(command, wire).await?);
                for index in 0..n {
                    sessions.push(Self::new(Link::Stdio(Arc::clone(&server)), wire, target, index));
                }
            }
        }
        if let Some(first) = sessions.first_mut() {
            first.require_tool(&target.prefix).await?;
        }
        Ok(sessions)
    }

    /// The same session once more, for calls side by side.
    pub(crate) async fn beside(&self, target: &Target) -> Result<Self> {
        let link = match (&self.link, &target.address) {
            (Link::Http(http), Address::Http(uri)) => {
                Link::Http(Box::new(http.beside(target, uri).await?))
            }
            (Link::Stdio(server), _) => Link::Stdio(Arc::clone(server)),
            (Link::Http(_), Address::Stdio(_)) => return Err("an HTTP session of a child".into()),
        };
        Ok(Self::new(link, self.wire, target, u32::MAX))
    }

    fn new(link: Link, wire: Wire, target: &Target, index: u32) -> Self {
        Self { link, wire, prefix: target.prefix.clone(), next_id: (u64::from(index) << 21) | 1 }
    }

    /// Makes one call, checks the answer and says how long it took.
    pub(crate) async fn call(&mut self, work: Work<'_>) -> Result<Duration> {
        let tool = format!("{}{}", self.prefix, work.tool);
        let id = self.next_id();
        let call = Call { wire: self.wire, id, tool: &tool, filler: work.filler, ms: work.ms };
        let body = call.encode();
        let began = Instant::now();
        let reply = self.send(id, body, "tools/call", Some(&tool)).await?;
        let took = began.elapsed();
        call.check(&reply)?;
        Ok(took)
    }

    pub(crate) async fn close(self) -> Result<()> {
        match self.link {
            Link::Http(session) => session.close().await,
            Link::Stdio(_) => Ok(()),
        }
    }

    async fn require_tool(&mut self, prefix: &str) -> Result<()> {
        let id = self.next_id();
        let body = request(self.wire, id, "tools/list");
        let list = result_of(&self.send(id, body, "tools/list", None).await?)?;
        let wanted = format!("{prefix}echo");
        let mut tools = list.get("tools").and_then(|tools| tools.as_array()).into_iter().flatten();
        match tools.find(|tool| tool.get("name").is_some_and(|name| *name == *wanted)) {
            Some(_) => Ok(()),
            None => Err(format!("no tool `{wanted}` in {list}").into()),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    async fn send(
        &mut self,
        id: u64,
        body: bytes::Bytes,
        method: &str,
        tool: Option<&str>,
    ) -> Result<bytes::Bytes> {
        match &mut self.link {
            Link::Http(session) => session.send(body, method, tool).await,
            Link::Stdio(server) => server.send(id, body).await,
        }
    }
}
