//! The stop's own thread. It needs no runtime, and engages before anything else it does.
//!
//! It hears SIGUSR1 and the alarm of a panic through one socket, sees the file `STOP`, misses the
//! heartbeat, and kills what was given time to wind up. Also here: what an engagement does to
//! processes, and what keeps it from being lifted. Decides nothing: the latch and the gate do.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
    process::Signal,
};

use crate::{
    domain::limits::{ESTOP_ALARM_WAIT, ESTOP_GRACE, ESTOP_POLL},
    front::Heart,
    gate::{Category, Cause, Gate, Marks},
    jail::Jail,
    sys::spawn_vital,
};

/// What the thread is told, a byte each; the signal's handler writes the first.
const SIGNALLED: u8 = b'X';
const PANICKED: u8 = b'P';
const LOOK: u8 = b'L';

struct Watchman {
    gate: Gate,
    jail: Jail,
    heart: Option<Arc<Heart>>,
    told: UnixStream,
    /// Tells of changes in the state directory; without it the file is seen at the next look.
    stirred: Option<OwnedFd>,
    shared: Arc<Shared>,
}

struct Shared {
    tell: UnixStream,
    /// When what was given time to wind up has had it.
    winding: Mutex<Vec<Instant>>,
    /// The alarm of a panic was heard, and the stop is on disk.
    heard: AtomicBool,
}

/// Starts the thread; from now on the stop works. Nothing may be spawned before.
pub(super) fn start(gate: &Gate, jail: &Jail, heart: Option<Arc<Heart>>) -> io::Result<()> {
    let (told, tell) = UnixStream::pair()?;
    told.set_nonblocking(true)?;
    tell.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(Signal::USR1.as_raw(), tell.try_clone()?)?;
    let (winding, heard) = (Mutex::default(), AtomicBool::new(false));
    let shared = Arc::new(Shared { tell, winding, heard });
    brake(gate, jail, &shared);
    hold(gate, heart.as_ref());
    alarm_on_panic(&shared);
    let failing = gate.clone();
    gate.on_audit_failure(move || {
        failing.engage(Cause::new("audit", "the audit cannot write"));
    });
    let stirred = watch(gate.latch().directory()).ok();
    let (gate, jail) = (gate.clone(), jail.clone());
    let watchman = Watchman { gate, jail, heart, told, stirred, shared };
    spawn_vital("estop", move || watchman.run()).map(drop)
}

/// What an engagement does to processes: they are killed, and none is started.
fn brake(gate: &Gate, jail: &Jail, shared: &Arc<Shared>) {
    let latch = gate.latch().clone();
    jail.start_only(move |server| latch.epoch(Marks::of_server(server)).is_ok());
    let (latch, jail, shared) = (gate.latch().clone(), jail.clone(), Arc::clone(shared));
    gate.latch().on_engage(move |stop| match stop.category {
        Category::Kill => {
            jail.stop(|server| latch.category(Marks::of_server(server)) == Some(Category::Kill));
        }
        Category::Drain => {
            shared.winding().push(Instant::now() + ESTOP_GRACE);
            shared.tell(LOOK);
        }
    });
}

/// What has to be mended before a stop is lifted.
fn hold(gate: &Gate, heart: Option<&Arc<Heart>>) {
    let recording = gate.clone();
    gate.latch().refuse_lift_while(move || {
        (!recording.is_recording()).then(|| "the audit cannot write".to_owned())
    });
    if let Some(heart) = heart.cloned() {
        gate.latch().refuse_lift_while(move || heart.misses());
    }
}

/// A defect of ours stops everything. Takes no lock: whoever panics may hold it.
fn alarm_on_panic(shared: &Arc<Shared>) {
    let (shared, before) = (Arc::clone(shared), panic::take_hook());
    panic::set_hook(Box::new(move |what| {
        shared.tell(PANICKED);
        before(what);
        // The process may be about to end.
        let until = Instant::now() + ESTOP_ALARM_WAIT;
        while !shared.heard.load(Ordering::Acquire) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }));
}

fn watch(directory: &Path) -> rustix::io::Result<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let stirred = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&stirred, directory, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    Ok(stirred)
}

impl Watchman {
    fn run(self) {
        loop {
            self.wait();
            for word in self.heard() {
                match word {
                    SIGNALLED => drop(self.gate.engage(Cause::new("signal", "SIGUSR1"))),
                    PANICKED => self.panicked(),
                    _ => {}
                }
            }
            self.gate.heed_the_file();
            if let Some(why) = self.heart.as_ref().and_then(|heart| heart.stops()) {
                self.gate.engage(Cause::new("heartbeat", why));
            }
            self.kill_what_has_wound_up();
        }
    }

    /// Returns when there is something to hear or see, or it is time to look.
    fn wait(&self) {
        let pause = Timespec::try_from(ESTOP_POLL).ok();
        let mut fds = vec![PollFd::from_borrowed_fd(self.told.as_fd(), PollFlags::IN)];
        let stirred = self.stirred.as_ref();
        fds.extend(stirred.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        // Interrupted or not: what is there is looked at.
        poll(&mut fds, pause.as_ref()).unwrap_or_default();
        if let Some(stirred) = stirred {
            // What happened does not matter: the file is looked for by its name.
            rustix::io::read(stirred, &mut [0; 4096]).unwrap_or_default();
        }
    }

    /// Each word once, the signal first.
    fn heard(&self) -> Vec<u8> {
        let mut words = [0; 64];
        let n = (&self.told).read(&mut words).unwrap_or_default();
        let was_said = |word: &u8| words.get(..n).is_some_and(|words| words.contains(word));
        [SIGNALLED, PANICKED].into_iter().filter(was_said).collect()
    }

    fn panicked(&self) {
        self.gate.engage(Cause::new("panic", "a defect of the gateway; its log says which"));
        self.gate.latch().saved(ESTOP_ALARM_WAIT);
        self.shared.heard.store(true, Ordering::Release);
    }

    fn kill_what_has_wound_up(&self) {
        let now = Instant::now();
        let mut winding = self.shared.winding();
        let before = winding.len();
        winding.retain(|until| *until > now);
        if winding.len() < before {
            drop(winding);
            let latch = self.gate.latch();
            self.jail.stop(|server| latch.category(Marks::of_server(server)).is_some());
        }
    }
}

impl Shared {
    fn tell(&self, word: u8) {
        // If it is full, the thread has enough to hear.
        (&self.tell).write(&[word]).unwrap_or_default();
    }

    fn winding(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.winding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
