//! How fast the stop is: from the signal to the last byte that a server receives, under full load
//! and with the runtime blocked on purpose; until 200 hostile processes are gone; until it is on
//! disk; and that it is still there when the gateway is killed as soon as it is.
//!
//! The gateway runs as a process of its own, as it always does, but for a runtime that can be
//! wedged from outside. Server and clients share this process and its clock. What is measured ends
//! where the server has read the request, so it is more than what the gateway took. `cargo test
//! --test halted` prints the figures and fails far beyond them, for a machine that does other work;
//! `PORTCULLIS_HALTS=2000` takes so many rounds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program that measures starts processes itself, and fails loudly"
)]

#[path = "upstream/answer.rs"]
mod answer;
#[path = "halted/house.rs"]
mod house;
#[path = "halted/load.rs"]
mod load;
#[path = "upstream/port.rs"]
mod port;

use std::{
    env, fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use portcullis::jail;

use house::House;
use load::{Clients, Upstream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SOON: Duration = Duration::from_secs(60);
const CLIENTS: usize = 16;
const SERVERS: usize = 25;
/// Of each server: its shell, and daemons in sessions of their own.
const PROCESSES_EACH: usize = 8;
const PURGES: usize = 5;
const KILLS: usize = 20;

/// What fails the run. The aims are 10, 100 and 50 ms; a machine that does everything at once takes
/// longer to let anybody run at all.
const LATE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("__exec") => jail::helper_main(),
        Some("gateway") => house::gateway(Path::new(words.get(2).unwrap())),
        Some(_) | None => {
            let rounds = env::var("PORTCULLIS_HALTS").map_or(25, |n| n.parse().unwrap());
            under_load(rounds);
            processes();
            kills();
            ExitCode::SUCCESS
        }
    }
}

/// The three figures of a gateway that is kept busy.
fn under_load(rounds: usize) {
    let upstream = Upstream::start();
    let mut house = House::start(&format!("[servers.up]\nurl = \"{}\"\n", upstream.url));
    house.until_ready();
    let clients = Clients::start(house.port, CLIENTS);
    let halt = |house: &mut House, is_blocked: bool| {
        clients.go_on(&upstream);
        if is_blocked {
            house.block();
        }
        let since = Instant::now();
        house.signal();
        if is_blocked {
            // Nothing of the runtime moves, and it is stopped all the same.
            house.until_saved();
            house.admin_answers();
            house.free();
        }
        clients.until_refused();
        let last = upstream.last();
        house.lift();
        last.saturating_duration_since(since)
    };
    let running: Vec<_> = (0..rounds).map(|_| halt(&mut house, false)).collect();
    tell("signal to last byte, full load", running);
    let blocked: Vec<_> = (0..rounds).map(|_| halt(&mut house, true)).collect();
    tell("signal to last byte, blocked runtime", blocked);
    let saved = || {
        let since = Instant::now();
        let told =
            house.door("POST /admin/estop", r#"{"reason":"bench","scope":"principal:none"}"#);
        let took = since.elapsed();
        assert!(told.contains("\"saved\":true"), "{told}");
        house.lift();
        took
    };
    tell("asked to on disk, full load", (0..rounds).map(|_| saved()).collect());
    println!("{} calls reached the server in all", upstream.n_calls());
    clients.end();
}

/// Processes that ignore SIGTERM and have left their session and their parent.
fn processes() {
    let mark = format!("86399.{}", std::process::id());
    let daemons = format!("(setsid sleep {mark} &); ").repeat(PROCESSES_EACH - 1);
    let script = format!("trap '' TERM; {daemons}while read never; do :; done; sleep {mark}");
    let table = |n| {
        format!(
            "[servers.s{n}]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\nstartup_timeout_sec = 600\n"
        )
    };
    let mut house = House::start(&(0..SERVERS).map(table).collect::<String>());
    let mut gone_in = || {
        let mut pids = Vec::new();
        until("all processes", || {
            pids = house::marked(&mark);
            pids.len() == SERVERS * PROCESSES_EACH
        });
        house.block();
        let since = Instant::now();
        house.signal();
        until("all processes to be gone", || !pids.iter().any(|pid| is_there(*pid)));
        let took = since.elapsed();
        house.until_saved();
        assert_eq!(house::marked(&mark), [0; 0], "none was started meanwhile");
        house.free();
        house.lift();
        took
    };
    tell("signal to 200 processes gone, blocked runtime", (0..PURGES).map(|_| gone_in()).collect());
}

/// The gateway dies at the first moment at which anything of the stop can be seen: its mark, or its
/// file.
fn kills() {
    let mut house = House::start("");
    let (mut early, mut late) = (0, 0);
    for round in 0..KILLS {
        house.signal();
        let is_early = round % 2 == 0;
        if is_early {
            house.until_marked();
        } else {
            house.until_saved();
        }
        house.kill();
        if house.is_saved() {
            late += 1;
        } else {
            early += 1;
        }
        house = house.again();
        let told = house.door("GET /admin/estop", "");
        assert!(told.contains("\"engaged\":true"), "round {round}: {told}");
        house.lift();
    }
    println!("killed {early} times before the stop was in its file, {late} times after: stopped");
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() * share / 1000).min(took.len() - 1)).unwrap();
    let (half, rare, rarest, most) = (at(500), at(990), at(999), at(1000));
    println!(
        "{what}: p50 {half:.1?}, p99 {rare:.1?}, p99.9 {rarest:.1?}, most {most:.1?} of {}",
        took.len()
    );
    assert!(*most <= LATE, "{what}: {most:?}");
}

/// Looks until it is so, often: this is what is timed, and shall not take a core from it.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_micros(200));
    }
}
