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
    message::{Call, Page, Wire, list_request},
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

    /// One page of `tools/list`.
    pub(crate) async fn list(&mut self, cursor: Option<&str>) -> Result<Page> {
        let id = self.next_id();
        let body = list_request(self.wire, id, cursor);
        Page::of(&self.send(id, body, "tools/list", None).await?)
    }

    /// It need not be on the first page.
    async fn require_tool(&mut self, prefix: &str) -> Result<()> {
        let wanted = format!("{prefix}echo");
        let (mut n_tools, mut cursor) = (0, None);
        loop {
            let page = self.list(cursor.as_deref()).await?;
            if page.names.contains(&wanted) {
                return Ok(());
            }
            n_tools += page.names.len();
            cursor = page.next;
            if cursor.is_none() {
                return Err(format!("no tool `{wanted}` among {n_tools}").into());
            }
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
