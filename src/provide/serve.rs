//! The loop of a built-in server: lines in, lines out, and a few threads for the work between.
//!
//! One thread reads, so a cancellation is seen while a search runs; a fixed number of workers touch
//! the file system, so a slow directory delays nobody else's read; answers leave whole, one at a
//! time, in the order they are ready. A full queue refuses at once. The end of the input lets what
//! was asked be answered; the end of the output stops everything.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use bytes::Bytes;

use super::{
    files::Files,
    protocol::{Session, Step, Work, refusal},
};
use crate::{
    domain::limits::{BODY_BYTES_MAX, FILES_QUEUE_MAX, FILES_WORKERS},
    wire::{Batch, Frame, LineReader, Message, RequestId, WireError, decode, decode_batch},
};

/// Serves one client until its input ends or it takes no more output.
pub(super) fn serve(
    files: &Files,
    mut input: impl Read,
    output: impl Write + Send,
) -> io::Result<()> {
    let desk = Desk {
        files,
        running: Mutex::default(),
        output: Mutex::new(Output::Open(output)),
        gone: AtomicBool::new(false),
    };
    let (queue, jobs) = sync_channel(FILES_QUEUE_MAX);
    let jobs = Mutex::new(jobs);
    let read = thread::scope(|scope| {
        for _ in 0..FILES_WORKERS {
            scope.spawn(|| desk.work(&jobs));
        }
        let mut reader = Reader { desk: &desk, queue, session: Session::default() };
        // Dropping the reader closes the queue, which ends the workers when it is empty.
        reader.read(&mut input)
    });
    match locked(&desk.output).take_error() {
        Some(error) => Err(error),
        None => read,
    }
}

/// One line's worth of work.
struct Job {
    parts: Vec<Part>,
    shape: Shape,
}

enum Part {
    Ready(Frame),
    Work(Work, Arc<AtomicBool>),
}

#[derive(Clone, Copy)]
enum Shape {
    Single,
    Array,
}

enum Output<W> {
    Open(W),
    /// The client is gone; the error is taken once.
    Closed(Option<io::Error>),
}

/// What the reader and the workers share.
struct Desk<'a, W> {
    files: &'a Files,
    /// Requests that are waiting or being worked on, and how to cancel them.
    running: Mutex<HashMap<RequestId, Arc<AtomicBool>>>,
    output: Mutex<Output<W>>,
    /// Set when the output takes no more; told apart from `output`, which a client that does not
    /// read may keep locked for long, while its cancellations must still be seen.
    gone: AtomicBool,
}

struct Reader<'a, W> {
    desk: &'a Desk<'a, W>,
    queue: SyncSender<Job>,
    session: Session,
}

impl<W: Write> Reader<'_, W> {
    fn read(&mut self, input: &mut impl Read) -> io::Result<()> {
        const CHUNK_BYTES: usize = 64 * 1024;
        let mut lines = LineReader::new(BODY_BYTES_MAX);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            lines.push(match read {
                // A last line without its newline still counts.
                0 => b"\n",
                read => chunk.get(..read).unwrap_or_default(),
            });
            for line in &mut lines {
                self.line(line);
            }
            if read == 0 || self.desk.gone.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn line(&mut self, line: Result<Bytes, WireError>) {
        let batch = line.and_then(|line| match self.session.takes_batches() {
            true => decode_batch(line, BODY_BYTES_MAX),
            false => decode(line, BODY_BYTES_MAX).map(Batch::Single),
        });
        let (messages, shape) = match batch {
            Ok(Batch::Single(message)) => (vec![Ok(message)], Shape::Single),
            Ok(Batch::Many(messages)) => (messages, Shape::Array),
            Err(error) => (vec![Err(error)], Shape::Single),
        };
        let parts = messages.into_iter().filter_map(|message| self.message(message)).collect();
        self.dispatch(Job { parts, shape });
    }

    fn message(&mut self, message: Result<Message, WireError>) -> Option<Part> {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(Part::Ready(refusal(&error))),
        };
        match self.session.accept(message) {
            Step::Reply(frame) => Some(Part::Ready(frame)),
            Step::Work(work) => Some(self.desk.begin(work)),
            Step::Cancel(id) => {
                self.desk.cancel(&id);
                None
            }
            Step::Nothing => None,
        }
    }

    fn dispatch(&self, job: Job) {
        if job.parts.iter().all(|part| matches!(part, Part::Ready(_))) {
            self.desk.finish(job);
            return;
        }
        match self.queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.desk.refuse(job),
        }
    }
}

impl<W: Write> Desk<'_, W> {
    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            // The lock is held while waiting: whoever has it takes the next job.
            let job = locked(jobs).recv();
            match job {
                Ok(job) => self.finish(job),
                Err(_) => return,
            }
        }
    }

    fn begin(&self, work: Work) -> Part {
        let mut running = locked(&self.running);
        if running.contains_key(&work.id) {
            return Part::Ready(work.id_in_use());
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        running.insert(work.id.clone(), Arc::clone(&cancelled));
        Part::Work(work, cancelled)
    }

    fn cancel(&self, id: &RequestId) {
        if let Some(cancelled) = locked(&self.running).get(id) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Does what is left to do and answers.
    fn finish(&self, job: Job) {
        let answers = job.parts.into_iter().filter_map(|part| match part {
            Part::Ready(frame) => Some(frame),
            Part::Work(work, cancelled) => {
                let outcome = match cancelled.load(Ordering::Relaxed) {
                    true => Err(super::files::Fault::Cancelled),
                    false => self.files.run(&work.task, &cancelled),
                };
                locked(&self.running).remove(&work.id);
                work.answer(outcome).filter(|_| !cancelled.load(Ordering::Relaxed))
            }
        });
        self.write(answers.collect(), job.shape);
    }

    fn refuse(&self, job: Job) {
        let answers = job.parts.into_iter().map(|part| match part {
            Part::Ready(frame) => frame,
            Part::Work(work, _) => {
                locked(&self.running).remove(&work.id);
                work.busy()
            }
        });
        self.write(answers.collect(), job.shape);
    }

    fn write(&self, frames: Vec<Frame>, shape: Shape) {
        if frames.is_empty() {
            return;
        }
        let mut line = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 1).sum());
        for (n, frame) in frames.iter().enumerate() {
            match (shape, n) {
                (Shape::Array, 0) => line.push(b'['),
                (Shape::Array, _) => line.push(b','),
                (Shape::Single, _) => {}
            }
            frame.parts().iter().for_each(|part| line.extend_from_slice(part));
        }
        line.extend_from_slice(match shape {
            Shape::Array => b"]\n",
            Shape::Single => b"\n",
        });
        let mut output = locked(&self.output);
        let Output::Open(open) = &mut *output else { return };
        if let Err(error) = open.write_all(&line).and_then(|()| open.flush()) {
            *output = Output::Closed(Some(error));
            drop(output);
            self.gone.store(true, Ordering::Relaxed);
            self.cancel_all();
        }
    }

    fn cancel_all(&self) {
        for cancelled in locked(&self.running).values() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl<W> Output<W> {
    fn take_error(&mut self) -> Option<io::Error> {
        match self {
            Self::Open(_) => None,
            Self::Closed(error) => error.take(),
        }
    }
}

/// A worker that panicked leaves nothing half-done that others could see.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
