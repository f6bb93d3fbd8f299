//! A child's stderr: into our log, bounded, escaped and tagged.
//!
//! Promises that the pipe is drained, whatever the child writes, if a flood no faster than others
//! can bear: a line is cut at `STDERR_LINE_BYTES_MAX`, control characters are escaped so that
//! nobody forges a log line, and beyond `STDERR_LINES_PER_SECOND_MAX` lines are only counted. The
//! last lines are kept, also when the child is gone: they often say why.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until},
};

use crate::{
    domain::{
        ServerName,
        limits::{STDERR_LINE_BYTES_MAX, STDERR_LINES_PER_SECOND_MAX, STDERR_TAIL_LINES},
    },
    upstream::pace::{Allowance, Pace, Turn},
};

/// The last lines of one child after another: whoever keeps it reads what the dead have said.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    lines: Arc<Mutex<Lines>>,
    /// So many lines had been written when the child was born.
    before: u64,
}

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    n_written: u64,
}

/// A line that is being read.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    n_cut: usize,
}

impl Tail {
    pub fn read(&self) -> Vec<String> {
        self.lines().last.iter().cloned().collect()
    }

    /// For the next child.
    pub(super) fn of_newborn(&self) -> Self {
        Self { lines: self.lines.clone(), before: self.lines().n_written }
    }

    /// The last line, if it is this child's.
    pub(super) fn last_words(&self) -> Option<String> {
        let lines = self.lines();
        lines.last.back().filter(|_| lines.n_written > self.before).cloned()
    }

    fn keep(&self, line: String) {
        let mut lines = self.lines();
        if lines.last.len() >= STDERR_TAIL_LINES {
            lines.last.pop_front();
        }
        lines.last.push_back(line);
        lines.n_written = lines.n_written.saturating_add(1);
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the last holder of the other end is gone; without a pause once the child has
/// `exited`.
pub(super) async fn drain(
    server: ServerName,
    mut stderr: impl AsyncRead + Unpin,
    tail: Tail,
    exited: impl AsyncFn(),
) {
    let mut pace = Pace::new(STDERR_LINES_PER_SECOND_MAX);
    let mut allowance = Allowance::new();
    let mut chunk = vec![0; READ_BYTES];
    let mut line = Line::default();
    while let Ok(n_bytes @ 1..) = stderr.read(&mut chunk).await {
        let read = chunk.get(..n_bytes).unwrap_or_default();
        let mut n_lines = 0;
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            line.push(piece);
            if piece.ends_with(b"\n") {
                n_lines += 1;
                say(&server, &mut pace, &tail, line.take());
            }
        }
        if let Some(until) = allowance.spend(n_bytes, n_lines, Instant::now()) {
            tokio::select! {
                () = sleep_until(until) => {}
                () = exited() => {}
            }
        }
    }
    if !line.bytes.is_empty() {
        say(&server, &mut pace, &tail, line.take());
    }
}

const READ_BYTES: usize = 8 * 1024;

fn say(server: &ServerName, pace: &mut Pace, tail: &Tail, line: String) {
    if let Turn::Say { n_suppressed } = pace.turn(Instant::now()) {
        if n_suppressed > 0 {
            tracing::warn!(target: "portcullis::server", { server.id = %server, n_suppressed },
                "Server wrote more to stderr than is logged");
        }
        tracing::info!(target: "portcullis::server", { server.id = %server }, "{line}");
    }
    tail.keep(line);
}

impl Line {
    fn push(&mut self, piece: &[u8]) {
        let room = STDERR_LINE_BYTES_MAX.saturating_sub(self.bytes.len());
        let kept = piece.get(..room.min(piece.len())).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
        self.n_cut += piece.len() - kept.len();
    }

    fn take(&mut self) -> String {
        let text = escaped(self.bytes.trim_ascii_end());
        self.bytes.clear();
        match std::mem::take(&mut self.n_cut) {
            0 | 1 => text,
            n_cut => format!("{text}… ({n_cut} bytes more)"),
        }
    }
}

/// Text for a log: no control character, no invalid byte, no way to turn the reading direction.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c == '\t' {
            text.push(' ');
        } else if c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}'..='\u{2029}' | '\u{2066}'..='\u{2069}')
        {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::{Tail, drain, escaped};
    use crate::domain::{ServerName, limits::STDERR_LINE_BYTES_MAX};

    async fn tail_of(written: &[u8]) -> Tail {
        let (mut child, ours) = tokio::io::duplex(1024);
        let tail = Tail::default();
        let name = ServerName::parse("noisy").unwrap();
        let drained = drain(name, ours, tail.clone(), std::future::pending);
        let write = async {
            child.write_all(written).await.unwrap();
            drop(child);
        };
        tokio::join!(drained, write);
        tail
    }

    #[tokio::test]
    async fn a_line_cannot_forge_another_or_reach_the_terminal() {
        assert_eq!(
            tail_of(b"red \x1b[31m\r2026 ERROR\n").await.read(),
            ["red \\u{1b}[31m\\r2026 ERROR"]
        );
        assert_eq!(escaped("a\u{202e}b\u{2028}".as_bytes()), "a\\u{202e}b\\u{2028}");
        assert_eq!(tail_of(b"half \xff\xe2\x82").await.read(), ["half \u{fffd}\u{fffd}"]);
    }

    #[tokio::test]
    async fn a_flood_is_drained_and_only_its_end_is_kept() {
        let mut flood = vec![b'x'; 1_000_000];
        flood.push(b'\n');
        for n in 0..10_000 {
            flood.extend_from_slice(format!("line {n}\n").as_bytes());
        }
        let tail = tail_of(&flood).await.read();
        assert_eq!(tail.len(), 20);
        assert_eq!(tail.last().unwrap(), "line 9999");
    }

    #[tokio::test]
    async fn the_last_words_are_those_of_this_child() {
        let kept = tail_of(b"the first child's\n").await;
        assert_eq!((kept.read().len(), kept.last_words().unwrap()), (1, kept.read()[0].clone()));
        let next = kept.of_newborn();
        assert_eq!((next.read(), next.last_words()), (kept.read(), None));
        next.keep("its own".to_owned());
        assert_eq!((next.last_words().unwrap(), kept.read().len()), ("its own".to_owned(), 2));
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_says_so() {
        let tail = tail_of(&vec![b'x'; STDERR_LINE_BYTES_MAX + 100]).await.read();
        assert_eq!(tail[0].len(), STDERR_LINE_BYTES_MAX + "… (100 bytes more)".len());
    }
}
