//! Several targets in turn, round after round, and the ratios between them.
//!
//! Machines are noisy, so each ratio is taken between neighbours of one round and the median over
//! the rounds is shown. The first target is the base (direct to the upstream); a third and further
//! ones are rows of their own, to which the second is compared.

use std::time::Duration;

use clap::Args;

use crate::{
    Result,
    round::{Figures, Plan, run},
    target::{Road, Target},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    road: Road,
    #[arg(long, value_delimiter = ',', default_value = "1,16,128")]
    sessions: Vec<u32>,
    /// Lengths of the text.
    #[arg(long, value_delimiter = ',', default_value = "64,16384,1048576")]
    bytes: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0.4)]
    warmup: f64,
}

/// One figure of one target, over the rounds.
type Figure = fn(&Figures) -> Option<f64>;

/// Prints the table; says whether there were no errors.
pub(crate) async fn compare(options: &Options) -> Result<bool> {
    let targets = options.road.targets.read()?;
    let mut clean = true;
    header(options);
    for bytes in &options.bytes {
        for sessions in &options.sessions {
            let plan = Plan {
                wire: options.road.wire,
                sessions: *sessions,
                filler: "x".repeat(*bytes).into(),
                warmup: Duration::try_from_secs_f64(options.warmup)?,
                duration: Duration::try_from_secs_f64(options.seconds)?,
            };
            let figures = rounds(&targets, &plan, options.rounds).await?;
            let case = format!("{sessions} × {}", size(*bytes));
            clean &= report(&case, &targets, &figures);
        }
    }
    Ok(clean)
}

/// Rounds of each target. Every other round goes backwards, so that nobody always comes first.
async fn rounds(targets: &[Target], plan: &Plan, n: usize) -> Result<Vec<Vec<Figures>>> {
    let mut figures = vec![Vec::new(); targets.len()];
    for round in 0..n {
        let mut turn: Vec<_> = targets.iter().zip(&mut figures).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (target, figures) in turn {
            let error = |error| format!("{}: {error}", target.name);
            figures.push(run(target, plan).await.map_err(error)?);
        }
    }
    Ok(figures)
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn header(options: &Options) {
    println!(
        "{:?} wire, {} rounds of {} s a target",
        options.road.wire, options.rounds, options.seconds
    );
    println!(
        "| sessions × text | target | calls/s | ÷ direct | p50 µs | added | p99 µs | added | CPU µs a call | peak MiB | errors |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn report(case: &str, targets: &[Target], figures: &[Vec<Figures>]) -> bool {
    let mut clean = true;
    let Some(base) = figures.first() else { return false };
    for (target, own) in targets.iter().zip(figures) {
        let errors: Vec<&String> = own.iter().flat_map(|figures| &figures.errors).collect();
        clean &= errors.is_empty();
        let calls: Figure = |f| Some(f.calls_per_second);
        let (p50, p99): (Figure, Figure) = (|f| Some(f.p50_us), |f| Some(f.p99_us));
        let cells = [
            shown(median(own, calls), 0),
            shown(paired(own, base, calls, |own, base| own / base), 3),
            shown(median(own, p50), 1),
            shown(paired(own, base, p50, |own, base| own - base), 1),
            shown(median(own, p99), 1),
            shown(paired(own, base, p99, |own, base| own - base), 1),
            shown(median(own, |f| f.cpu_us), 1),
            shown(own.iter().filter_map(|f| f.peak_mib).reduce(f64::max), 1),
            errors.len().to_string(),
        ];
        println!("| {case} | {} | {} |", target.name, cells.join(" | "));
        if let Some(error) = errors.first() {
            println!("  {}: {error}", target.name);
        }
    }
    against(case, targets, figures);
    clean
}

/// The second target beside the third and further ones: what the targets are written in.
#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn against(case: &str, targets: &[Target], figures: &[Vec<Figures>]) {
    let ([_, ours, others @ ..], [base, own, rest @ ..]) = (targets, figures) else { return };
    for (other, theirs) in others.iter().zip(rest) {
        let ratio = |figure: Figure| paired(own, theirs, figure, |own, theirs| own / theirs);
        let p50: Figure = |f| Some(f.p50_us);
        let added = |of: &[Figures]| paired(of, base, p50, |of, base| of - base);
        let added = added(own).zip(added(theirs)).map(|(own, theirs)| own / theirs);
        println!(
            "  {case}: {} ÷ {}: calls/s {}, CPU a call {}, added p50 {}",
            ours.name,
            other.name,
            shown(ratio(|f| Some(f.calls_per_second)), 3),
            shown(ratio(|f| f.cpu_us), 3),
            shown(added, 3),
        );
    }
}

fn median(figures: &[Figures], figure: Figure) -> Option<f64> {
    middle(figures.iter().filter_map(figure).collect())
}

fn paired(
    own: &[Figures],
    base: &[Figures],
    figure: Figure,
    of: fn(f64, f64) -> f64,
) -> Option<f64> {
    let pairs = own.iter().zip(base);
    middle(pairs.filter_map(|(own, base)| Some(of(figure(own)?, figure(base)?))).collect())
}

/// The median.
pub(crate) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.len() / 2, values.len().saturating_sub(1) / 2);
    Some(f64::midpoint(*values.get(lower)?, *values.get(upper)?))
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn size(bytes: usize) -> String {
    match bytes {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}
