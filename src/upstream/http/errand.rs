//! One request that belongs to no session: an errand for another room.
//!
//! A connection of its own, closed with the answer; bounded in time and bytes. Follows no redirect
//! and sends nothing but what it is given.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode, Uri,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
    request::Builder,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::{select, time::timeout};

use super::{
    open::USER_AGENT_TEXT,
    socket::{Address, Socket},
};

/// What is answered to `body`, which is of that type and comes with these headers, within the time
/// and the bytes given.
pub async fn post(
    (url, headers): (&Uri, &HeaderMap),
    (content_type, body): (&'static str, Vec<u8>),
    limits: (Duration, usize),
) -> io::Result<(StatusCode, Bytes)> {
    let mut request = Request::post(path_of(url)).header(CONTENT_TYPE, content_type);
    if let Some(all) = request.headers_mut() {
        all.extend(headers.clone());
    }
    ask(url, (request, body), limits).await
}

/// What is there in JSON, within the time and the bytes given.
pub async fn get(url: &Uri, limits: (Duration, usize)) -> io::Result<(StatusCode, Bytes)> {
    let request = Request::get(path_of(url)).header(ACCEPT, "application/json");
    ask(url, (request, Vec::new()), limits).await
}

fn path_of(url: &Uri) -> &str {
    url.path_and_query().map_or("/", PathAndQuery::as_str)
}

async fn ask(
    url: &Uri,
    asked: (Builder, Vec<u8>),
    (wait, bytes_max): (Duration, usize),
) -> io::Result<(StatusCode, Bytes)> {
    let answered = timeout(wait, Box::pin(exchange(url, asked, bytes_max))).await;
    answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn exchange(
    url: &Uri,
    (request, body): (Builder, Vec<u8>),
    bytes_max: usize,
) -> io::Result<(StatusCode, Bytes)> {
    let address = Address::of(url).ok_or(io::ErrorKind::InvalidInput)?;
    let (socket, _) = Socket::connect(&address).await?;
    let (mut sender, connection) =
        handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let host = url.authority().map_or("", http::uri::Authority::as_str);
    let request = request
        .header(HOST, host)
        .header(USER_AGENT, USER_AGENT_TEXT)
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let answering = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    };
    let (mut answering, connection) = (pin!(answering), pin!(connection));
    select! {
        biased;
        answered = answering.as_mut() => answered,
        // It may have brought the answer with it.
        _ = connection => answering.await,
    }
}
