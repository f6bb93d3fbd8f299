//! What the gate costs: one look at the latch, one judgement, one call on record.
//!
//! `cargo bench --bench gate`. The figures for `admit` include the hand-over to the audit's
//! writer and back; with 64 callers they are per call while all wait together.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints its figures")]

mod calls;
mod policies;

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    audit::{Audit, AuditThread},
    config::{Durability, HttpTarget, RiskConfig, ServerConfig, ServerRisk, Target},
    domain::{
        Call, CallIds, Kind, Labels, Matter, Nonce, Outcome, ServerName, Standing, Subject, Verdict,
    },
    gate::{Approval, Definition, Gate, Latch, Marks, Risk, RiskRules, Rules, Schema, judge},
};
use tokio::{task::JoinSet, time::Instant};

use calls::call;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct House {
    gate: Gate,
    rules: Arc<Rules>,
    schema: Arc<Schema>,
    ids: Arc<CallIds>,
    // Kept last: dropped after everybody who reports.
    _audit: AuditThread,
    _dir: tempfile::TempDir,
}

fn house(durability: Durability) -> House {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = Audit::open(&dir.path().join("audit"), durability).unwrap();
    let rules = policies::rules(1, 3);
    let schema = br#"{"type":"object","properties":{"path":{"type":"string","minLength":1},
        "head":{"type":"integer"}},"required":["path"],"additionalProperties":false}"#;
    House {
        gate: Gate::new(Latch::open(dir.path()), audit),
        rules: Arc::new(rules),
        schema: Arc::new(Schema::compile(schema).unwrap()),
        ids: Arc::new(CallIds::new(Nonce(1))),
        _audit: thread,
        _dir: dir,
    }
}

async fn admit(gate: &Gate, rules: &Rules, schema: &Schema, call: Call) {
    let (permit, ticket) = gate.admit(rules, call, Definition::Known(schema)).await.unwrap();
    black_box(gate.latch().holds(permit.epoch()));
    ticket.conclude(Outcome::Answered);
}

fn pieces(c: &mut Criterion) {
    let house = house(Durability::Cached);
    let (latch, ids) = (house.gate.latch(), &house.ids);
    let epoch = latch.epoch(Marks::default()).unwrap();
    c.bench_function("latch/holds", |b| b.iter(|| black_box(latch.holds(black_box(epoch)))));
    let one = call(ids, "t0");
    c.bench_function("judge", |b| {
        let definition = Definition::Known(&house.schema);
        let clean = Standing::default();
        b.iter(|| {
            let epoch = latch.epoch(Marks::default());
            black_box(judge(
                epoch,
                &house.rules,
                (Matter::Call(&one), definition),
                (&clean, Approval::None),
            ))
        });
    });
}

/// A conversation that has read 64 KiB of what others wrote, about to send 0.3 KB somewhere.
fn risk(c: &mut Criterion) {
    let server = ServerName::parse("files").unwrap();
    let target =
        Target::Http(HttpTarget { url: "http://localhost/".parse().unwrap(), headers: Vec::new() });
    let labels = [("t0".to_owned(), Labels::SINK)].into();
    let risk = ServerRisk { labels, ..ServerRisk::default() };
    let server = ServerConfig { risk, ..ServerConfig::new(server, target) };
    let rules = RiskRules::compile(RiskConfig::default(), &[server]);
    let memory = Risk::new();
    let weigh = |call: &Call| memory.weigh(&rules, call, Instant::now(), |_| Verdict::Allow.into());
    let ids = CallIds::new(Nonce(1));
    let fetch = Call { subject: Subject::parse(Kind::Tool, "fetch").unwrap(), ..call(&ids, "t0") };
    let page = (0..9000).map(|n| format!("word{n} ")).collect::<String>();
    let page = format!("{{\"text\":\"{page}\"}}");
    let small = br#"{"content":[{"type":"text","text":"all is well in docs/README.md"}]}"#;
    let (_, witness) = weigh(&fetch);
    witness.hear(page.as_bytes(), Instant::now());
    let text = "a few words of an ordinary message that nobody has seen before ".repeat(4);
    let arguments = format!(r#"{{"to":"bob@ours.example","body":"{text}"}}"#);
    let send = Call { arguments: arguments.into(), ..call(&ids, "t0") };
    c.bench_function("risk/weigh", |b| b.iter(|| black_box(weigh(&send))));
    c.bench_function("risk/hear 0.1 KB", |b| b.iter(|| witness.hear(small, Instant::now())));
    c.bench_function("risk/hear 64 KiB", |b| {
        b.iter(|| witness.hear(page.as_bytes(), Instant::now()));
    });
    print_slowest("risk/weigh", || timed(|| drop(black_box(weigh(&send)))));
}

fn on_record(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (name, durability) in [("cached", Durability::Cached), ("group", Durability::Group)] {
        let house = house(durability);
        c.bench_function(&format!("admit/{name}/1 caller"), |b| {
            b.iter(|| {
                let one = call(&house.ids, "t0");
                runtime.block_on(admit(&house.gate, &house.rules, &house.schema, one));
            });
        });
        c.bench_function(&format!("admit/{name}/64 callers, 64 calls"), |b| {
            b.iter(|| runtime.block_on(together(&house)));
        });
        if durability == Durability::Cached {
            print_slowest("admit/cached/1 caller", || {
                let (one, schema) = (call(&house.ids, "t0"), Definition::Known(&house.schema));
                let since = Instant::now();
                let admitted = runtime.block_on(house.gate.admit(&house.rules, one, schema));
                let took = since.elapsed();
                admitted.unwrap().1.conclude(Outcome::Answered);
                took
            });
        }
    }
}

async fn together(house: &House) {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let gate = house.gate.clone();
        let (rules, schema) = (house.rules.clone(), house.schema.clone());
        let one = call(&house.ids, "t0");
        tasks.spawn(async move { admit(&gate, &rules, &schema, one).await });
    }
    tasks.join_all().await;
}

/// What one judgement takes among a thousand policies over a hundred tools, and the slowest ones.
fn many_policies(c: &mut Criterion) {
    let house = House { rules: Arc::new(policies::rules(100, 1_000)), ..house(Durability::Cached) };
    let (latch, one) = (house.gate.latch(), call(&house.ids, "t0"));
    let judged = || {
        let definition = Definition::Known(&house.schema);
        black_box(judge(
            latch.epoch(Marks::default()),
            &house.rules,
            (Matter::Call(&one), definition),
            (&Standing::default(), Approval::None),
        ))
    };
    c.bench_function("judge/1,000 policies over 100 tools", |b| b.iter(judged));
    print_slowest("judge/1,000 policies", || timed(|| drop(judged())));
}

/// What many take, each measured alone.
fn timed(once: impl Fn()) -> Duration {
    let since = Instant::now();
    once();
    since.elapsed()
}

fn print_slowest(name: &str, once: impl Fn() -> Duration) {
    let mut took = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).unwrap();
    for _ in 0..100_000 {
        took.saturating_record(u64::try_from(once().as_nanos()).unwrap());
    }
    let us = |quantile| took.value_at_quantile(quantile) as f64 / 1_000.0;
    println!("{name}: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs", us(0.5), us(0.99), us(0.999));
}

criterion_group!(benches, pieces, many_policies, risk, on_record);
criterion_main!(benches);
