//! The stop's own door: a unix socket that is served without the runtime.
//!
//! A few threads take one request a connection, in as much HTTP as `curl --unix-socket` speaks, and
//! give nobody long. So the stop is heard while the runtime is wedged or flooded. Who speaks here
//! is us or root, as the kernel says; nobody else is listened to.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use rustix::{net::sockopt::socket_peercred, process::geteuid};
use serde_json::{Value, json};

use super::{Desk, Word};
use crate::{
    domain::Principal,
    domain::limits::{
        ADMIN_BODY_BYTES_MAX, ESTOP_DOOR_PATIENCE, ESTOP_DOOR_THREADS, HTTP_HEADER_BYTES_MAX,
        SOCKET_PATH_BYTES_MAX,
    },
    sys::{create_private_dir, spawn_vital},
};

/// Opens the door at `path`, in place of one that an earlier gateway has left.
pub fn open_door(desk: &Arc<Desk>, path: &Path) -> io::Result<()> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(io::Error::other("its path is too long; name a shorter gateway.state_dir"));
    }
    if let Some(directory) = path.parent() {
        create_private_dir(directory)?;
    }
    // The state directory is ours alone: the audit has locked it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = Arc::new(UnixListener::bind(path)?);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    for n in 0..ESTOP_DOOR_THREADS {
        let (listener, desk) = (Arc::clone(&listener), Arc::clone(desk));
        spawn_vital(&format!("estop-door-{n}"), move || serve_for_ever(&listener, &desk))?;
    }
    Ok(())
}

fn serve_for_ever(listener: &UnixListener, desk: &Desk) {
    loop {
        match listener.accept() {
            // Whoever hangs up has lost nothing but the answer.
            Ok((stream, _)) => serve(stream, desk).unwrap_or_default(),
            // Out of descriptors: waiting is all that helps.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn serve(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    stream.set_write_timeout(Some(ESTOP_DOOR_PATIENCE))?;
    let uid = socket_peercred(&stream)?.uid;
    let (status, value) = if uid.is_root() || uid == geteuid() {
        match read(&mut stream)? {
            Some((word, body)) => desk.answer(&format!("uid:{}", uid.as_raw()), word, &body),
            None => (StatusCode::NOT_FOUND, json!({ "error": "nothing here; see /admin/estop" })),
        }
    } else {
        (StatusCode::FORBIDDEN, json!({ "error": "only the gateway's own user may speak here" }))
    };
    if !status.is_success() {
        let who = Principal::new(&format!("uid:{}", uid.as_raw()));
        let reason = status.canonical_reason().unwrap_or("status");
        desk.porter().refuses(("stop", status), reason, Some(&who));
    }
    write(&mut stream, status, &value)
}

fn write(stream: &mut UnixStream, status: StatusCode, value: &Value) -> io::Result<()> {
    let (body, reason) = (format!("{value}\n"), status.canonical_reason().unwrap_or_default());
    let n_bytes = body.len();
    write!(
        stream,
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\n\
         content-length: {n_bytes}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16()
    )
}

/// The request and its body; `None` if it is none that is answered here.
fn read(stream: &mut UnixStream) -> io::Result<Option<(Word, Vec<u8>)>> {
    let until = Instant::now() + ESTOP_DOOR_PATIENCE;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HTTP_HEADER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        more(stream, &mut bytes, until)?;
    };
    let mut body = bytes.split_off(end).split_off(4);
    let head = String::from_utf8_lossy(&bytes);
    let Some((word, n_bytes)) = parse(&head) else { return Ok(None) };
    if n_bytes > ADMIN_BODY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while body.len() < n_bytes {
        more(stream, &mut body, until)?;
    }
    body.truncate(n_bytes);
    Ok(Some((word, body)))
}

fn parse(head: &str) -> Option<(Word, usize)> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?, first.next()?);
    let word = Word::of(path, &Method::from_bytes(method.as_bytes()).ok()?)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())
    });
    Some((word, length.unwrap_or(Some(0))?))
}

fn more(stream: &mut UnixStream, bytes: &mut Vec<u8>, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut piece = [0; 1024];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            bytes.extend_from_slice(piece.get(..n).unwrap_or_default());
            Ok(())
        }
    }
}
