//! A verifier that was written from docs/AUDIT-FORMAT.md alone says the same as ours.

use std::{fs, path::Path, process::Command};

use super::{
    Durability, Settings, VerifyError, Wanted,
    crash::copy,
    evidence::{lines_of, long_log, rechain},
    log_dir, memory_dir, segment, verify, write_calls, write_log,
};
use crate::audit::{Audit, Counted, count_payloads};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/verify.py");

/// Whether the log is good, its last and its last signed record and what is kept beside it, or
/// its first bad record.
type Opinion = Result<(u64, u64, Counted), Option<u64>>;

fn first(dir: &Path, pubkey: &str) -> Opinion {
    let wanted = Wanted { pubkey: Some(pubkey.to_owned()), ..Wanted::default() };
    match verify(dir, &wanted) {
        Ok(told) => Ok((told.last, told.signed, count_payloads(dir).unwrap())),
        Err(VerifyError::Bad { seq, .. }) => Err(Some(seq)),
        Err(_) => Err(None),
    }
}

fn second(dir: &Path, pubkey: &str) -> Opinion {
    #[expect(clippy::disallowed_methods, reason = "the other verifier is another program")]
    let mut python = Command::new("python3");
    let output = python.arg(SCRIPT).arg(log_dir(dir)).arg(pubkey).output().unwrap();
    let told: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    match told["ok"].as_bool().unwrap() {
        true => {
            let number = |key: &str| told.pointer(key).unwrap().as_u64().unwrap();
            let counted = Counted {
                commitments: number("/payloads/commitments"),
                kept: number("/payloads/kept"),
                opened: number("/payloads/opened"),
                wrong: number("/payloads/wrong"),
            };
            Ok((number("/records"), number("/signed"), counted))
        }
        false => Err(told["record"].as_u64()),
    }
}

type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 13] = [
    ("nothing", |_| {}),
    ("a byte of a record", |dir| edit(dir, |lines| lines[1] = lines[1].replace("read", "rEad"))),
    ("a record twice", |dir| edit(dir, |lines| lines.insert(2, lines[2].clone()))),
    ("a record less", |dir| edit(dir, |lines| drop(lines.remove(2)))),
    ("two records swapped", |dir| edit(dir, |lines| lines.swap(2, 3))),
    ("a chain made anew", |dir| {
        edit(dir, |lines| {
            lines[3] = lines[3].replace("\"ts\":", "\"ts\":1");
            *lines = rechain(lines);
        });
    }),
    ("a blank in a record", |dir| edit(dir, |lines| lines[3] = lines[3].replace(",\"", ", \""))),
    ("a member twice", |dir| {
        edit(dir, |lines| lines[3] = lines[3].replacen('{', "{\"era\":\"legacy\",", 1));
    }),
    ("a segment less", |dir| fs::remove_file(log_dir(dir).join("seg/000002.jsonl")).unwrap()),
    ("the first segment less", |dir| fs::remove_file(segment(dir)).unwrap()),
    ("no tiles", |dir| fs::remove_dir_all(log_dir(dir).join("tile")).unwrap()),
    ("a signature", |dir| {
        let path = log_dir(dir).join("epoch/000001");
        let note = fs::read_to_string(&path).unwrap();
        let (text, signature) = note.rsplit_once("\n\n").unwrap();
        let (dash, coded) = signature.rsplit_once(' ').unwrap();
        let digit = |(at, c)| if at == 20 { if c == 'A' { 'B' } else { 'A' } } else { c };
        let coded: String = coded.chars().enumerate().map(digit).collect();
        fs::write(&path, format!("{text}\n\n{dash} {coded}")).unwrap();
    }),
    ("an epoch's note less", |dir| fs::remove_file(log_dir(dir).join("epoch/000000")).unwrap()),
];

fn edit(dir: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(segment(dir)).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    fs::write(segment(dir), lines.concat()).unwrap();
}

#[track_caller]
pub(super) fn assert_agreed(dir: &Path) {
    let pubkey = fs::read_to_string(log_dir(dir).join("pubkey")).unwrap();
    let ours = first(dir, pubkey.trim_end());
    assert_eq!(ours, second(dir, pubkey.trim_end()));
}

#[tokio::test]
async fn two_verifiers_agree_on_good_logs_and_on_bad_ones() {
    let dir = memory_dir();
    long_log(dir.path()).await;
    let pubkey = fs::read_to_string(log_dir(dir.path()).join("pubkey")).unwrap();
    let pubkey = pubkey.trim_end();
    for (what, damage) in DAMAGES {
        let damaged = memory_dir();
        copy(dir.path(), damaged.path());
        damage(damaged.path());
        let ours = first(damaged.path(), pubkey);
        assert_eq!(ours, second(damaged.path(), pubkey), "{what}");
        assert_eq!(ours.is_ok(), what == "nothing", "{what}");
    }
}

#[tokio::test]
async fn they_agree_on_full_tiles_and_unsigned_ends() {
    let dir = memory_dir();
    write_log(dir.path(), 300).await;
    let settings: Settings = Durability::Cached.into();
    let (audit, thread) = Audit::open(dir.path(), settings).unwrap();
    write_calls(&audit, 2).await;
    let pubkey = fs::read_to_string(log_dir(dir.path()).join("pubkey")).unwrap();
    let ours = first(dir.path(), pubkey.trim_end());
    // The vault may be behind.
    let of = |opinion: Opinion| opinion.map(|(last, signed, _)| (last, signed));
    assert_eq!(of(ours), Ok((605, 601)));
    assert_eq!(of(ours), of(second(dir.path(), pubkey.trim_end())));
    thread.finish();
    assert_agreed(dir.path());
    let lines = lines_of(dir.path());
    let mut changed = lines.clone();
    changed[299] = changed[299].replace("\"ts\":", "\"ts\":1");
    fs::write(segment(dir.path()), rechain(&changed).concat()).unwrap();
    let ours = first(dir.path(), pubkey.trim_end());
    assert_eq!(ours, Err(Some(300)));
    assert_eq!(ours, second(dir.path(), pubkey.trim_end()));
}
