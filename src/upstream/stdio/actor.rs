//! The actor of one child: the only owner of its pipes.
//!
//! One loop over a closed list of things that can happen. It reads while it cannot write, so a
//! child that stops reading never stops us. What is done about each thing is the desk's business;
//! here is only the waiting.

use std::{io, pin::pin, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Event, Pipes, Shared, desk::Desk};
use crate::{
    domain::{ServerName, limits::STDIO_READ_BYTES},
    gate::Latch,
};

pub(super) struct Actor<R, W> {
    stdout: R,
    stdin: W,
    desk: Desk,
}

impl<R, W> Actor<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pub(super) fn new(
        server: ServerName,
        pipes: Pipes<R, W>,
        latch: Latch,
        shared: Arc<Shared>,
    ) -> Self {
        let desk = Desk::new(server, latch, shared);
        Self { stdout: pipes.stdout, stdin: pipes.stdin, desk }
    }

    /// Runs until the session is over. Every request that came in has been answered then.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut stop = self.desk.latch_changes();
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let desk = &mut self.desk;
            desk.fill();
            desk.arm(timer.as_mut());
            if desk.is_over() {
                break;
            }
            select! {
                n = inbox.recv_many(&mut events, EVENTS_AT_ONCE) => desk.hear(n, &mut events),
                read = read_more(&mut self.stdout, desk.reader.buffer_mut()) => desk.read(read),
                wrote = self.stdin.write(desk.outbox.unwritten()), if desk.has_to_write() => {
                    desk.wrote(wrote);
                }
                // The latch outlives us, but were it gone, nothing would hold any more.
                _ = stop.changed() => desk.stop(),
                () = timer.as_mut(), if desk.has_alarm() => desk.wake(),
            }
        }
        inbox.close();
        while inbox.recv_many(&mut events, EVENTS_AT_ONCE).await > 0 {
            for event in events.drain(..) {
                Desk::turn_away(event);
            }
        }
        self.desk.finish();
    }
}

const EVENTS_AT_ONCE: usize = 64;

async fn read_more(
    stdout: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    if buffer.capacity() - buffer.len() < STDIO_READ_BYTES / 8 {
        buffer.reserve(STDIO_READ_BYTES);
    }
    stdout.read_buf(buffer).await
}
