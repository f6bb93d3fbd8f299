//! A session over the stdin and stdout of a child.
//!
//! One actor task owns the pipes, the pending calls and the queue; a call draws its number, is
//! encoded in its caller's task, and is handed over through a bounded inbox: full means `Busy`.
//! Dropping a call withdraws it. Dropping the last handle ends the tasks and kills the child;
//! `close` is the polite way. Knows nothing of eras: who asks has encoded.

mod actor;
mod desk;
mod outbox;
mod stderr;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    news::News,
    pace::Counts,
    talk::{Door, Ear, Left, Reply, Resume, Talking, Waiting},
};
use crate::{
    domain::{
        CallError, ServerName,
        limits::{STDIO_CLOSE_TIMEOUT, WATCH_NEWS_MAX},
    },
    gate::{Epoch, Latch},
    jail::{Child, Exit, Life},
    wire::{Frame, Object, Response},
};
use actor::Actor;
use desk::Desk;
use outbox::Letter;
pub use stderr::Tail;

/// The handle to one child's session.
#[derive(Clone, Debug)]
pub(super) struct Stdio(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    door: Door<Event>,
    next_id: AtomicU64,
    shared: Arc<Shared>,
    tail: Tail,
    life: Option<Life>,
    /// Aborted with the last handle.
    tasks: Mutex<JoinSet<()>>,
}

/// What the actor tells to whoever looks.
#[derive(Debug)]
struct Shared {
    counts: Counts,
    list_changed: watch::Sender<u64>,
    news: broadcast::Sender<News>,
    /// Why the session is over, once it is.
    over: watch::Sender<Option<Arc<str>>>,
}

/// What wakes the actor.
#[derive(Debug)]
enum Event {
    Asked(Asked),
    /// A notification of ours.
    Said(Frame),
    /// A request of ours, whose answer nobody waits for.
    SentOff(u64, Frame),
    /// A notification of a caller's.
    Relayed(Letter),
    Left(Left),
    /// The process has ended; its last words may still be in the pipe.
    Exited(String),
    Close,
}

/// One request on its way to the actor.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: u64,
    pub(super) frame: Frame,
    pub(super) epoch: Option<Epoch>,
    pub(super) wait: Duration,
    pub(super) ear: Option<Ear>,
    pub(super) talk: Option<Talking>,
}

/// An `Ask` with the way back.
#[derive(Debug)]
struct Asked {
    id: u64,
    frame: Frame,
    waiting: Waiting,
    resume: Option<Resume>,
}

impl From<Left> for Event {
    fn from(left: Left) -> Self {
        Self::Left(left)
    }
}

/// The pipes of a child, or of a fake one.
pub(super) struct Pipes<R, W> {
    pub(super) stdout: R,
    pub(super) stdin: W,
}

impl Stdio {
    /// Takes a child over: its pipes, its stderr and its life. What it writes goes into the tail.
    pub(super) fn adopt(
        server: &ServerName,
        child: Child,
        tail: &Tail,
        (latch, declared): (Latch, Object),
    ) -> Self {
        let Child { stdin, stdout, stderr, life } = child;
        let (pipes, tail) = (Pipes { stdout, stdin }, tail.of_newborn());
        let born = Some((life.clone(), tail.clone()));
        let this = Self::over(server, pipes, born, (latch, declared));
        let exited = async move || {
            life.exited().await;
        };
        this.spawn(stderr::drain(server.clone(), stderr, tail, exited));
        this
    }

    pub(super) fn over<R, W>(
        server: &ServerName,
        pipes: Pipes<R, W>,
        born: Option<(Life, Tail)>,
        (latch, declared): (Latch, Object),
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (door, events, uncounted) = Door::new();
        let (life, tail) = born.unzip();
        let shared = Arc::new(Shared {
            counts: Counts::default(),
            list_changed: watch::Sender::new(0),
            news: broadcast::Sender::new(WATCH_NEWS_MAX),
            over: watch::Sender::new(None),
        });
        let desk = Desk::new(server.clone(), (latch, declared), Arc::clone(&shared), uncounted);
        let this = Self(Arc::new(Inner {
            door,
            next_id: AtomicU64::new(1),
            shared,
            tail: tail.unwrap_or_default(),
            life: life.clone(),
            tasks: Mutex::default(),
        }));
        let epitaph = Epitaph(Arc::clone(&this.0.shared));
        this.spawn(live((Actor::new(pipes, desk), epitaph), events, life.clone()));
        if let Some(life) = life {
            let inbox = this.0.door.inbox.downgrade();
            this.spawn(report_exit(life, inbox));
        }
        this
    }

    /// The number of the next request: also its progress token.
    pub(super) fn draw_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer. Dropping the future withdraws the request.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Response, CallError> {
        let Ask { id, frame, epoch, wait, ear, talk } = ask;
        let deadline = Instant::now() + wait;
        let (able, resume) = talk.map(|talk| (talk.able, talk.resume)).unzip();
        let asked = |reply: Reply| {
            let waiting = Waiting { reply, ear, epoch, deadline, able, asked_as: id };
            Event::Asked(Asked { id, frame, waiting, resume: resume.flatten() })
        };
        self.0.door.ask(id, asked).await
    }

    pub(super) fn abandon(&self, token: &str) {
        self.0.door.abandon(token);
    }

    /// Sends a notification of ours.
    pub(super) async fn say(&self, frame: Frame) {
        // A session that is over says so to whoever asks it next.
        self.0.door.inbox.send(Event::Said(frame)).await.ok();
    }

    /// Sends a caller's notification while its epoch lasts.
    pub(super) fn relay(&self, frame: Frame, epoch: Epoch) {
        let letter = Letter { id: self.draw_id(), epoch: Some(epoch), frame };
        if self.0.door.inbox.try_send(Event::Relayed(letter)).is_err() {
            self.0.shared.counts.unsaid();
        }
    }

    /// Sends a request whose answer nobody waits for. May be called from a destructor.
    pub(super) fn send_off(&self, id: u64, frame: Frame) {
        if self.0.door.inbox.try_send(Event::SentOff(id, frame)).is_err() {
            self.0.shared.counts.unsaid();
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.shared.counts
    }

    pub(super) fn list_changed(&self) -> watch::Receiver<u64> {
        self.0.shared.list_changed.subscribe()
    }

    pub(super) fn lists_may_differ(&self) {
        self.0.shared.list_changed.send_modify(|n| *n += 1);
    }

    pub(super) fn news(&self) -> broadcast::Receiver<News> {
        self.0.shared.news.subscribe()
    }

    /// The last line on its stderr.
    pub(super) fn last_words(&self) -> Option<String> {
        self.0.tail.last_words()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.0.life.as_ref().map(Life::pid)
    }

    /// Waits until the session is over, and says why.
    pub(super) async fn closed(&self) -> String {
        let mut over = self.0.shared.over.subscribe();
        match over.wait_for(Option::is_some).await {
            Ok(why) => why.as_deref().unwrap_or_default().to_owned(),
            Err(_) => "the session was dropped".to_owned(),
        }
    }

    /// Ends the session in order and returns when the child is gone.
    pub(super) async fn close(&self) {
        // An inbox that is closed already means that the actor is past its end.
        self.0.door.inbox.send(Event::Close).await.ok();
        self.closed().await;
        let mut tasks = std::mem::take(&mut *self.tasks());
        let ended = async {
            while tasks.join_next().await.is_some() {}
            if let Some(life) = &self.0.life {
                life.exited().await;
            }
        };
        // Longer than the ladder takes: what has not ended then is cut off.
        tokio::time::timeout(STDIO_CLOSE_TIMEOUT, ended).await.ok();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().spawn(task);
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the actor, makes its end known, and sees the child to its grave.
async fn live<R, W>(
    (actor, _epitaph): (Actor<R, W>, Epitaph),
    events: mpsc::Receiver<Event>,
    life: Option<Life>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // The pipes are closed when this returns, which is the first rung of the ladder.
    actor.run(events).await;
    if let Some(life) = life {
        life.shut_down().await;
    }
}

/// However the actor ends, whoever waits for the end of the session hears of it.
struct Epitaph(Arc<Shared>);

impl Drop for Epitaph {
    fn drop(&mut self) {
        self.0.over.send_if_modified(|why| {
            let is_news = why.is_none();
            why.get_or_insert_with(|| "the session's own task failed".into());
            is_news
        });
    }
}

async fn report_exit(life: Life, inbox: mpsc::WeakSender<Event>) {
    let exit = life.exited().await;
    if let Some(inbox) = inbox.upgrade() {
        // Nobody listens: then the session is over already.
        inbox.send(Event::Exited(how(exit))).await.ok();
    }
}

fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}
