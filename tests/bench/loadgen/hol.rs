//! Does a slow call hold up fast ones? In the same session, and in another.
//!
//! Fast calls go out every few milliseconds, first alone and then while a slow one is under way;
//! what counts is how much the slowest of them grew. Noise of the machine does not repeat, a queue
//! does: a round over the bound is tried again, and only the best of three is judged.

use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use crate::{
    Result,
    session::{Session, Work},
    target::{Road, Target},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    road: Road,
    /// How long the slow call sleeps.
    #[arg(long, default_value_t = 5_000)]
    slow_ms: u64,
    /// By how much a fast call may grow.
    #[arg(long, default_value_t = 5.0)]
    bound_ms: f64,
}

const ROUNDS: usize = 3;
const PAUSE: Duration = Duration::from_millis(4);

/// Prints a line for each target and neighbour; says whether all kept the bound.
#[expect(clippy::print_stdout, reason = "the verdict is what it is for")]
pub(crate) async fn hol(options: &Options) -> Result<bool> {
    let mut kept = true;
    for target in options.road.targets.read()? {
        for neighbour in [Neighbour::SameSession, Neighbour::OtherSession] {
            let mut best = f64::INFINITY;
            for _ in 0..ROUNDS {
                let (alone, beside) = round(&target, options, neighbour).await?;
                best = best.min((beside.as_secs_f64() - alone.as_secs_f64()) * 1e3);
                if best < options.bound_ms {
                    break;
                }
            }
            let verdict = if best < options.bound_ms { "kept" } else { "BROKEN" };
            kept &= best < options.bound_ms;
            println!(
                "{}, {:?} wire, {neighbour:?}: a call of {} ms delays fast ones by {:.2} ms: bound of {} ms {verdict}",
                target.name,
                options.road.wire,
                options.slow_ms,
                best.max(0.0),
                options.bound_ms
            );
        }
    }
    Ok(kept)
}

/// Whose fast calls are timed.
#[derive(Clone, Copy, Debug)]
enum Neighbour {
    SameSession,
    OtherSession,
}

/// The slowest fast call, alone and beside the slow one.
async fn round(target: &Target, options: &Options, who: Neighbour) -> Result<(Duration, Duration)> {
    let mut opened = Session::open(target, options.road.wire, 2).await?.into_iter();
    let (Some(mut slow), Some(other)) = (opened.next(), opened.next()) else {
        return Err("no sessions".into());
    };
    let mut fast = match who {
        Neighbour::SameSession => slow.beside(target).await?,
        Neighbour::OtherSession => other,
    };
    let time = Duration::from_millis(options.slow_ms);
    slowest(&mut fast, Duration::from_millis(200)).await?;
    let alone = slowest(&mut fast, time.mul_f64(0.8)).await?;
    let mut under_way = JoinSet::new();
    let ms = options.slow_ms;
    let filler = "x".repeat(64);
    under_way.spawn(async move {
        slow.call(Work { tool: "sleep", filler: &filler, ms: Some(ms) }).await
    });
    // From the very moment of the slow call on, until shortly before its answer.
    let beside = slowest(&mut fast, time.mul_f64(0.8)).await?;
    let took = under_way.join_next().await.ok_or("the slow call is gone")???;
    if took < time {
        return Err(format!("the slow call took only {took:?}: nothing was measured").into());
    }
    Ok((alone, beside))
}

async fn slowest(fast: &mut Session, during: Duration) -> Result<Duration> {
    let filler = "x".repeat(64);
    let until = Instant::now() + during;
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        // A reply that never comes would be the very fault that is looked for.
        let call = fast.call(Work { tool: "echo", filler: &filler, ms: None });
        let took = tokio::time::timeout(during.saturating_mul(4), call).await??;
        slowest = slowest.max(took);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(slowest)
}
