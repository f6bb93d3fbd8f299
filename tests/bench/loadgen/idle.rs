//! What waiting clients cost: memory for each, and the work of telling them all of one change.
//!
//! Opens `subscriptions/listen` streams, each with its connection, then legacy sessions that have
//! none, and divides what the process has grown by their number. Has the server change its list of
//! tools a few times, and every stream must hear of each change. The client side is bare sockets:
//! it takes little of the machine.

use std::time::{Duration, Instant};

use clap::Args;
use http::Uri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Result,
    message::{Wire, modern, request},
    process,
    target::{Address, Targets},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    targets: Targets,
    /// How many wait, of each kind.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// How many changes every stream must hear of.
    #[arg(long, default_value_t = 5)]
    changes: usize,
    /// What one listen stream may cost.
    #[arg(long, default_value_t = 16.0)]
    stream_kib: f64,
    /// What one legacy session may cost.
    #[arg(long, default_value_t = 4.0)]
    session_kib: f64,
}

/// Has the fixture give another list of tools.
const TRIGGER: &str = "test_trigger_tool_change";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const CHANGED: &str = "notifications/tools/list_changed";
/// So many connect at a time: a listener's backlog is short.
const AT_ONCE: usize = 64;
/// The first ones pay for what is kept for all.
const FIRST: usize = 200;
const WAIT: Duration = Duration::from_secs(60);

/// Prints what clients of either kind cost; says whether that was within the bound.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub(crate) async fn idle(options: &Options) -> Result<bool> {
    let mut kept = true;
    for target in options.targets.read()? {
        let Address::Http(uri) = &target.address else { return Err("only over HTTP".into()) };
        let pid = target.pid.ok_or("its --pid is needed")?;
        let mut streams = listen(uri, FIRST).await?;
        sessions(uri, FIRST).await?;
        let mut growth = Growth { pid, resident_kib: process::resident_kib(pid) };
        streams.extend(listen(uri, options.clients).await?);
        let stream = growth.each(options.clients);
        println!("{}: a listen stream {stream:.1} KiB", target.name);
        let tool = format!("{}{TRIGGER}", target.prefix);
        for _ in 0..options.changes {
            let told;
            (streams, told) = tell_all(uri, &tool, pid, streams).await?;
            println!("{}: {told}", target.name);
        }
        growth.each(1);
        sessions(uri, options.clients).await?;
        let session = growth.each(options.clients);
        println!("{}: a legacy session {session:.1} KiB", target.name);
        kept &= stream <= options.stream_kib && session <= options.session_kib;
    }
    Ok(kept)
}

/// How a process grows.
struct Growth {
    pid: u32,
    resident_kib: u64,
}

impl Growth {
    /// Resident KiB since the last time, for each of `n`.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn each(&mut self, n: usize) -> f64 {
        let now = process::resident_kib(self.pid);
        let grown = now.saturating_sub(std::mem::replace(&mut self.resident_kib, now));
        grown as f64 / n as f64
    }
}

async fn listen(uri: &Uri, n: usize) -> Result<Vec<Stream>> {
    let body = modern(1, "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let mut opened = Vec::with_capacity(n);
    while opened.len() < n {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE.min(n - opened.len()) {
            let (uri, body) = (uri.clone(), body.clone());
            opening.spawn(async move {
                let mut stream = Stream::open(uri).await?;
                stream.post(&body, Wire::Modern, "subscriptions/listen", None).await?;
                stream.hear(ACKNOWLEDGED).await?;
                Result::Ok(stream)
            });
        }
        for stream in opening.join_all().await {
            opened.push(stream?);
        }
    }
    Ok(opened)
}

/// Sessions that nobody has a connection for.
async fn sessions(uri: &Uri, n: usize) -> Result<()> {
    let mut stream = Stream::open(uri.clone()).await?;
    for _ in 0..n {
        stream.post(&request(Wire::Legacy, 1, "initialize"), Wire::Legacy, "", None).await?;
        stream.hear("serverInfo").await?;
    }
    Ok(())
}

/// One change, until all have heard of it.
async fn tell_all(
    uri: &Uri,
    tool: &str,
    pid: u32,
    streams: Vec<Stream>,
) -> Result<(Vec<Stream>, String)> {
    let n = streams.len();
    let cpu = process::cpu(pid);
    let mut hearing = JoinSet::new();
    for mut stream in streams {
        hearing.spawn(async move {
            stream.hear(CHANGED).await?;
            Result::Ok((stream, Instant::now()))
        });
    }
    let mut trigger = Stream::open(uri.clone()).await?;
    let body = modern(1, "tools/call", &format!(r#""name":"{tool}","arguments":{{}}"#));
    trigger.post(&body, Wire::Modern, "tools/call", Some(tool)).await?;
    let (mut streams, mut moments) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for heard in timeout(WAIT, hearing.join_all()).await? {
        let (stream, moment) = heard?;
        streams.push(stream);
        moments.push(moment);
    }
    let (first, last) = (moments.iter().min(), moments.iter().max());
    let between = last.zip(first).map_or(Duration::ZERO, |(last, first)| *last - *first);
    let cpu = process::cpu(pid).saturating_sub(cpu);
    let each = cpu.checked_div(u32::try_from(n)?).unwrap_or_default();
    let told = format!(
        "a change told to {n} in {} ms from the first to the last, CPU {} ms, {:.1} µs each",
        between.as_millis(),
        cpu.as_millis(),
        each.as_secs_f64() * 1e6
    );
    Ok((streams, told))
}

/// A connection of which only what comes is looked at.
struct Stream {
    uri: Uri,
    socket: TcpStream,
    /// What came last, and may hold the start of what is looked for.
    heard: Vec<u8>,
}

impl Stream {
    async fn open(uri: Uri) -> Result<Self> {
        let authority = uri.authority().ok_or("address without a host")?;
        let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
        Ok(Self { socket: TcpStream::connect(address).await?, uri, heard: Vec::new() })
    }

    async fn post(
        &mut self,
        body: &[u8],
        wire: Wire,
        method: &str,
        name: Option<&str>,
    ) -> Result<()> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            self.uri.path(),
            body.len()
        );
        if wire == Wire::Modern {
            let version = wire.version();
            head += &format!("MCP-Protocol-Version: {version}\r\nMcp-Method: {method}\r\n");
        }
        if let Some(name) = name {
            head += &format!("Mcp-Name: {name}\r\n");
        }
        head += "\r\n";
        let whole = [head.as_bytes(), body].concat();
        Ok(self.socket.write_all(&whole).await?)
    }

    /// Reads until this has come; what came before it is forgotten.
    async fn hear(&mut self, what: &str) -> Result<()> {
        let what = what.as_bytes();
        loop {
            if let Some(at) = self.heard.windows(what.len()).position(|part| part == what) {
                self.heard.drain(..at + what.len());
                return Ok(());
            }
            let mut part = [0; 1024];
            let n = timeout(WAIT, self.socket.read(&mut part)).await??;
            if n == 0 {
                let heard = String::from_utf8_lossy(&self.heard);
                return Err(format!("the stream ended after {heard}").into());
            }
            let keep = self.heard.len().saturating_sub(what.len());
            self.heard.drain(..keep);
            self.heard.extend_from_slice(part.get(..n).unwrap_or_default());
        }
    }
}
