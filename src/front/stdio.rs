//! The endpoint on one pair of pipes, for a desktop host that starts us as its server.
//!
//! The first message decides the era of the whole process. Requests run side by side; one writer
//! owns the output, so that answers never interleave, and nothing is said to a legacy client
//! before its `initialize` is answered. When the input ends, calls in flight get their grace and
//! the process ends.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Front,
    exchange::{Exchange, Outlet},
    listen::{listen_on_pipe, unasked},
    method::{self, Method},
    peer::Peer,
    questions::Acquaintance,
    reject::word,
};
use crate::{
    domain::{
        Caller, Era, Principal, Transport,
        limits::{DRAIN_GRACE, NOTICE_QUEUE_MAX, STDIO_READ_BYTES},
    },
    wire::{
        self, Batch, ErrorObject, Frame, LineReader, Message, Meta, Request, RequestId, Version,
        WireError, encode_error, encode_list_changed, join_batch,
    },
};

/// Whoever has started us.
fn principal() -> Principal {
    Principal::new("stdio")
}

/// Serves one client until its input ends or the drain begins.
pub(super) async fn serve(
    front: Arc<Front>,
    mut input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) {
    let (out, lines) = mpsc::channel(NOTICE_QUEUE_MAX);
    let mut writer = JoinSet::new();
    writer.spawn(write(lines, output));
    let mut client =
        Client { front, out, peer: None, running: JoinSet::new(), listening: JoinSet::new() };
    let mut reader = LineReader::new(client.front.limits.body_bytes);
    let mut changes = client.front.publisher.relisted(&principal());
    let mut seen = *changes.borrow_and_update();
    let mut chunk = vec![0_u8; STDIO_READ_BYTES];
    loop {
        let watching = client.peer.as_ref().map(|peer| peer.watching.clone());
        let read = tokio::select! {
            biased;
            () = client.front.drain.cancelled() => break,
            // A client that asks and does not read its answers is not read either.
            read = input.read(&mut chunk), if client.has_room() => read,
            Some(ended) = client.running.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("A request ended without an answer");
                }
                continue;
            }
            Some(_) = client.listening.join_next() => continue,
            told = unasked(watching.as_deref()) => {
                for frame in told {
                    client.say(frame).await;
                }
                continue;
            }
            Ok(()) = changes.changed() => {
                let now = *changes.borrow_and_update();
                client.tell(now.news(seen)).await;
                seen = now;
                continue;
            }
        };
        match read {
            Ok(n) if n > 0 => reader.push(chunk.get(..n).unwrap_or_default()),
            Ok(_) | Err(_) => break,
        }
        for line in reader.by_ref() {
            client.hear(line).await;
        }
    }
    client.finish().await;
    // The writer ends when the last sender is gone.
    if tokio::time::timeout(DRAIN_GRACE, writer.join_next()).await.is_err() {
        tracing::warn!("The client did not read its last answers in time");
    }
}

struct Client {
    front: Arc<Front>,
    out: mpsc::Sender<Frame>,
    /// Known after the first message.
    peer: Option<Peer>,
    running: JoinSet<()>,
    /// Subscriptions of a modern client; they take no place among the calls.
    listening: JoinSet<()>,
}

impl Client {
    async fn hear(&mut self, line: Result<Bytes, WireError>) {
        let bytes_max = self.front.limits.body_bytes;
        match line.and_then(|raw| wire::decode_batch(raw, bytes_max)) {
            Ok(Batch::Single(message)) => self.take(message).await,
            Ok(Batch::Many(messages)) => self.batch(messages).await,
            Err(error) => {
                let id = error.id().cloned();
                self.refuse(id.as_ref(), &ErrorObject::from(error)).await;
            }
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Request(request) => {
                let opens = opens(&request);
                let peer = self.peer_for(&request);
                if peer.listens(&request) {
                    self.listening.spawn(listen_on_pipe(
                        self.front.clone(),
                        peer,
                        request,
                        self.out.clone(),
                    ));
                    return;
                }
                let answering = answer(self.front.clone(), peer, request, self.out.clone());
                if !opens {
                    self.running.spawn(answering);
                    return;
                }
                // It calls nobody, and a client must hear nothing before it.
                tokio::select! {
                    biased;
                    () = answering => {}
                    () = self.front.drain.cancelled() => {}
                }
            }
            Message::Notification(notification) => {
                if let Some(peer) = &self.peer {
                    peer.hear(&self.front, &notification);
                }
            }
            Message::Response(response) => {
                if let Some(peer) = &self.peer {
                    peer.known.hear(response);
                }
            }
        }
    }

    /// The era is fixed by the first request; a legacy `initialize` fixes the version too.
    fn peer_for(&mut self, request: &Request) -> Peer {
        let opens = opens(request);
        if let Some(peer) = &self.peer
            && !(opens && peer.version.era() == Era::Legacy)
        {
            return peer.clone();
        }
        let params = request.params.as_ref();
        let modern = !opens && params.is_some_and(Meta::names_a_version);
        let version = match (opens, modern) {
            (true, _) => method::negotiate(params),
            (false, true) => Version::MODERN,
            (false, false) => Version::LATEST_LEGACY,
        };
        let client = params.and_then(|p| p.object("clientInfo")).and_then(|info| info.text("name"));
        let caller = Caller {
            principal: principal(),
            client: Caller::client_of(client.as_deref()),
            conversation: None,
            era: version.era(),
            transport: Transport::Stdio,
        };
        let known = Arc::new(Acquaintance::new(params));
        let peer = Peer {
            version,
            caller: Arc::new(caller),
            in_flight: Arc::default(),
            known,
            watching: Arc::default(),
        };
        // A question that names no version, such as an early ping, does not decide.
        if opens || modern {
            self.peer = Some(peer.clone());
        }
        peer
    }

    async fn batch(&mut self, messages: Vec<Result<Message, WireError>>) {
        let Some(peer) = self.peer.clone().filter(|p| p.version == Version::V2025_03_26) else {
            let told = "batches belong to protocol version 2025-03-26 only";
            let error = ErrorObject::new(wire::code::INVALID_REQUEST, told);
            return self.refuse(None, &error).await;
        };
        let (front, out) = (self.front.clone(), self.out.clone());
        self.running.spawn(async move {
            let frames = peer.answer_all(front, messages).await;
            if !frames.is_empty() && out.send(join_batch(&frames)).await.is_err() {
                tracing::debug!("The client was gone before its batch was answered");
            }
        });
    }

    /// Modern clients hear of changes on the streams that they ask for.
    async fn tell(&self, news: impl Iterator<Item = &'static str>) {
        let legacy = self.peer.as_ref().is_some_and(|peer| peer.version.era() == Era::Legacy);
        for method in news.filter(|_| legacy) {
            self.say(encode_list_changed(None, method)).await;
        }
    }

    /// Requests that are refused for too many calls are requests still: twice the bound.
    fn has_room(&self) -> bool {
        self.running.len() < self.front.limits.in_flight.saturating_mul(2)
    }

    async fn refuse(&self, id: Option<&RequestId>, error: &ErrorObject) {
        self.front.note_message(Transport::Stdio, &principal(), word(error.code));
        self.say(encode_error(id, error)).await;
    }

    /// A client that reads nothing must not hold up the end.
    async fn say(&self, frame: Frame) {
        let said = tokio::select! {
            biased;
            said = self.out.send(frame) => said.is_ok(),
            () = self.front.drain.cancelled() => false,
        };
        if !said {
            tracing::debug!("The client did not take an answer");
        }
    }

    /// Calls in flight get their grace; then they are cancelled by being dropped.
    async fn finish(mut self) {
        // Subscriptions end with their input; on a drain they say so themselves.
        if !self.front.drain.is_cancelled() {
            self.listening.abort_all();
        }
        let all = async {
            while self.running.join_next().await.is_some() {}
            while self.listening.join_next().await.is_some() {}
        };
        if tokio::time::timeout(DRAIN_GRACE, all).await.is_err() {
            tracing::warn!("Calls were still in flight when their grace ended");
        }
    }
}

fn opens(request: &Request) -> bool {
    method::known(Era::Legacy, &request.method) == Some(Method::Initialize)
}

async fn answer(front: Arc<Front>, peer: Peer, request: Request, out: mpsc::Sender<Frame>) {
    let (lines, ears) = peer.wants(&request).open();
    let answering = Box::pin(peer.answer(front, request, lines));
    let dress = |frame: &Frame, lines: &mut VecDeque<Frame>| lines.push_back(frame.clone());
    let outlet = Outlet { out, dress, idle: None };
    Exchange::new(answering, ears).run(outlet).await;
}

async fn write(mut lines: mpsc::Receiver<Frame>, mut output: impl AsyncWrite + Unpin) {
    while let Some(frame) = lines.recv().await {
        let mut text: Vec<u8> = Vec::with_capacity(frame.len() + 1);
        frame.parts().iter().for_each(|part: &Bytes| text.extend_from_slice(part));
        text.push(b'\n');
        let written = async {
            output.write_all(&text).await?;
            output.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll},
        time::Duration,
    };

    use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

    use super::{Front, serve};
    use crate::{
        audit::{Audit, AuditThread},
        config,
        domain::Generation,
        fleet::{Edition, Fleet},
        front::{Desk, Publisher, Reloads, Standing},
        gate::{Gate, Latch, Pins, Rules, Whitelist},
        jail::Jail,
        upstream::Connector,
    };

    /// A gateway whose one server does not run.
    pub(in crate::front) fn front(dir: &std::path::Path) -> (Arc<Front>, AuditThread) {
        let file = dir.join("servers.toml");
        let text =
            format!("[gateway]\nstate_dir = {:?}\n[servers.a]\ncommand = \"/bin/true\"\n", dir);
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap();
        let latch = Latch::open(dir);
        let (audit, thread) = Audit::open(&dir.join("audit"), config.audit.durability).unwrap();
        let publisher = Publisher::new();
        let rules = Arc::new(Rules::of_whitelist(Whitelist::compile(&config.servers)));
        let (roster, catalog) = Default::default();
        publisher.publish(Edition::new(Generation(1), rules.clone(), roster, catalog));
        let connector = Connector::new(Jail::start().unwrap(), latch.clone());
        let pins = Pins::open(dir.join("pins.lock"), audit.clone());
        let fleet = Fleet::start(
            Generation(1),
            (Vec::new(), rules),
            (config.gateway.names, &connector),
            pins,
            drop,
        );
        let gate = Gate::new(latch, audit);
        let desk = Desk::new(gate.clone(), &dir.join("token"), (false, None), || false).unwrap();
        let (reloads, ..) = Reloads::new(Standing::first(Generation(1), config.digest, 0));
        (
            Front::new(&config, (gate, Arc::new(desk)), Arc::new(fleet), (publisher, reloads))
                .unwrap(),
            thread,
        )
    }

    /// A client that says `initialize`, and whose lists change in the same moment.
    struct Client {
        says: Option<&'static [u8]>,
        front: Arc<Front>,
    }

    impl AsyncRead for Client {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let Some(line) = self.says.take() else { return Poll::Pending };
            self.front.publisher.pretend_relisted();
            buf.put_slice(line);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn nothing_is_said_before_initialize_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let (front, _audit) = front(dir.path());
        let hello = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\
            \"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
            \"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}\n";
        let client = Client { says: Some(hello), front: front.clone() };
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let hear = async {
            let mut said = Vec::new();
            while said.iter().filter(|byte| **byte == b'\n').count() < 2 {
                assert!(theirs.read_buf(&mut said).await.unwrap() > 0, "it ended");
            }
            front.begin_drain();
            String::from_utf8(said).unwrap()
        };
        let both = async { tokio::join!(serve(front.clone(), client, ours), hear) };
        let ((), said) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains("\"protocolVersion\""), "{said}");
        assert!(lines[1].contains("notifications/tools/list_changed"), "{said}");
    }
}
