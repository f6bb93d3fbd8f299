//! What listing costs where there are many tools: the first page, and all of them.
//!
//! Times each page of `tools/list`, counts the tools, and fails if there are not as many as
//! expected. One client, one page at a time.

use std::time::Instant;

use clap::Args;

use crate::{Result, compare::middle, process, session::Session, target::Road};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    road: Road,
    /// How many there must be.
    #[arg(long)]
    tools: usize,
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// What a page may take.
    #[arg(long, default_value_t = 20.0)]
    bound_ms: f64,
    /// What may be resident of its --pid.
    #[arg(long, default_value_t = 400)]
    bound_mib: u64,
}

/// Prints a line for each target; says whether all tools came, and soon enough.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub(crate) async fn lists(options: &Options) -> Result<bool> {
    let mut kept = true;
    for target in options.road.targets.read()? {
        let mut sessions = Session::open(&target, options.road.wire, 1).await?;
        let session = sessions.first_mut().ok_or("no session")?;
        let (mut first_ms, mut whole_ms, mut n_pages) = (Vec::new(), Vec::new(), 0);
        for _ in 0..options.rounds {
            let (begun, mut n_tools, mut cursor) = (Instant::now(), 0, None);
            n_pages = 0;
            loop {
                let page = session.list(cursor.as_deref()).await?;
                if n_pages == 0 {
                    first_ms.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                n_pages += 1;
                n_tools += page.names.len();
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            whole_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            if n_tools != options.tools {
                return Err(format!("{n_tools} tools instead of {}", options.tools).into());
            }
        }
        let first = middle(first_ms).unwrap_or_default();
        let whole = middle(whole_ms).unwrap_or_default();
        println!(
            "{}: tools/list: first page {first:.2} ms, all {n_pages} pages {whole:.1} ms",
            target.name
        );
        if let Some(pid) = target.pid {
            let mib = process::resident_kib(pid) / 1024;
            println!("{}: resident {mib} MiB", target.name);
            kept &= mib <= options.bound_mib;
        }
        kept &= first <= options.bound_ms;
    }
    Ok(kept)
}
