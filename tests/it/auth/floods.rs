//! Strangers at the TLS port who waste what they can: time, handshakes, heads, bodies, streams.
//!
//! Each attack goes on until it is hung up on, and again. What they cannot waste is measured: the
//! time in which health and the stop are answered, and the memory of the gateway.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    KEYS,
    tls::{Authority, HEALTH, ask, client, connect, gateway},
};
use crate::{
    harness::{Gateway, SOON, wait_until, within},
    stop::admin,
};

/// What is asked of an idle machine; the middle of many is compared with it, but on a machine
/// that is busy with other tests.
const QUICK: Duration = Duration::from_millis(100);
/// Longer than anything here takes there.
const BOUND: Duration = Duration::from_secs(3);
/// Of the gateway, at its highest. Without an attack it is about 40.
const MEMORY_MIB: u64 = 160;
/// More than the buffers of sockets on both sides hold.
const BYTES_MAX: u64 = 64 << 20;
const EACH: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Connects, and is silent.
    Silent,
    /// Says what no handshake begins with.
    Noise,
    /// Begins a handshake and goes on byte by byte.
    Hello,
    /// A head that comes byte by byte.
    Head,
    /// A head without an end.
    Headers,
    /// A body of a gigabyte.
    Body,
    /// The same in chunks, without a length.
    Chunks,
    /// Streams that are opened and reset, without asking whether this is HTTP/2.
    Resets,
    /// Handshakes, one after the other.
    Handshakes,
}

const ALL: [Attack; 9] = [
    Attack::Silent,
    Attack::Noise,
    Attack::Hello,
    Attack::Head,
    Attack::Headers,
    Attack::Body,
    Attack::Chunks,
    Attack::Resets,
    Attack::Handshakes,
];

const POST: &str = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

/// The preface of HTTP/2, and streams that are opened and reset at once.
fn resets(n_streams: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // No settings of our own.
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for n in 0..n_streams {
        let id = (2 * n + 1).to_be_bytes();
        // GET https /, and the end of both headers and stream.
        bytes.extend([0, 0, 3, 1, 5]);
        bytes.extend(id);
        bytes.extend([0x82, 0x87, 0x84]);
        // CANCEL.
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(id);
        bytes.extend([0, 0, 0, 8]);
    }
    bytes
}

/// Byte by byte, or piece by piece, until it is hung up on; how many bytes that took.
async fn pour(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    first: &[u8],
    (piece, pause): (&[u8], Option<Duration>),
) -> u64 {
    let mut n_bytes = 0;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        let mut next = first;
        while writer.write_all(next).await.is_ok() && writer.flush().await.is_ok() {
            n_bytes += next.len() as u64;
            next = piece;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    };
    // What is answered meanwhile is nobody's concern, but its end is the end.
    let read = async {
        let mut buffer = [0; 4096];
        while reader.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    n_bytes
}

async fn attack(attack: Attack, port: u16, config: &ClientConfig) -> io::Result<u64> {
    let slowly = Some(Duration::from_millis(100));
    let tcp = async || TcpStream::connect(("127.0.0.1", port)).await;
    Ok(match attack {
        Attack::Silent => pour(&mut tcp().await?, b"", (b"", Some(SOON))).await,
        Attack::Noise => pour(&mut tcp().await?, b"", (&[b'x'; 16384], None)).await,
        Attack::Hello => pour(&mut tcp().await?, &[22, 3, 1, 2, 0, 1], (&[0], slowly)).await,
        Attack::Head => {
            let mut stream = connect(port, config).await?;
            pour(&mut stream, POST.as_bytes(), (b"x", slowly)).await
        }
        Attack::Headers => {
            let mut stream = connect(port, config).await?;
            let line = format!("X: {}\r\n", "y".repeat(1000));
            pour(&mut stream, POST.as_bytes(), (line.as_bytes(), None)).await
        }
        Attack::Body => {
            let mut stream = connect(port, config).await?;
            let head = format!("{POST}Content-Length: 1000000000\r\n\r\n");
            pour(&mut stream, head.as_bytes(), (&[b' '; 16384], None)).await
        }
        Attack::Chunks => {
            let mut stream = connect(port, config).await?;
            let head = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
            pour(&mut stream, head.as_bytes(), (chunk.as_bytes(), None)).await
        }
        Attack::Resets => {
            let mut stream = connect(port, config).await?;
            pour(&mut stream, &resets(0), (&resets(10_000)[33..], None)).await
        }
        Attack::Handshakes => {
            connect(port, config).await?;
            0
        }
    })
}

/// The same again and again, until told to end.
async fn again(
    (kind, port, config): (Attack, u16, Arc<ClientConfig>),
    goes_on: Arc<AtomicBool>,
    n_attacks: Arc<AtomicU64>,
) {
    while goes_on.load(Ordering::Relaxed) {
        // A connection that is not had is as good as one that is cut.
        let n_bytes = within("the cut", attack(kind, port, &config)).await.unwrap_or_default();
        assert!(n_bytes < BYTES_MAX, "{kind:?} could send {n_bytes} bytes");
        n_attacks.fetch_add(1, Ordering::Relaxed);
    }
}

/// `VmRSS` or `VmHWM`, which is what it was at its highest.
fn memory_mib(gateway: &Gateway, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The middle and the slowest of so many.
fn times(n: usize, of: impl Fn()) -> (Duration, Duration) {
    let mut all: Vec<_> = (0..n)
        .map(|_| {
            let began = Instant::now();
            of();
            began.elapsed()
        })
        .collect();
    all.sort();
    (all[n / 2], all[n - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_waste_time_and_bytes_delay_neither_health_nor_the_stop() {
    let authority = Authority::new();
    let gateway = gateway(&authority.server(), None, KEYS);
    let trusting = Arc::new(client(&authority, None, &[]));
    let (goes_on, n_attacks) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default());
    let mut strangers = JoinSet::new();
    for kind in ALL.repeat(EACH) {
        let what = (kind, gateway.port, trusting.clone());
        strangers.spawn(again(what, goes_on.clone(), n_attacks.clone()));
    }
    let many = || (n_attacks.load(Ordering::Relaxed) > 500).then_some(());
    wait_until("attacks", many, || gateway.log());
    let fine = |request: &str, body: &str| {
        let told = admin(&gateway, request, "", body);
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    };
    let health = times(100, || fine("GET /health", ""));
    let state = times(100, || fine("GET /admin/estop", ""));
    let stop = times(1, || fine("POST /admin/estop", "{}"));
    // At the port itself, too, where strangers take most places.
    let told = within("health at the port", ask(gateway.port, &trusting, HEALTH)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let (now, most) = (memory_mib(&gateway, "VmRSS"), memory_mib(&gateway, "VmHWM"));
    eprintln!(
        "under {} attacks: health {health:?}, state of the stop {state:?} (middle and slowest of \
         100), stop {:?}; memory {now} MiB, at most {most} MiB",
        n_attacks.load(Ordering::Relaxed),
        stop.0,
    );
    assert!(health.0 < QUICK && state.0 < QUICK, "{health:?} {state:?}");
    assert!(health.1 < BOUND && state.1 < BOUND && stop.1 < BOUND, "{health:?} {state:?} {stop:?}");
    assert!(most < MEMORY_MIB, "{most} MiB");
    goes_on.store(false, Ordering::Relaxed);
    while let Some(stranger) = strangers.join_next().await {
        stranger.unwrap();
    }
}

/// User and system time of the gateway.
fn cpu(gateway: &Gateway) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let ticks = after.split(' ').skip(11).take(2).map(|text| text.parse::<u64>().unwrap());
    // A hundred a second, on every Linux that there is.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_http_2_is_refused_and_opens_no_stream() {
    let authority = Authority::new();
    let gateway = gateway(&authority.server(), None, KEYS);
    let h2 = client(&authority, None, &["h2"]);
    let error = connect(gateway.port, &h2).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    let before = (cpu(&gateway), memory_mib(&gateway, "VmHWM"));
    let asks = client(&authority, None, &["http/1.1"]);
    const TIMES: u32 = 50;
    const STREAMS: u32 = 100_000;
    let all = resets(STREAMS);
    for _ in 0..TIMES {
        let mut stream = connect(gateway.port, &asks).await.unwrap();
        // It is hung up on before all of them are sent.
        stream.write_all(&all).await.unwrap_or_default();
        let mut told = Vec::new();
        within("the end", stream.read_to_end(&mut told)).await.unwrap_or_default();
        // Frames of HTTP/2 begin with a length, which is no letter.
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 4"), "{told:?}");
    }
    let after = (cpu(&gateway), memory_mib(&gateway, "VmHWM"));
    let (took, grew) = (after.0 - before.0, after.1 - before.1);
    eprintln!("{} streams that were reset: {took:?} of CPU, {grew} MiB", TIMES * STREAMS);
    assert!(took < BOUND && grew < 32, "{took:?} {grew} MiB");
}
