//! How many instructions the pure pieces of a call take, each with a bound that fails the run.
//!
//! `tests/run counts`: needs valgrind and the runner that the stage installs. A bound is the
//! measured count plus a fifth; whoever raises one says why. Counts do not depend on what else the
//! machine does, but do on the compiler and on the vector units that valgrind lets the program
//! see. Whatever is set up or waits (runtime, audit writer, pipes) is not counted.

#![expect(clippy::unwrap_used, reason = "a bench may stop at the first surprise")]
#![expect(clippy::exit, reason = "gungraun's own `main!` ends the process when a bound is passed")]

mod calls;
mod policies;

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use http::HeaderMap;
use portcullis::{
    domain::{Call, CallIds, Matter, Nonce, Standing, Verdict},
    gate::{
        Approval, Definition, Judgement, Latch, Marks, Risk, RiskRules, Rules, Schema, Witness,
        judge,
    },
    wire::{
        Body, Caching, CallForm, CallMethod, CallParams, ClientFace, Frame, Message, Object,
        Onward, RequestId, Tasks, Version, decode, encode_call, encode_result,
        headers::{Mismatch, ParamHeader, check_param_headers, parse_param_headers},
    },
};
use tokio::time::Instant;

const BYTES_MAX: usize = 1 << 24;

fn at_most(n_instructions: u64) -> LibraryBenchmarkConfig {
    let mut counted = Callgrind::with_args(["--cache-sim=no"]);
    counted.hard_limits([(EventKind::Ir, n_instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(counted);
    config
}

/// A `tools/call` as a modern client sends it: 0.4 KB with the shortest text.
fn call(text_bytes: usize) -> Bytes {
    let text = "x".repeat(text_bytes);
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"files__read","arguments":{{"path":"docs/readme.md","limit":100,"text":"{text}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1.0.0"}},"progressToken":"p1"}}}}}}"#
    )
    .into()
}

#[library_benchmark]
#[bench::call_400_b(args = (8), setup = call, config = at_most(18_500))]
#[bench::call_16_kib(args = (16 << 10), setup = call, config = at_most(37_500))]
fn decoded(raw: Bytes) -> Message {
    decode(black_box(raw), BYTES_MAX).unwrap()
}

/// A call that has been read, and how it is to be said upstream.
struct Outward {
    params: CallParams,
    version: Version,
    id: RequestId,
    client: ClientFace,
}

fn outward(version: Version, text_bytes: usize) -> &'static Outward {
    let Message::Request(request) = decode(call(text_bytes), BYTES_MAX).unwrap() else {
        unreachable!()
    };
    Box::leak(Box::new(Outward {
        params: CallParams::parse(CallMethod::ToolsCall, &request.params.unwrap()).unwrap(),
        version,
        id: RequestId::from_u64(1),
        client: ClientFace {
            info: r#"{"name":"portcullis","version":"0.1.0"}"#.into(),
            capabilities: "{}".into(),
        },
    }))
}

#[library_benchmark]
#[bench::modern_400_b(args = (Version::MODERN, 8), setup = outward, config = at_most(9_300))]
#[bench::modern_16_kib(args = (Version::MODERN, 16 << 10), setup = outward, config = at_most(9_450))]
#[bench::legacy_400_b(args = (Version::LATEST_LEGACY, 8), setup = outward, config = at_most(5_600))]
#[bench::legacy_16_kib(args = (Version::LATEST_LEGACY, 16 << 10), setup = outward, config = at_most(5_700))]
fn encoded_call(call: &'static Outward) -> Frame {
    let Outward { params, version, id, client } = black_box(call);
    let form = CallForm {
        version: *version,
        id,
        name: "read",
        progress_token: None,
        client,
        tasks: Tasks::Unknown,
        trace: Onward::default(),
    };
    encode_call(params, &form)
}

/// A result of ten rows, on its way to a client of `to`.
fn result(to: Version) -> (Version, RequestId, Object) {
    let row =
        |n| format!(r#"{{"id":{n},"name":"row {n}","price":{n}.25,"tags":["a","b"],"ok":true}}"#);
    let rows = (0..10).map(row).collect::<Vec<_>>().join(",");
    let raw = format!(
        r#"{{"jsonrpc":"2.0","id":17,"result":{{"content":[],"structuredContent":{{"rows":[{rows}]}}}}}}"#
    );
    let Message::Response(response) = decode(raw.into(), BYTES_MAX).unwrap() else {
        unreachable!()
    };
    let Body::Result(result) = response.body else { unreachable!() };
    (to, RequestId::from_u64(1), result)
}

#[library_benchmark]
#[bench::modern(args = (Version::MODERN), setup = result, config = at_most(4_500))]
#[bench::legacy(args = (Version::LATEST_LEGACY), setup = result, config = at_most(4_150))]
fn encoded_result((to, id, result): (Version, RequestId, Object)) -> Frame {
    encode_result(to, black_box(&id), black_box(&result), Caching::Never)
}

/// Everything that `admit` asks before it writes the intent, with a thousand policies over a
/// hundred tools.
struct Question {
    latch: Latch,
    rules: Rules,
    schema: Schema,
    call: Call,
}

fn question() -> &'static Question {
    let dir = tempfile::tempdir().unwrap();
    let schema = br#"{"type":"object","properties":{"path":{"type":"string","minLength":1},
        "head":{"type":"integer"}},"required":["path"],"additionalProperties":false}"#;
    let question: &'static Question = Box::leak(Box::new(Question {
        latch: Latch::open(dir.path()),
        rules: policies::rules(100, 1_000),
        schema: Schema::compile(schema).unwrap(),
        call: calls::call(&CallIds::new(Nonce(1)), "t0"),
    }));
    // What a policy sees of its caller is made once.
    judged_once(question);
    question
}

#[library_benchmark]
#[bench::known_tool(args = (), setup = question, config = at_most(142_700))]
fn judged(question: &'static Question) -> Judgement {
    judged_once(question)
}

fn judged_once(question: &'static Question) -> Judgement {
    let Question { latch, rules, schema, call } = black_box(question);
    judge(
        latch.epoch(Marks::default()),
        rules,
        (Matter::Call(call), Definition::Known(schema)),
        (&Standing::default(), Approval::None),
    )
}

/// A conversation that has read 8 KiB of what others wrote, and a call with 0.3 KB to somewhere.
struct Weighing {
    risk: Risk,
    rules: RiskRules,
    call: Call,
    witness: Witness,
    answer: Bytes,
    now: Instant,
}

fn weighing() -> Weighing {
    let now = Instant::now();
    let (risk, rules) = (Risk::keyed([1, 2]), RiskRules::default());
    let question = question();
    let words: String = (0..1200).map(|n| format!("word{n} ")).collect();
    let call = Call {
        arguments: format!(
            r#"{{"to":"bob@ours.example","body":"{}"}}"#,
            "a few words of an ordinary message that nobody has seen before ".repeat(4)
        )
        .into(),
        ..question.call.clone()
    };
    let (_, witness) = risk.weigh(&rules, &call, now, |_| Verdict::Allow.into());
    witness.hear(format!("{{\"text\":\"{words}\"}}").as_bytes(), now);
    Weighing { risk, rules, call, witness, answer: Bytes::new(), now }
}

fn short() -> &'static Weighing {
    Box::leak(Box::new(weighing()))
}

/// Words of all kinds.
fn prose(bytes: usize) -> String {
    let row = |n| {
        format!("On day {n} of 2026 she wrote to ann{n}@ours.example about src/lib-{n}.rs, again. ")
    };
    let mut text: String = (0..).map(row).take(bytes / 64).collect();
    text.truncate(bytes);
    text
}

/// As pictures and keys are written.
fn blob(bytes: usize) -> String {
    "abcdefghijklmnopqrstuvwxyz0123456789".chars().cycle().take(bytes).collect()
}

fn carrying(text: String) -> &'static Weighing {
    let weighing = weighing();
    let arguments = format!(r#"{{"to":"bob@ours.example","body":"{text}"}}"#).into();
    let call = Call { arguments, ..weighing.call.clone() };
    Box::leak(Box::new(Weighing { call, ..weighing }))
}

fn answering(text: String) -> &'static Weighing {
    let answer = format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#).into();
    Box::leak(Box::new(Weighing { answer, ..weighing() }))
}

const SHORT: &str = "all is well in docs/README.md";

#[library_benchmark]
#[bench::unlabelled_tool(args = (), setup = short, config = at_most(13_900))]
#[bench::prose_16_kib(args = (prose(16 << 10)), setup = carrying, config = at_most(40_400))]
#[bench::one_word_16_kib(args = (blob(16 << 10)), setup = carrying, config = at_most(47_600))]
fn weighed(of: &'static Weighing) -> (Judgement, Witness) {
    let Weighing { risk, rules, call, now, .. } = black_box(of);
    risk.weigh(rules, call, *now, |_| Verdict::Allow.into())
}

#[library_benchmark]
#[bench::answer_70_b(args = (SHORT.to_owned()), setup = answering, config = at_most(13_500))]
#[bench::prose_16_kib(args = (prose(16 << 10)), setup = answering, config = at_most(2_018_000))]
#[bench::one_word_16_kib(args = (blob(16 << 10)), setup = answering, config = at_most(124_600))]
fn heard(of: &'static Weighing) {
    let Weighing { witness, answer, now, .. } = black_box(of);
    witness.hear(answer, *now);
}

/// Two arguments that a client repeats in headers, one of them nested.
fn repeated() -> &'static (Vec<ParamHeader>, Object, HeaderMap) {
    let object = |text: &'static str| Object::parse(Bytes::from_static(text.as_bytes())).unwrap();
    let schema = object(
        r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "page":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"Page"}}}}}"#,
    );
    let arguments = object(r#"{"path":"docs/readme.md","region":"eu-west","page":{"n":42}}"#);
    let sent = [("mcp-param-region", "eu-west"), ("mcp-param-page", "42")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let headers = parse_param_headers(&schema).unwrap();
    Box::leak(Box::new((headers, arguments, sent.into_iter().collect())))
}

#[library_benchmark]
#[bench::two_agree(args = (), setup = repeated, config = at_most(6_100))]
fn headers_checked(
    repeated: &'static (Vec<ParamHeader>, Object, HeaderMap),
) -> Result<(), Mismatch> {
    let (headers, arguments, sent) = black_box(repeated);
    check_param_headers(headers, arguments, sent)
}

library_benchmark_group!(
    name = pieces,
    benchmarks = [decoded, encoded_call, encoded_result, judged, weighed, heard, headers_checked]
);
main!(library_benchmark_groups = pieces);
