//! Claims on what `verify` finds: every kind of tampering, by its first bad record.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Audit, Durability, Settings, VerifyError, Wanted, crash::copy, kinds, log, log_dir, memory_dir,
    open, segment, verified, verify, write_calls, write_log,
};
use crate::audit::{
    Record,
    log::{Disk, find},
    tlog::{Edge, leaf},
};

#[track_caller]
pub(super) fn first_bad_of(dir: &Path, wanted: &Wanted, want: u64) -> String {
    match verify(dir, wanted) {
        Err(VerifyError::Bad { seq, what, .. }) => {
            assert_eq!(seq, want, "{what}");
            what
        }
        other => panic!("expected record {want} to be bad, found {other:?}"),
    }
}

#[track_caller]
fn first_bad(dir: &Path, lines: &[String], want: u64) {
    fs::write(segment(dir), lines.concat()).unwrap();
    first_bad_of(dir, &Wanted::default(), want);
}

pub(super) fn lines_of(dir: &Path) -> Vec<String> {
    log(dir).split_inclusive('\n').map(str::to_owned).collect()
}

#[tokio::test]
async fn verify_names_the_first_record_that_was_tampered_with() {
    let dir = memory_dir();
    write_log(dir.path(), 3).await;
    let lines = lines_of(dir.path());
    assert_eq!(lines.len(), 7);
    for at in 0..lines.len() {
        let seq = u64::try_from(at + 1).unwrap();
        // Flip one bit of every byte, the line feed included.
        for byte in 0..lines[at].len() {
            let mut changed = lines.clone();
            let mut bytes = changed[at].clone().into_bytes();
            bytes[byte] ^= 1;
            changed[at] = String::from_utf8_lossy(&bytes).into_owned();
            first_bad(dir.path(), &changed, seq);
        }
        let mut shortened = lines.clone();
        shortened[at].remove(30);
        first_bad(dir.path(), &shortened, seq);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        first_bad(dir.path(), &doubled, seq + 1);
        let mut foreign = lines.clone();
        foreign.insert(at, lines[(at + 2) % 7].clone());
        first_bad(dir.path(), &foreign, seq);
        // Cut at the end of a line: the signature says that there was more.
        first_bad(dir.path(), &lines[..at], seq);
        if at + 1 < lines.len() {
            let mut deleted = lines.clone();
            deleted.remove(at);
            first_bad(dir.path(), &deleted, seq);
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            first_bad(dir.path(), &swapped, seq);
        }
    }
    first_bad(dir.path(), &[lines.concat(), "{}\n".to_owned()], 8);
}

/// Keys change every four records, and segments about as often.
fn hurried() -> Settings {
    let mut settings: Settings = Durability::Cached.into();
    (settings.pace.segment_bytes, settings.pace.epoch_records) = (2000, 4);
    settings
}

/// A log over several epochs and segments, written in several runs.
pub(super) async fn long_log(dir: &Path) {
    for _ in 0..4 {
        let (audit, thread) = Audit::open(dir, hurried()).unwrap();
        let epochs = || fs::read_dir(log_dir(dir).join("epoch")).unwrap().count();
        let before = epochs();
        while epochs() == before {
            write_calls(&audit, 3).await;
        }
        thread.finish();
    }
}

#[tokio::test]
async fn keys_follow_each_other_and_segments_too() {
    let dir = memory_dir();
    long_log(dir.path()).await;
    let told = verified(dir.path());
    assert!(told.epochs >= 5 && told.signed == told.last, "{told:?}");
    assert!(fs::read_dir(log_dir(dir.path()).join("seg")).unwrap().count() > 2);
    let kinds = kinds(dir.path());
    let n_named = kinds.iter().filter(|kind| *kind == "key_epoch").count() as u64;
    assert_eq!(n_named + 1, told.epochs);
    // Of all secrets only the last is left; the next may be there, no record names it yet.
    let epoch_of = |name: &str| {
        let key = fs::read_to_string(log_dir(dir.path()).join("keys").join(name)).ok()?;
        key.strip_prefix("epoch ")?.lines().next()?.parse::<u64>().ok()
    };
    assert_eq!(epoch_of("secret"), Some(told.epochs - 1));
    assert!(epoch_of("next").is_none_or(|epoch| epoch == told.epochs));
    assert!(fs::read_dir(log_dir(dir.path()).join("keys")).unwrap().count() <= 2);
    // The key from elsewhere is the one of this log, and no other.
    let pubkey = fs::read_to_string(log_dir(dir.path()).join("pubkey")).unwrap();
    let anchored = Wanted { pubkey: Some(pubkey), ..Wanted::default() };
    assert!(verify(dir.path(), &anchored).unwrap().anchored);
    let other = memory_dir();
    write_log(other.path(), 1).await;
    assert!(matches!(verify(other.path(), &anchored), Err(VerifyError::Log { .. })));
}

#[tokio::test]
async fn a_log_that_ends_with_its_epoch_is_signed_by_that_epochs_key() {
    let dir = memory_dir();
    let mut settings = hurried();
    settings.pace.epoch_records = 1;
    // Each naming record makes the next one due: the end always meets one.
    for _ in 0..3 {
        let (audit, thread) = Audit::open(dir.path(), settings.clone()).unwrap();
        audit.append(Record::Stopped { why: "test" }).await.unwrap();
        let named = async {
            while kinds(dir.path()).last().is_none_or(|kind| kind != "key_epoch") {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), named).await.expect("a key");
        thread.finish();
        verified(dir.path());
    }
}

/// Rebuilds the chain after a change, as somebody can who may write every file.
pub(super) fn rechain(lines: &[String]) -> Vec<String> {
    use crate::audit::record::hex_digits;
    let mut prev = [0; 32];
    let mut out = Vec::new();
    for (seq, line) in (1..).zip(lines) {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["seq"] = seq.into();
        value["prev"] = String::from_utf8_lossy(&hex_digits(&prev)).into();
        let line = serde_json_canonicalizer::to_string(&value).unwrap();
        prev = leaf(line.as_bytes());
        out.push(line + "\n");
    }
    out
}

#[tokio::test]
async fn a_chain_made_anew_is_not_the_one_that_was_signed() {
    let dir = memory_dir();
    write_log(dir.path(), 3).await;
    let lines = lines_of(dir.path());
    for at in 1..lines.len() {
        let seq = u64::try_from(at + 1).unwrap();
        let mut changed = lines.clone();
        changed[at] = changed[at].replace("\"ts\":", "\"ts\":1");
        first_bad(dir.path(), &rechain(&changed), seq);
        let mut deleted = lines.clone();
        deleted.remove(at);
        first_bad(dir.path(), &rechain(&deleted), seq);
    }
    // With the tiles gone too, the records since the last sound root are under suspicion.
    let mut changed = lines.clone();
    changed[4] = changed[4].replace("\"ts\":", "\"ts\":1");
    fs::remove_dir_all(log_dir(dir.path()).join("tile")).unwrap();
    first_bad(dir.path(), &rechain(&changed), 1);
    // And with tiles made anew to match.
    let (mut edge, place) = (Edge::default(), find(dir.path()).unwrap().unwrap());
    for line in rechain(&changed) {
        edge.push(leaf(line.trim_end().as_bytes()), &mut drop);
    }
    for tile in edge.partial() {
        place.put_tile(&Disk::default(), &tile).unwrap();
    }
    assert!(
        first_bad_of(dir.path(), &Wanted::default(), 1).contains("not the one that was signed")
    );
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_no_record() {
    // Two readers would see two records: what one view shows another hides.
    let dir = memory_dir();
    write_log(dir.path(), 1).await;
    let (audit, thread) = open(dir.path());
    audit.append(Record::Stopped { why: "a" }).await.unwrap();
    let lines = lines_of(dir.path());
    let mut doubled = lines.clone();
    doubled[3] = doubled[3].replace("\"why\":\"a\"", "\"why\":\"b\",\"why\":\"a\"");
    let copied = memory_dir();
    copy(dir.path(), copied.path());
    thread.finish();
    // Not signed yet: only its form gives it away.
    first_bad(copied.path(), &doubled, 4);
}

#[tokio::test]
async fn a_later_key_cannot_vouch_for_an_earlier_epoch() {
    // An attacker has the newest secret and rewrites what was signed before.
    let dir = memory_dir();
    long_log(dir.path()).await;
    let place = log_dir(dir.path());
    let end = crate::audit::tlog::Checkpoint::peek(
        &fs::read_to_string(place.join("epoch/000000")).unwrap(),
    )
    .unwrap();
    // The note of a young key with the size of an old epoch.
    let checkpoint = fs::read_to_string(place.join("checkpoint")).unwrap();
    let told = crate::audit::tlog::Checkpoint::peek(&checkpoint).unwrap();
    let secret = fs::read_to_string(place.join("keys/secret")).unwrap();
    let seed = secret.lines().nth(1).unwrap();
    let seed = crate::wire::base64::decode(seed.as_bytes()).unwrap().try_into().unwrap();
    let signer = crate::audit::tlog::Signer::new(&told.origin, &seed);
    // All notes of the epochs are there: only the size says whose turn it was.
    let young = crate::audit::tlog::Checkpoint { next: None, ..end.clone() };
    fs::write(place.join("checkpoint"), signer.sign(&young)).unwrap();
    assert!(matches!(verify(dir.path(), &Wanted::default()), Err(VerifyError::Log { .. })));
    fs::write(place.join("checkpoint"), checkpoint).unwrap();
    let forged = signer.sign(&end);
    fs::write(place.join("epoch/000000"), &forged).unwrap();
    assert!(matches!(verify(dir.path(), &Wanted::default()), Err(VerifyError::Log { .. })));
    fs::remove_file(place.join("epoch/000000")).unwrap();
    assert!(matches!(verify(dir.path(), &Wanted::default()), Err(VerifyError::Log { .. })));
    // Cut back to the first epoch and gone on with the newest key.
    for entry in fs::read_dir(place.join("epoch")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(place.join("checkpoint"), &forged).unwrap();
    assert!(matches!(verify(dir.path(), &Wanted::default()), Err(VerifyError::Log { .. })));
}

#[tokio::test]
async fn swapped_and_missing_segments_are_found() {
    let dir = memory_dir();
    long_log(dir.path()).await;
    let path = |n: u64| log_dir(dir.path()).join(format!("seg/{n:06}.jsonl"));
    let seq_of = |n: u64| -> u64 {
        let text = fs::read_to_string(path(n)).unwrap();
        let value: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        value["seq"].as_u64().unwrap()
    };
    let second = seq_of(2);
    let aside = dir.path().join("aside");
    let swap = || {
        fs::rename(path(2), &aside).unwrap();
        fs::rename(path(3), path(2)).unwrap();
        fs::rename(&aside, path(3)).unwrap();
    };
    swap();
    first_bad_of(dir.path(), &Wanted::default(), second);
    swap();
    verified(dir.path());
    fs::rename(path(2), &aside).unwrap();
    first_bad_of(dir.path(), &Wanted::default(), second);
    fs::rename(&aside, path(2)).unwrap();
    // The first ones are missing without a word.
    fs::rename(path(1), &aside).unwrap();
    first_bad_of(dir.path(), &Wanted::default(), 1);
    fs::rename(path(2), dir.path().join("aside-2")).unwrap();
    first_bad_of(dir.path(), &Wanted::default(), 1);
}

#[tokio::test]
async fn what_was_set_back_is_seen_by_a_witness_and_by_the_clock() {
    let dir = memory_dir();
    let old = memory_dir();
    let mark = memory_dir().keep().join("mark");
    let settings = |marks: Vec<PathBuf>| Settings { marks, ..Durability::Cached.into() };
    let (audit, thread) = Audit::open(dir.path(), settings(vec![mark.clone()])).unwrap();
    write_calls(&audit, 2).await;
    thread.finish();
    copy(dir.path(), old.path());
    let early = verified(dir.path());
    let (audit, thread) = Audit::open(dir.path(), settings(vec![mark.clone()])).unwrap();
    write_calls(&audit, 8).await;
    thread.finish();
    let witnessed = Wanted { witnesses: vec![mark.clone()], ..Wanted::default() };
    let late = verify(dir.path(), &witnessed).unwrap();

    // An old checkpoint over the new records.
    let checkpoint = |dir: &Path| log_dir(dir).join("checkpoint");
    let newest = fs::read(checkpoint(dir.path())).unwrap();
    fs::copy(checkpoint(old.path()), checkpoint(dir.path())).unwrap();
    let what = first_bad_of(dir.path(), &witnessed, early.signed + 1);
    assert!(what.contains("not signed any more"), "{what}");
    fs::write(checkpoint(dir.path()), newest).unwrap();

    // The whole directory as it was: sound by itself, not before its witness and not in time.
    assert_eq!(verified(old.path()), early);
    let what = first_bad_of(old.path(), &witnessed, early.last + 1);
    assert!(what.contains(&format!("had {} records", late.last)), "{what}");
    let timely = Wanted { not_before: Some(early.signed_ts + 1), ..Wanted::default() };
    first_bad_of(old.path(), &timely, early.signed);
    assert!(verify(dir.path(), &timely).is_ok());

    // The next start sees it too, leaves it alone, and begins another log that says so.
    Audit::open(old.path(), settings(vec![mark.clone()])).unwrap().1.finish();
    let first = log(old.path()).lines().next().unwrap().to_owned();
    assert!(first.contains("\"after\":") && first.contains("knows of"), "{first}");
    let kept = old.path().join(log_dir(dir.path()).file_name().unwrap());
    assert_eq!(verified(&kept), early);
    fs::remove_dir_all(mark.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_log_that_lacks_what_was_signed_is_left_alone_and_another_is_begun() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("is gone, and 5 were signed", |dir| {
            let text: String = log(dir).split_inclusive('\n').take(3).collect();
            fs::write(segment(dir), text).unwrap();
        }),
        ("does not follow", |dir| {
            let text = log(dir).replacen("\"kind\":\"intent\"", "\"kind\":\"intend\"", 1);
            fs::write(segment(dir), text).unwrap();
        }),
        ("is not the one that was signed", |dir| {
            let text = log(dir);
            let (before, after) = text.rsplit_once("answered").unwrap();
            fs::write(segment(dir), format!("{before}answereD{after}")).unwrap();
        }),
        ("its checkpoint knows other records", |dir| {
            // Made anew to its end, and without the tiles that would tell.
            let mut lines = lines_of(dir);
            lines[2] = lines[2].replace("\"ts\":", "\"ts\":1");
            fs::write(segment(dir), rechain(&lines).concat()).unwrap();
            fs::remove_dir_all(log_dir(dir).join("tile")).unwrap();
        }),
        ("its checkpoint is gone", |dir| {
            fs::remove_file(log_dir(dir).join("checkpoint")).unwrap();
        }),
        ("the secret key", |dir| fs::remove_file(log_dir(dir).join("keys/secret")).unwrap()),
    ];
    for (why, damage) in damages {
        let dir = memory_dir();
        write_log(dir.path(), 2).await;
        damage(dir.path());
        let before = log_dir(dir.path());
        let bytes = fs::read(before.join("seg/000001.jsonl")).unwrap();
        open(dir.path()).1.finish();
        assert_ne!(log_dir(dir.path()), before, "{why}");
        let first = log(dir.path());
        let name = before.file_name().unwrap().to_str().unwrap();
        assert!(first.contains(why) && first.contains(name), "{first}");
        assert_eq!(fs::read(before.join("seg/000001.jsonl")).unwrap(), bytes, "{why}");
        verified(dir.path());
    }
}

#[tokio::test]
async fn a_log_of_the_old_format_is_kept_aside_and_named() {
    let dir = memory_dir();
    fs::write(dir.path().join("000001.jsonl"), "{\"seq\":1}\n").unwrap();
    open(dir.path()).1.finish();
    assert_eq!(fs::read(dir.path().join("plain-000001.jsonl")).unwrap(), b"{\"seq\":1}\n");
    assert!(!dir.path().join("000001.jsonl").exists());
    let first = log(dir.path());
    assert!(first.contains("\"after\":\"plain-000001.jsonl\""), "{first}");
    assert!(first.contains("its SHA-256 is "), "{first}");
    verified(dir.path());
}

#[tokio::test]
async fn a_log_is_signed_while_it_is_written() {
    let dir = memory_dir();
    let mut settings: Settings = Durability::Group.into();
    settings.pace.heartbeat = std::time::Duration::from_millis(20);
    let (audit, thread) = Audit::open(dir.path(), settings).unwrap();
    write_calls(&audit, 1).await;
    let signed = async {
        while !verify(dir.path(), &Wanted::default()).is_ok_and(|told| told.signed > 3) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), signed).await.expect("a heartbeat");
    assert!(kinds(dir.path()).contains(&"heartbeat".to_owned()));
    thread.finish();
}

#[tokio::test]
async fn a_line_without_end_is_not_read_into_memory() {
    let dir = memory_dir();
    write_log(dir.path(), 1).await;
    let file = fs::OpenOptions::new().write(true).open(segment(dir.path())).unwrap();
    file.set_len(1 << 30).unwrap();
    first_bad_of(dir.path(), &Wanted::default(), 4);
}
