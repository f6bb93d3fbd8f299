//! What bad servers cost a good one in the same gateway.
//!
//! The gateway is reloaded back and forth between a configuration with the good server alone and
//! one with bad servers beside it; the good server keeps its process. In each window its calls are
//! timed, while the bad servers, where there are any, are called as well. At the same time as many
//! calls go to a twin: another gateway with such a good server, which is always alone.
//!
//! A small machine differs more from one window to the next than bad servers may cost, but what it
//! does meets both gateways alike. So what counts is p99 beside the bad servers, of the twin's in
//! the same window, over the same without them.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Result,
    compare::middle,
    message::Wire,
    process,
    session::{Session, Work},
    target::{Road, Target},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The good server first, then its twin, then the bad ones.
    #[command(flatten)]
    road: Road,
    /// The program that is asked to reload; the first target has its --pid.
    #[arg(long)]
    gateway: PathBuf,
    /// Its servers.toml.
    #[arg(long)]
    config: PathBuf,
    /// What stands in it while the good server is alone.
    #[arg(long)]
    alone: PathBuf,
    /// What stands in it while the bad ones are there.
    #[arg(long)]
    beside: PathBuf,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Length of each window.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// So long before each window it is the same, and nothing is timed.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Callers of the good server.
    #[arg(long, default_value_t = 4)]
    sessions: u32,
    /// How often p99 beside bad servers may be what it is alone.
    #[arg(long, default_value_t = 1.1)]
    bound: f64,
}

/// Between two calls of one caller.
const PAUSE: Duration = Duration::from_millis(4);
/// The same at a bad server: it is not the calls there that are to be paid for.
const PAUSE_AT_THE_BAD: Duration = Duration::from_millis(50);
const WAIT: Duration = Duration::from_secs(30);

/// How often the rounds are drawn anew, to see how far chance goes.
const DRAWS: usize = 2_000;

/// One window.
#[derive(Clone, Copy, Debug)]
struct Window {
    good: Took,
    twin: Took,
    /// Of the gateway, as a share of one core.
    cpu: f64,
}

#[derive(Clone, Copy, Debug)]
struct Took {
    p50_us: f64,
    p99_us: f64,
}

/// A window without the bad servers and the next one with them.
#[derive(Clone, Copy, Debug)]
struct Round {
    alone: Window,
    beside: Window,
}

/// What callers of a bad server saw.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    answered: u64,
    failed: u64,
}

/// Prints what was seen; says whether the growth is within the bound.
#[expect(clippy::print_stdout, reason = "the verdict is what it is for")]
pub(crate) async fn beside(options: &Options) -> Result<bool> {
    let targets = options.road.targets.read()?;
    let [good, twin, bad @ ..] = targets.as_slice() else {
        return Err("two targets are needed at least".into());
    };
    let pid = good.pid.ok_or("the --pid of the gateway is needed")?;
    let (wire, n_alone) = (options.road.wire, process::count(pid));
    let sessions = [
        Session::open(good, wire, options.sessions).await?,
        Session::open(twin, wire, options.sessions).await?,
    ];
    let mut drill = Drill { options, bad, pid, sessions };
    let mut rounds = Vec::new();
    let mut ends = vec![Ends::default(); bad.len()];
    for _ in 0..options.rounds {
        drill.reload(&options.alone)?;
        until("the bad servers to be gone", || process::count(pid) <= n_alone).await?;
        let alone = drill.window().await?;
        drill.reload(&options.beside)?;
        rounds.push(Round { alone, beside: drill.among(&mut ends).await? });
    }
    describe("alone", &rounds, |round| round.alone);
    describe("beside", &rounds, |round| round.beside);
    for (server, Ends { answered, failed }) in bad.iter().zip(&ends) {
        println!("{}: {answered} calls answered, {failed} failed", server.name);
    }
    let p99 = growth(&rounds).ok_or("no windows")?;
    let (low, high) = by_chance(&rounds).ok_or("no windows")?;
    let kept = p99 <= options.bound;
    println!(
        "p99 beside them is {p99:.3} of what it is alone ({low:.2} to {high:.2} in 95 of 100 \
         draws), each of the twin's: bound of {} {}",
        options.bound,
        if kept { "kept" } else { "BROKEN" }
    );
    Ok(kept)
}

#[expect(clippy::print_stdout, reason = "the verdict is what it is for")]
fn describe(name: &str, rounds: &[Round], which: fn(&Round) -> Window) {
    let median = |figure: fn(Window) -> f64| {
        middle(rounds.iter().map(|round| figure(which(round))).collect()).unwrap_or_default()
    };
    println!(
        "{name}: p50 {:.0} µs, p99 {:.0} µs, {:.1} % of a core in the gateway; its twin: {:.0} \
         and {:.0} µs",
        median(|window| window.good.p50_us),
        median(|window| window.good.p99_us),
        100.0 * median(|window| window.cpu),
        median(|window| window.twin.p50_us),
        median(|window| window.twin.p99_us),
    );
}

/// Of the good server's p99, as a share of its twin's.
fn growth(rounds: &[Round]) -> Option<f64> {
    let share = |window: Window| window.good.p99_us / window.twin.p99_us;
    let median = |which: fn(&Round) -> Window| {
        middle(rounds.iter().map(|round| share(which(round))).collect())
    };
    Some(median(|round| round.beside)? / median(|round| round.alone)?)
}

/// Between what it lies in 95 of 100 draws of as many rounds.
fn by_chance(rounds: &[Round]) -> Option<(f64, f64)> {
    // Marsaglia's xorshift: the same draws each time.
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let n = usize::try_from(dice >> 32).unwrap_or_default();
        rounds.get(n % rounds.len().max(1)).copied()
    };
    let mut drawn = Vec::new();
    for _ in 0..DRAWS {
        let some: Vec<Round> = rounds.iter().filter_map(|_| draw()).collect();
        drawn.push(growth(&some)?);
    }
    drawn.sort_by(f64::total_cmp);
    Some((*drawn.get(DRAWS / 40)?, *drawn.get(DRAWS - DRAWS / 40 - 1)?))
}

struct Drill<'a> {
    options: &'a Options,
    bad: &'a [Target],
    pid: u32,
    /// Callers of the good server, and of its twin.
    sessions: [Vec<Session>; 2],
}

impl Drill<'_> {
    /// The bad servers are there, and each has a caller as well.
    async fn among(&mut self, ends: &mut [Ends]) -> Result<Window> {
        let mut callers = JoinSet::new();
        let (tell, told) = watch::channel(());
        for (target, n) in self.bad.iter().zip(0_usize..) {
            let session = listed(target, self.options.road.wire).await?;
            let told = told.clone();
            callers.spawn(async move { (n, call_until(session, told).await) });
        }
        let window = self.window().await?;
        drop(tell);
        for (n, seen) in callers.join_all().await {
            if let Some(ends) = ends.get_mut(n) {
                ends.answered += seen.answered;
                ends.failed += seen.failed;
            }
        }
        Ok(window)
    }

    /// Times calls of both; each must be answered rightly.
    async fn window(&mut self) -> Result<Window> {
        self.calls_for(self.options.warmup).await?;
        self.calls_for(self.options.seconds).await
    }

    async fn calls_for(&mut self, seconds: f64) -> Result<Window> {
        let span = Duration::try_from_secs_f64(seconds)?;
        let (until, cpu) = (Instant::now() + span, process::cpu_of(self.pid));
        let [good, twin] = &mut self.sessions;
        let (good, twin) = tokio::try_join!(calls(good, until), calls(twin, until))?;
        let cpu = process::cpu_of(self.pid).saturating_sub(cpu).as_secs_f64() / span.as_secs_f64();
        Ok(Window { good, twin, cpu })
    }

    #[expect(clippy::disallowed_methods, reason = "the load generator is not the gateway")]
    fn reload(&self, file: &PathBuf) -> Result<()> {
        let Options { gateway, config, .. } = self.options;
        fs::copy(file, config)?;
        let mut command = Command::new(gateway);
        command.arg("reload").arg("--config").arg(config).stdout(Stdio::null());
        match command.status()?.success() {
            true => Ok(()),
            false => Err("the reload was refused".into()),
        }
    }
}

/// Each calls again and again, with a pause, until that moment.
async fn calls(sessions: &mut Vec<Session>, until: Instant) -> Result<Took> {
    let mut callers = JoinSet::new();
    for mut session in sessions.drain(..) {
        callers.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let work = Work { tool: "echo", filler: "good", ms: None };
                took.push(timeout(WAIT, session.call(work)).await??.as_secs_f64() * 1e6);
                sleep(PAUSE).await;
            }
            Result::Ok((session, took))
        });
    }
    let mut all = Vec::new();
    for done in callers.join_all().await {
        let (session, took) = done?;
        sessions.push(session);
        all.extend(took);
    }
    all.sort_by(f64::total_cmp);
    let at = |share: usize| all.get(all.len() * share / 100).copied().ok_or("no calls");
    Ok(Took { p50_us: at(50)?, p99_us: at(99)? })
}

/// Calls one after the other, whatever comes of them, until there is nobody to tell.
async fn call_until(mut session: Session, mut told: watch::Receiver<()>) -> Ends {
    let mut seen = Ends::default();
    let calls = async {
        loop {
            let answer = session.call(Work { tool: "echo", filler: "bad", ms: None }).await;
            *if answer.is_ok() { &mut seen.answered } else { &mut seen.failed } += 1;
            sleep(PAUSE_AT_THE_BAD).await;
        }
    };
    tokio::select! {
        () = calls => {}
        _ = told.changed() => {}
    }
    seen
}

/// A session to a server that the gateway has just been told of.
async fn listed(target: &Target, wire: Wire) -> Result<Session> {
    let until = Instant::now() + WAIT;
    loop {
        match Session::open(target, wire, 1).await {
            Ok(mut sessions) => return sessions.pop().ok_or_else(|| "no session".into()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let until = Instant::now() + WAIT;
    while !is_so() {
        if Instant::now() >= until {
            return Err(format!("waited too long for {what}").into());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
