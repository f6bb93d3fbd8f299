//! The actor of one child: the only owner of its pipes.
//!
//! One loop over a closed list of things that can happen. It reads while it cannot write, so a
//! child that stops reading never stops us. What is done about each thing is the desk's business;
//! here is only the waiting.

use std::{io, pin::pin};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Event, Pipes, desk::Desk};
use crate::domain::limits::STDIO_READ_BYTES;

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
    pub(super) fn new(pipes: Pipes<R, W>, desk: Desk) -> Self {
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
            let (has_to_write, has_alarm) = (desk.has_to_write(), desk.has_alarm());
            let listens = desk.listens();
            let moved = async {
                // Fair: a flood on one side starves no other.
                select! {
                    n = inbox.recv_many(&mut events, EVENTS_AT_ONCE) => Moved::In(n),
                    read = read_more(&mut self.stdout, desk.reader.buffer_mut()), if listens => {
                        Moved::Read(read)
                    }
                    wrote = self.stdin.write(desk.outbox.unwritten()), if has_to_write => {
                        Moved::Wrote(wrote)
                    }
                }
            };
            let happened = select! {
                // The stop first: a batch that waits for a full pipe must not be written after
                // it. The latch outlives us, but were it gone, nothing would hold any more.
                biased;
                _ = stop.changed() => Happened::Stop,
                () = timer.as_mut(), if has_alarm => Happened::Alarm,
                moved = moved => Happened::Moved(moved),
            };
            match happened {
                Happened::Stop => desk.stop(),
                Happened::Alarm => desk.wake(),
                Happened::Moved(Moved::In(n)) => desk.hear(n, &mut events),
                Happened::Moved(Moved::Read(read)) => desk.read(read),
                Happened::Moved(Moved::Wrote(wrote)) => desk.wrote(wrote),
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

/// What the loop waits for.
enum Happened {
    Stop,
    Alarm,
    Moved(Moved),
}

/// What came or went on a queue or a pipe.
enum Moved {
    In(usize),
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
}

async fn read_more(
    stdout: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    if buffer.capacity() - buffer.len() < STDIO_READ_BYTES / 8 {
        buffer.reserve(STDIO_READ_BYTES);
    }
    stdout.read_buf(buffer).await
}
