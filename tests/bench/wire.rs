//! What one message costs on the wire's side: the strict scan by size, and one spliced call.
//!
//! Run with `cargo bench --bench wire`. Ratios count, figures depend on the machine. The scan of
//! rows shows the price of tokens, the other scans that of string bytes.
#![expect(clippy::unwrap_used, reason = "a bench may stop at the first surprise")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::wire::{
    Caching, CallForm, CallMethod, CallParams, ClientFace, Message, Object, Onward, RequestId,
    Tasks, Version, decode, encode_call, encode_result,
};

const BYTES_MAX: usize = 1 << 24;

/// A `tools/call` as a modern client sends it: 0.4 KB with the shortest text.
fn call(text_bytes: usize) -> Bytes {
    let text = "x".repeat(text_bytes);
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"files__read","arguments":{{"path":"docs/readme.md","limit":100,"text":"{text}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1.0.0"}},"progressToken":"p1"}}}}}}"#
    )
    .into()
}

/// A result of many small rows, where tokens and not string bytes are the work.
fn rows(n: usize) -> Bytes {
    let row =
        |n| format!(r#"{{"id":{n},"name":"row {n}","price":{n}.25,"tags":["a","b"],"ok":true}}"#);
    let rows: Vec<_> = (0..n).map(row).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"result":{{"content":[],"structuredContent":{{"rows":[{}]}}}}}}"#,
        rows.join(",")
    )
    .into()
}

fn params(raw: Bytes) -> CallParams {
    let Message::Request(request) = decode(raw, BYTES_MAX).unwrap() else { unreachable!() };
    CallParams::parse(CallMethod::ToolsCall, &request.params.unwrap()).unwrap()
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    let cases = [
        ("call 0.4 KB", call(8)),
        ("call 16 KiB", call(16 << 10)),
        ("call 1 MiB", call(1 << 20)),
        ("rows 160 KB", rows(2000)),
    ];
    for (name, raw) in cases {
        group.throughput(Throughput::Bytes(u64::try_from(raw.len()).unwrap()));
        group.bench_function(name, |b| b.iter(|| Object::parse(black_box(raw.clone())).unwrap()));
    }
    group.finish();
}

fn messages(c: &mut Criterion) {
    let raw = call(8);
    c.bench_function("decode call 0.4 KB", |b| {
        b.iter(|| decode(black_box(raw.clone()), BYTES_MAX).unwrap());
    });
    c.bench_function("decode and read call 0.4 KB", |b| {
        b.iter(|| params(black_box(raw.clone())));
    });
    let id = RequestId::from_u64(1);
    let client = ClientFace {
        info: r#"{"name":"portcullis","version":"0.1.0"}"#.into(),
        capabilities: "{}".into(),
    };
    for (name, version, bytes) in [
        ("encode call 0.4 KB modern", Version::MODERN, 8),
        ("encode call 0.4 KB legacy", Version::LATEST_LEGACY, 8),
        ("encode call 1 MiB modern", Version::MODERN, 1 << 20),
    ] {
        let params = params(call(bytes));
        let form = CallForm {
            version,
            id: &id,
            name: "read",
            progress_token: None,
            client: &client,
            tasks: Tasks::Unknown,
            trace: Onward::default(),
        };
        c.bench_function(name, |b| b.iter(|| encode_call(black_box(&params), &form)));
    }
    let Message::Response(response) = decode(rows(10), BYTES_MAX).unwrap() else { unreachable!() };
    let portcullis::wire::Body::Result(result) = response.body else { unreachable!() };
    c.bench_function("encode result", |b| {
        b.iter(|| encode_result(Version::MODERN, &id, black_box(&result), Caching::Never));
    });
}

criterion_group!(benches, scan, messages);
criterion_main!(benches);
