//! The four lists of a server, all pages of each, bounded.
//!
//! A server that turns the pages in a circle, has too many, or lists a thing that is none costs
//! nobody else anything: the list ends at the bound and what is broken is left out, with a
//! warning. A server that did not declare prompts or resources is not asked for them; tools are
//! always asked for, since many servers forget to declare them.

use std::collections::HashSet;

use tokio::time::timeout;

use super::{Line, Session, handshake::list_params, http, stdio};
use crate::{
    domain::{
        CallError, Era, Sent,
        limits::{LIST_BYTES_MAX, LIST_ITEMS_MAX, LIST_PAGES_MAX, LIST_TIMEOUT},
    },
    wire::{Body, Item, List, Object, RequestId, encode_request, parse_page},
};

pub(super) async fn list(session: &Session, list: List) -> Result<Vec<Item>, CallError> {
    if list != List::Tools && !session.declares(list.capability()) {
        return Ok(Vec::new());
    }
    let late = CallError::Deadline { sent: Sent::Yes };
    timeout(LIST_TIMEOUT, pages(session, list)).await.unwrap_or(Err(late))
}

async fn pages(session: &Session, list: List) -> Result<Vec<Item>, CallError> {
    let mut items: Vec<Item> = Vec::new();
    let mut cursors = HashSet::new();
    let mut cursor: Option<String> = None;
    let mut n_bytes = 0_usize;
    for _ in 0..LIST_PAGES_MAX {
        let Some(result) = page(session, list, cursor.as_deref()).await? else {
            return Ok(Vec::new());
        };
        n_bytes = n_bytes.saturating_add(result.raw().len());
        let page = parse_page(list, &result)
            .map_err(|_| CallError::Protocol { what: "a page of a list is not one" })?;
        if page.broken > 0 {
            let (list, n_broken) = (list.member(), page.broken);
            tracing::warn!(list, n_broken, "Entries without a legible name were left out");
        }
        items.extend(page.items.into_iter().filter(|item| is_usable(session, list, item)));
        let Some(next) = page.next_cursor else {
            return Ok(items);
        };
        let too_long = items.len() >= LIST_ITEMS_MAX || n_bytes >= LIST_BYTES_MAX;
        if too_long || !cursors.insert(next.clone()) {
            break;
        }
        cursor = Some(next);
    }
    let (list, n_items) = (list.member(), items.len());
    tracing::warn!(list, n_items, "A list was cut: too long or without an end");
    items.truncate(LIST_ITEMS_MAX);
    Ok(items)
}

/// The protocol makes us drop a tool whose headers we could not send.
fn is_usable(session: &Session, list: List, item: &Item) -> bool {
    let over_http = matches!(session.line, Line::Http(_)) && session.version().era() == Era::Modern;
    if list != List::Tools || !over_http {
        return true;
    }
    let dropped = item.param_headers().err();
    if let Some(error) = &dropped {
        tracing::warn!(tool.name = item.name, %error, "Tool was left out");
    }
    dropped.is_none()
}

/// One page, or none if the server has no such list at all.
async fn page(
    session: &Session,
    list: List,
    cursor: Option<&str>,
) -> Result<Option<Object>, CallError> {
    let params = list_params(session.version(), &session.face, cursor);
    let encode = |id| encode_request(&RequestId::from_u64(id), list.method(), params.as_deref());
    let response = match &session.line {
        Line::Stdio(line) => {
            let id = line.draw_id();
            let frame = encode(id);
            line.ask(stdio::Ask {
                id,
                frame,
                epoch: None,
                wait: LIST_TIMEOUT,
                ear: None,
                talk: None,
            })
            .await?
        }
        Line::Http(line) => {
            let id = line.draw_id();
            let about = http::About::own(Some(session.version()), list.method());
            line.ask(http::Asked::own(id, encode(id), about)).await?
        }
    };
    match response.body {
        Body::Result(result) => Ok(Some(result)),
        Body::Error(error) if error.integer("code") == Some(-32601) => Ok(None),
        Body::Error(_) => Err(CallError::Protocol { what: "a list was answered by an error" }),
    }
}
