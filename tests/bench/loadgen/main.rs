//! `loadgen`: calls MCP endpoints, checks every answer, and compares what it saw.
//!
//! `compare` runs several endpoints in turn and prints ratios; `hol` asks whether a slow call holds
//! up fast ones; `beside`, whether bad servers slow down a good one; `idle`, what clients cost that
//! only wait; `lists`, what listing many tools costs; `ready` waits for an endpoint. Both wires,
//! HTTP and stdio, a closed loop of sessions. `tests/bench/compare` starts what it needs and calls
//! it.

mod beside;
mod compare;
mod hol;
mod http;
mod idle;
mod lists;
mod message;
mod process;
mod round;
mod session;
mod stdio;
mod target;

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(about = "Load generator for MCP endpoints")]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the targets in turn and print ratios.
    Compare(compare::Options),
    /// Fail if a slow call holds up fast ones.
    Hol(hol::Options),
    /// Fail if bad servers slow down a good one.
    Beside(beside::Options),
    /// What waiting clients cost.
    Idle(idle::Options),
    /// What listing many tools costs.
    Lists(lists::Options),
    /// Wait until each target lists its tools.
    Ready(ReadyOptions),
}

#[derive(Debug, clap::Args)]
struct ReadyOptions {
    #[command(flatten)]
    targets: target::Targets,
    #[arg(long, value_enum, default_value_t = message::Wire::Modern)]
    wire: message::Wire,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[expect(clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let command = Command::parse();
    match run(&command.task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(task: &Task) -> Result<bool> {
    // One thread: the client shall not take the cores away from what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match task {
            Task::Compare(options) => compare::compare(options).await,
            Task::Hol(options) => hol::hol(options).await,
            Task::Beside(options) => beside::beside(options).await,
            Task::Idle(options) => idle::idle(options).await,
            Task::Lists(options) => lists::lists(options).await,
            Task::Ready(options) => ready(options).await,
        }
    })
}

async fn ready(options: &ReadyOptions) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(options.seconds);
    for target in options.targets.read()? {
        while let Err(error) = session::Session::open(&target, options.wire, 1).await {
            if Instant::now() >= until {
                return Err(format!("{} is not ready: {error}", target.name).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(true)
}
