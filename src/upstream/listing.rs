//! `tools/list`, all pages of it, bounded.
//!
//! A server that turns the pages in a circle, has too many, or lists a thing that is no tool costs
//! nobody else anything: the list ends at the bound and what is broken is left out, with a warning.

use std::collections::HashSet;

use tokio::time::timeout;

use super::{Line, Session, handshake::list_params, http, stdio};
use crate::{
    domain::{
        CallError, Era, Sent,
        limits::{TOOL_PAGES_MAX, TOOLS_LIST_BYTES_MAX, TOOLS_LIST_TIMEOUT, TOOLS_PER_SERVER_MAX},
    },
    wire::{Body, Object, RequestId, ToolDef, encode_request, parse_tools_page},
};

pub(super) async fn tools(session: &Session) -> Result<Vec<ToolDef>, CallError> {
    let late = CallError::Deadline { sent: Sent::Yes };
    timeout(TOOLS_LIST_TIMEOUT, pages(session)).await.unwrap_or(Err(late))
}

async fn pages(session: &Session) -> Result<Vec<ToolDef>, CallError> {
    let mut tools: Vec<ToolDef> = Vec::new();
    let mut cursors = HashSet::new();
    let mut cursor: Option<String> = None;
    let mut n_bytes = 0_usize;
    for _ in 0..TOOL_PAGES_MAX {
        let Some(result) = page(session, cursor.as_deref()).await? else {
            return Ok(Vec::new());
        };
        n_bytes = n_bytes.saturating_add(result.raw().len());
        let page = parse_tools_page(&result)
            .map_err(|_| CallError::Protocol { what: "a tools page is not one" })?;
        if page.broken > 0 {
            tracing::warn!(n_broken = page.broken, "Tools without a legible name were left out");
        }
        tools.extend(page.tools.into_iter().filter(|tool| is_usable(session, tool)));
        let Some(next) = page.next_cursor else {
            return Ok(tools);
        };
        let too_long = tools.len() >= TOOLS_PER_SERVER_MAX || n_bytes >= TOOLS_LIST_BYTES_MAX;
        if too_long || !cursors.insert(next.clone()) {
            break;
        }
        cursor = Some(next);
    }
    tracing::warn!(n_tools = tools.len(), "Tools list was cut: too long or without an end");
    tools.truncate(TOOLS_PER_SERVER_MAX);
    Ok(tools)
}

/// The protocol makes us drop a tool whose headers we could not send.
fn is_usable(session: &Session, tool: &ToolDef) -> bool {
    let over_http = matches!(session.line, Line::Http(_)) && session.version().era() == Era::Modern;
    match tool.param_headers() {
        Err(error) if over_http => {
            tracing::warn!(tool.name = tool.name, %error, "Tool was left out");
            false
        }
        Ok(_) | Err(_) => true,
    }
}

/// One page, or none if the server has no tools at all.
async fn page(session: &Session, cursor: Option<&str>) -> Result<Option<Object>, CallError> {
    const METHOD: &str = "tools/list";
    let params = list_params(session.version(), &session.face, cursor);
    let encode = |id| encode_request(&RequestId::from_u64(id), METHOD, params.as_deref());
    let response = match &session.line {
        Line::Stdio(line) => {
            let id = line.draw_id();
            let frame = encode(id);
            line.ask(stdio::Ask { id, frame, epoch: None, wait: TOOLS_LIST_TIMEOUT, notices: None })
                .await?
        }
        Line::Http(line) => {
            let id = line.draw_id();
            let about = http::About::own(Some(session.version()), METHOD);
            line.ask(http::Asked::own(id, encode(id), about)).await?
        }
    };
    match response.body {
        Body::Result(result) => Ok(Some(result)),
        Body::Error(error) if error.integer("code") == Some(-32601) => Ok(None),
        Body::Error(_) => Err(CallError::Protocol { what: "tools/list was answered by an error" }),
    }
}
