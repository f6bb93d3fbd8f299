//! The server behind the gateway and the clients before it, with plain blocking threads: what they
//! see is stamped by one clock.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    SOON,
    answer::{Answer, Eras, Face, answer},
    until,
};

const MODERN: &str = "2026-07-28";
/// Calls that go through before the next stop.
const WARM: u64 = 200;

/// A server that notes when the last call reached it.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

struct Seen {
    last: Mutex<Instant>,
    n_calls: AtomicU64,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = Arc::new(Seen { last: Mutex::new(Instant::now()), n_calls: AtomicU64::new(0) });
        let seen_by = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen_by);
                thread::spawn(move || serve(stream.unwrap(), &seen));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn last(&self) -> Instant {
        *self.seen.last.lock().unwrap()
    }

    pub(crate) fn n_calls(&self) -> u64 {
        self.seen.n_calls.load(Ordering::SeqCst)
    }
}

/// Answers until the gateway hangs up.
fn serve(stream: TcpStream, seen: &Seen) -> Option<()> {
    let face = Face::new(Eras::Both, 2);
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (_, body) = message(&mut reader)?;
        if memchr::memmem::find(&body, b"\"tools/call\"").is_some() {
            let mut last = seen.last.lock().unwrap();
            *last = Instant::now();
            seen.n_calls.fetch_add(1, Ordering::SeqCst);
        }
        let (status, reply) = match answer(&body, &face) {
            Answer::Now(reply) => ("200 OK", reply),
            Answer::Later(delay, reply) => {
                thread::sleep(delay);
                ("200 OK", reply)
            }
            Answer::None => ("202 Accepted", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            reply.len()
        );
        stream.write_all(&[head.as_bytes(), &reply].concat()).ok()?;
    }
}

/// The first line and the body; `None` when there is no more.
fn message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut first, mut n_bytes) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            n_bytes = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; n_bytes];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// Callers without a pause.
pub(crate) struct Clients {
    /// How often each was refused.
    refused: Vec<Arc<AtomicU64>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn start(port: u16, n: usize) -> Self {
        let refused: Vec<_> = (0..n).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |refused: &Arc<AtomicU64>| {
            let (refused, is_over) = (Arc::clone(refused), Arc::clone(&is_over));
            thread::spawn(move || call_for_ever(port, &refused, &is_over))
        };
        let threads = refused.iter().map(client).collect();
        Self { refused, is_over, threads }
    }

    /// Returns when calls go through.
    pub(crate) fn go_on(&self, upstream: &Upstream) {
        let before = upstream.n_calls();
        until("calls to go through", || upstream.n_calls() >= before + WARM);
    }

    /// Returns when each was refused twice: the second call began after the stop.
    pub(crate) fn until_refused(&self) {
        let count = |one: &Arc<AtomicU64>| one.load(Ordering::SeqCst);
        let before: Vec<_> = self.refused.iter().map(count).collect();
        until("all to be refused", || {
            self.refused.iter().zip(&before).all(|(one, before)| count(one) >= before + 2)
        });
    }

    pub(crate) fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn call_for_ever(port: u16, refused: &AtomicU64, is_over: &AtomicBool) {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"up__echo","arguments":{{"text":"x"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nMcp-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\n\
         Mcp-Name: up__echo\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !is_over.load(Ordering::SeqCst) {
        stream.write_all(request.as_bytes()).unwrap();
        let (first, answer) = message(&mut reader).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        // While the server is let in again, it is not ready: nothing was sent.
        let is_known = [r#""text":"x""#, "-31001", "-31002"].iter().any(|one| answer.contains(one));
        assert!(is_known, "{first} {answer}");
        if answer.contains("-31001") {
            refused.fetch_add(1, Ordering::SeqCst);
            // Who is refused would take the cores from what is measured.
            thread::sleep(Duration::from_millis(1));
        }
    }
}
