//! The bench upstream over HTTP/1: one thread, one task per connection.
//!
//! Answers POST with JSON, GET with 405 (no stream to offer) and DELETE with 200. Gives out no
//! session: the older era allows that, and there is nothing to remember.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    Result,
    answer::{Answer, Face, answer},
};

pub(crate) async fn serve(address: SocketAddr, face: Face) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut connections = JoinSet::new();
    let face = Arc::new(face);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let face = Arc::clone(&face);
        let service = service_fn(move |request| respond(request, Arc::clone(&face)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that goes away in the middle of a call is no news.
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn respond(
    request: Request<Incoming>,
    face: Arc<Face>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    match *request.method() {
        Method::POST => {}
        Method::DELETE => return Ok(empty(StatusCode::OK)),
        _ => return Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
    }
    let Ok(body) = request.into_body().collect().await else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    let reply = match answer(&body.to_bytes(), &face) {
        Answer::None => return Ok(empty(StatusCode::ACCEPTED)),
        Answer::Now(reply) => reply,
        Answer::Later(delay, reply) => {
            tokio::time::sleep(delay).await;
            reply
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(reply)));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
