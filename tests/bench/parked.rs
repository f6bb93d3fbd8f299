//! 1,000 questions that nobody answers: after their time nothing of them is left.
//!
//! The whole gateway runs as a process of its own, on a clock that this program moves on, so that
//! ten minutes pass at once; servers and clients are real. As many calls without questions come
//! first, and once more last: what those leave, caches and tables for the same callers, is the
//! baseline. Counts the calls that the servers were told to forget, the processes and sessions that
//! are left, what the gateway has allocated and not freed, and what of that is resident: an
//! allocator gives back when it is used again. `cargo test --test parked` checks and prints it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program that measures starts processes itself, and fails loudly"
)]

#[path = "parked/house.rs"]
mod house;
#[path = "upstream/port.rs"]
mod port;

use std::{
    env, io,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use cap::Cap;
use house::{House, Tool};
use portcullis::{
    app::{self, Mode},
    config,
    domain::limits::{LEASE_IDLE_MAX, QUESTION_WAIT_MAX},
    gate::Rules,
    jail,
    sys::Inherited,
    telemetry,
};

#[global_allocator]
static ALLOCATOR: Cap<mimalloc::MiMalloc> = Cap::new(mimalloc::MiMalloc, usize::MAX);

/// Modern callers share one session a server; each legacy conversation has one of its own. On a
/// pipe one call at a time is asked, because nothing else tells whose a question is.
const MODERN_OVER_STDIO: usize = 100;
const MODERN_OVER_HTTP: usize = 500;
const HTTP_CALLERS: usize = 10;
const CONVERSATIONS: usize = 20;
const CALLS_EACH: usize = 20;
const ALL: usize = MODERN_OVER_STDIO + MODERN_OVER_HTTP + CONVERSATIONS * CALLS_EACH;
const ROUNDS: usize = 4;
/// What one of the rounds at most leaves behind the one before: a thirtieth of a KiB a question.
const GROWTH_KIB_MAX: u64 = 32;
/// What all rounds may leave: tables that have grown once.
const LEFT_KIB_MAX: u64 = 1024;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("__exec") => jail::helper_main(),
        Some("gateway") => gateway(Path::new(words.get(2).unwrap())),
        Some(_) | None => {
            measure();
            ExitCode::SUCCESS
        }
    }
}

/// Asks the child how many KiB it has allocated and not freed.
const HEAP: &str = "heap";

/// The child: the gateway, whose clock moves on by as many seconds as each line of stdin says.
fn gateway(config: &Path) -> ExitCode {
    telemetry::init().unwrap();
    let config = config::load(config).unwrap();
    let rules = Rules::compile(&config).unwrap();
    let (seconds, mut to_pass) = tokio::sync::mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map(Result::unwrap) {
            match line.as_str() {
                HEAP => println!("{}", ALLOCATOR.allocated() / 1024),
                _ => seconds.blocking_send(line.parse().unwrap()).unwrap(),
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let moved_on = async {
            while let Some(seconds) = to_pass.recv().await {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(seconds)).await;
                tokio::time::resume();
            }
        };
        tokio::select! {
            ended = Box::pin(app::run(config, rules, Mode::Listen, Inherited::default())) => ended.unwrap(),
            () = moved_on => {}
        }
    });
    // Standard input may be blocked in a read.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn measure() {
    let house = House::start();
    let sessions: Vec<String> = (0..CONVERSATIONS).map(|_| house.initialize()).collect();
    let bare = house.census();
    println!("before: {bare:?}");
    let idle = |after: Duration| {
        // The sessions have been idle since their last call.
        house.pass(LEASE_IDLE_MAX.saturating_sub(after));
        house.until("every session to be ended", |now| {
            (now.children, now.http_sessions) == (bare.children, bare.http_sessions)
        });
        house.settled()
    };
    let answered = |round| {
        drop(house.call(&sessions, round, Tool::Answers));
        let left = idle(Duration::ZERO);
        println!("answered: {left:?}");
        left
    };
    let warm = answered(0);
    let mut left = Vec::new();
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let streams = house.call(&sessions, round, Tool::Asks);
        let parked = house.census();
        assert!(parked.children > bare.children + CONVERSATIONS, "{parked:?} after {bare:?}");
        assert_eq!(parked.http_sessions, bare.http_sessions + 1);
        println!("round {round}: {ALL} parked in {:?}: {parked:?}", began.elapsed());
        house.pass(QUESTION_WAIT_MAX);
        house.until("every call to be called back", |now| now.cancelled == round * ALL);
        drop(streams);
        left.push(idle(QUESTION_WAIT_MAX));
        println!("round {round}: nobody answered: {:?}", left[round - 1]);
    }
    let heap: Vec<u64> = left.iter().map(|one| one.heap_kib).collect();
    let growths = heap.windows(2).map(|two| two[1].saturating_sub(two[0]));
    assert!(growths.min() <= Some(GROWTH_KIB_MAX), "each round leaves something: {heap:?}");
    assert!(heap[ROUNDS - 1] <= warm.heap_kib + LEFT_KIB_MAX, "memory does not return: {heap:?}");
    let after = answered(ROUNDS + 1);
    assert!(after.resident_kib <= warm.resident_kib * 3 / 2, "nothing is given back");
}
