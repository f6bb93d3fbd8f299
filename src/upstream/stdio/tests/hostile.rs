//! Children that lie, flood, stammer, go deaf or die.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf},
    time::Instant,
};

use super::{Rig, WAIT, result_of, until};
use crate::{
    domain::{
        CallError, Sent,
        limits::{
            STDIO_CONTROL_QUEUE_MAX, STDIO_EXIT_GRACE, UNASKED_BYTES_MAX, UNASKED_BYTES_PER_SECOND,
            UNASKED_LINE_BYTES,
        },
    },
    upstream::{Oddities, stdio::Ask},
    wire::{RequestId, encode_request},
};

/// The child says `said` with a call in flight, then answers it. The call must not notice.
async fn survives(what: &str, said: &[u8], want: Oddities) {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    rig.say(said).await;
    rig.answer(id, r#"{"ok":true}"#).await;
    assert_eq!(result_of(call.await.unwrap()), r#"{"ok":true}"#, "{what}");
    assert_eq!(rig.oddities(), want, "{what}");
    // And the next one neither.
    let (id, call) = rig.call();
    loop {
        let line = rig.line().await;
        if line.contains("tools/call") {
            break;
        }
        assert!(line.contains("-32601"), "{what}: answered noise with {line}");
    }
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn nothing_said_out_of_turn_disturbs_a_call() {
    let noise = |n_noise| Oddities { n_noise, ..Oddities::default() };
    let strays = |n_strays| Oddities { n_strays, ..Oddities::default() };
    let questions = |n_questions| Oddities { n_questions, ..Oddities::default() };
    let deep = format!("{}{}\n", "[".repeat(100), "]".repeat(100));
    let table: [(&str, &[u8], Oddities); 18] = [
        ("a banner", b"Server listening on stdio\n", noise(1)),
        ("blank lines", b"\n\r\n\n", noise(0)),
        ("a prompt without a newline, then one", b"> \x1b[31mready\x1b[0m\n", noise(1)),
        (
            "partial UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xe2\x82\"}}\n",
            noise(1),
        ),
        ("half a message", b"{\"jsonrpc\":\"2.0\",\"id\":1,\n", noise(1)),
        ("a batch", b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]\n", noise(1)),
        ("a number", b"42\n", noise(1)),
        ("depth", deep.as_bytes(), noise(1)),
        ("a log with an id", b"{\"id\":1,\"level\":\"info\"}\n", noise(1)),
        ("a duplicate key", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":1,\"result\":{}}\n", noise(1)),
        (
            "a question that is none",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":7}\n",
            noise(1),
        ),
        (
            "a malformed answer to nobody",
            b"{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":7}\n",
            noise(1),
        ),
        ("an unknown id", b"{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}\n", strays(1)),
        ("a string id", b"{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":{}}\n", strays(1)),
        ("a negative id", b"{\"jsonrpc\":\"2.0\",\"id\":-1,\"result\":{}}\n", strays(1)),
        (
            "an answer to nobody",
            b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"?\"}}\n",
            strays(1),
        ),
        (
            "a question",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sampling/createMessage\",\"params\":{}}\n",
            questions(1),
        ),
        ("an echo", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}\n", questions(1)),
    ];
    for (what, said, want) in table {
        survives(what, said, want).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_answer_fails_its_call_at_once_and_no_other() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for result in ["7", "null", "{\"a\":1,\"a\":2}", "{},\"error\":{}", &deep] {
        let mut rig = Rig::new();
        let (id, call) = rig.call();
        let (other, bystander) = rig.call();
        rig.line().await;
        rig.line().await;
        let asked = tokio::time::Instant::now();
        rig.answer(id, result).await;
        let broke = CallError::Protocol { what: "its answer is malformed" };
        assert_eq!(call.await.unwrap().unwrap_err(), broke, "{result}");
        assert_eq!(asked.elapsed(), Duration::ZERO, "{result}");
        rig.answer(other, "{}").await;
        assert_eq!(result_of(bystander.await.unwrap()), "{}");
        assert_eq!(rig.oddities(), Oddities { n_noise: 1, ..Oddities::default() }, "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_goes_to_nobody() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    rig.answer(id, r#"{"n":1}"#).await;
    rig.answer(id, r#"{"n":2}"#).await;
    assert_eq!(result_of(call.await.unwrap()), r#"{"n":1}"#);
    until(|| rig.oddities().n_strays == 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_question_is_an_answer_to_nobody() {
    let mut rig = Rig::new();
    rig.say("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"early\":1}}\n").await;
    until(|| rig.oddities().n_strays == 1).await;
    let (id, call) = rig.call();
    assert_eq!(id, 1);
    rig.line().await;
    rig.answer(id, "{}").await;
    assert_eq!(result_of(call.await.unwrap()), "{}");
}

#[tokio::test(start_paused = true)]
async fn a_line_of_64_mib_costs_one_complaint_and_no_call() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        rig.say(&chunk).await;
    }
    rig.say("\n").await;
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
    assert_eq!(rig.oddities().n_noise, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_stdout_ends_the_session_though_stdin_is_open() {
    let mut rig = Rig::new();
    let (_, call) = rig.call();
    rig.line().await;
    rig.stdout.shutdown().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap_err(), CallError::Unavailable { sent: Sent::Yes });
    assert_eq!(rig.session.closed().await, "the server closed its stdout");
}

#[tokio::test(start_paused = true)]
async fn an_exit_in_the_middle_of_an_answer_is_no_answer() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    let (_, other) = rig.call();
    rig.line().await;
    rig.line().await;
    rig.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"half\":")).await;
    let Rig { session, stdin, stdout, .. } = rig;
    drop((stdin, stdout));
    for call in [call, other] {
        assert_eq!(call.await.unwrap().unwrap_err(), CallError::Unavailable { sent: Sent::Yes });
    }
    session.closed().await;
}

#[tokio::test(start_paused = true)]
async fn last_words_after_the_last_read_still_count() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    let Rig { session, stdin, mut stdout, latch, _dir } = rig;
    drop(stdin);
    let unwritten = Ask {
        id: session.draw_id(),
        frame: encode_request(&RequestId::from_u64(2), "tools/call", None),
        epoch: latch.now().ok(),
        wait: WAIT,
        ear: None,
        talk: None,
    };
    let unwritten = async { session.ask(unwritten).await };
    let last_words = async {
        tokio::time::sleep(STDIO_EXIT_GRACE / 2).await;
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
        stdout.write_all(answer.as_bytes()).await.unwrap();
        call.await.unwrap()
    };
    let (unwritten, answered) = tokio::join!(unwritten, last_words);
    assert_eq!(result_of(answered), "{}");
    assert_eq!(unwritten.unwrap_err(), CallError::Unavailable { sent: Sent::No });
    assert_eq!(session.closed().await, "the server closed its stdin");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_reads_is_still_heard_and_every_call_ends() {
    let mut rig = Rig::with_stdin_of(100);
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(500));
    let (_, stuck) = rig.start(&long, Duration::from_secs(2), None);
    let (_, in_batch) = rig.start("{}", Duration::from_secs(1), None);
    // The pipe is full now, so what comes next waits for the next batch.
    rig.stdin.fill_buf().await.unwrap();
    let (early, in_queue) = rig.start("{}", Duration::from_secs(1), None);
    let mut changed = rig.session.list_changed();
    rig.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n").await;
    changed.wait_for(|n| *n == 1).await.unwrap();
    // It cannot answer what it was not given.
    rig.answer(early, "{}").await;
    rig.answer(early, "7").await;
    for unsent in [in_batch, in_queue] {
        assert_eq!(unsent.await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::No });
    }
    assert_eq!(rig.oddities().n_strays, 1);
    assert_eq!(stuck.await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::Unknown });
    // Once it reads again, it gets whole lines, and never the calls that were given up unsent.
    assert!(rig.line().await.contains("yyyy"));
    assert!(rig.line().await.contains("notifications/cancelled"));
    let (id, call) = rig.call();
    assert!(rig.line().await.contains(&format!("\"id\":{id},")));
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_questions_from_a_deaf_child_stays_bounded() {
    let mut rig = Rig::with_stdin_of(64);
    let flood = STDIO_CONTROL_QUEUE_MAX * 4;
    for n in 0..flood {
        rig.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{n},\"method\":\"ping\"}}\n")).await;
    }
    until(|| rig.oddities().n_unsaid > 0).await;
    assert!(rig.oddities().n_unsaid < u64::try_from(flood).unwrap());
    let (_, call) = rig.start("{}", WAIT, None);
    assert_eq!(call.await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::No });
}

/// A pipe on which the first word is a defect of ours.
struct Defect(DuplexStream);

impl AsyncRead for Defect {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => panic!("as the test wants it"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_defect_of_ours_ends_the_session_for_everybody() {
    let mut rig = Rig::new();
    let name = crate::domain::ServerName::parse("fake").unwrap();
    let (ours_in, stdin) = tokio::io::duplex(1 << 10);
    let (stdout, ours_out) = tokio::io::duplex(1 << 10);
    let pipes = super::Pipes { stdout: Defect(ours_out), stdin: ours_in };
    rig.session = super::Stdio::over(&name, pipes, None, (rig.latch.clone(), super::can()));
    (rig.stdin, rig.stdout) = (BufReader::new(stdin), stdout);
    let (_, call) = rig.call();
    assert!(rig.line().await.contains("tools/call"));
    rig.say("x").await;
    // The clock is paused: anybody who hangs meets a deadline instead.
    let lost = call.await.unwrap().unwrap_err();
    assert_eq!(lost, CallError::Unavailable { sent: Sent::Unknown });
    let why = tokio::time::timeout(WAIT, rig.session.closed()).await.unwrap();
    assert_eq!(why, "the session's own task failed");
    let (_, late) = rig.call();
    assert_eq!(late.await.unwrap().unwrap_err(), CallError::Unavailable { sent: Sent::No });
    tokio::time::timeout(WAIT, rig.session.close()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_floods_is_read_slowly_and_waits() {
    let mut rig = Rig::new();
    let line = format!("{}\n", "Server is thinking. ".repeat(20));
    let charged = line.len() as u64 + UNASKED_LINE_BYTES;
    let n_lines = 2 * UNASKED_BYTES_MAX / charged;
    let begun = Instant::now();
    for _ in 0..n_lines {
        rig.say(&line).await;
    }
    // Half of them at once, and some are in the pipe and not read yet.
    let seconds = UNASKED_BYTES_MAX / UNASKED_BYTES_PER_SECOND;
    let took = begun.elapsed().as_secs();
    assert!((seconds / 2..=seconds).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn answers_cost_a_child_nothing_however_long_they_are() {
    let mut rig = Rig::new();
    let begun = Instant::now();
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(4 << 20));
    for _ in 0..10 {
        let (id, call) = rig.call();
        rig.line().await;
        rig.answer(id, &long).await;
        assert_eq!(result_of(call.await.unwrap()).len(), long.len());
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
