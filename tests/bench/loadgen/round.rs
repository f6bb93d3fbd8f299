//! One round: so many sessions call in a closed loop for so long, at one target.
//!
//! Counts only calls that began after the warm-up. An error ends its session and is reported with
//! its text: a figure with errors is no figure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{
    Result,
    message::Wire,
    process,
    session::{Session, Work},
    target::Target,
};

/// How long the last calls of a round may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) wire: Wire,
    pub(crate) sessions: u32,
    /// As long as the text shall be.
    pub(crate) filler: Arc<str>,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of the target's process, where it is known.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) peak_mib: Option<f64>,
    pub(crate) errors: Vec<String>,
}

struct Tally {
    /// Nanoseconds.
    latency: Histogram<u64>,
    error: Option<String>,
}

pub(crate) async fn run(target: &Target, plan: &Plan) -> Result<Figures> {
    let sessions = Session::open(target, plan.wire, plan.sessions).await?;
    let pid = target.pid;
    let began = Instant::now();
    let (from, until) = (began + plan.warmup, began + plan.warmup + plan.duration);
    let mut workers = JoinSet::new();
    for session in sessions {
        workers.spawn(work(session, Arc::clone(&plan.filler), from, until));
    }
    tokio::time::sleep_until(from.into()).await;
    pid.inspect(|pid| process::reset_peak(*pid));
    let (cpu, start) = (pid.map(process::cpu), Instant::now());
    tokio::time::sleep_until(until.into()).await;
    let cpu = pid.map(process::cpu).zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let seconds = start.elapsed().as_secs_f64();
    let peak_kib = pid.map(process::peak_kib);

    let mut latency = histogram()?;
    let mut errors = Vec::new();
    // A call without an answer must not look like a long round.
    let late = |_| format!("no answer within {ANSWER_MAX:?} to a call that was under way");
    while let Some(tally) =
        tokio::time::timeout(ANSWER_MAX, workers.join_next()).await.map_err(late)?
    {
        let tally = tally??;
        latency.add(tally.latency)?;
        errors.extend(tally.error);
    }
    let calls = float(latency.len());
    Ok(Figures {
        calls_per_second: calls / seconds,
        p50_us: float(latency.value_at_quantile(0.5)) / 1e3,
        p99_us: float(latency.value_at_quantile(0.99)) / 1e3,
        cpu_us: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / calls),
        peak_mib: peak_kib.map(|kib| float(kib) / 1024.0),
        errors,
    })
}

async fn work(
    mut session: Session,
    filler: Arc<str>,
    from: Instant,
    until: Instant,
) -> Result<Tally> {
    let mut tally = Tally { latency: histogram()?, error: None };
    loop {
        let began = Instant::now();
        if began >= until {
            break;
        }
        match session.call(Work { tool: "echo", filler: &filler, ms: None }).await {
            Ok(took) if began >= from => {
                tally.latency.record(u64::try_from(took.as_nanos())?)?;
            }
            Ok(_) => {}
            Err(error) => {
                tally.error = Some(error.to_string());
                return Ok(tally);
            }
        }
    }
    tally.error = session.close().await.err().map(|error| error.to_string());
    Ok(tally)
}

/// Up to a minute, three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}
