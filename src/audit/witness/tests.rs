//! What is asked of a witness, and what its answers mean.

use std::{fs, path::Path};

use super::{Heard, Witness, WitnessProblem};
use crate::{
    audit::{
        Audit, AuditError, AuditThread, Durability, Record, Settings, VerifyError, Wanted,
        log::find,
        sender_key,
        tlog::{Checkpoint, Vkey, cosign, cosigner},
        verify,
    },
    domain::limits,
};

const WITNESS: u8 = 2;

fn open(dir: &Path) -> (Audit, AuditThread, Witness) {
    let witness = Some(cosigner(WITNESS).to_string());
    let settings = Settings { witness, ..Durability::Cached.into() };
    let (audit, mut thread) = Audit::open(dir, settings).unwrap();
    let witness = thread.take_witness().unwrap();
    (audit, thread, witness)
}

/// Puts some more on record, signs it with the end of the log, and opens it again.
fn grow(dir: &Path, n: usize) -> (Audit, AuditThread, Witness) {
    let (audit, thread, _) = open(dir);
    (0..n).for_each(|_| audit.append_later(Record::Stopped { why: "test" }));
    thread.finish();
    open(dir)
}

/// The old size and the note of what is asked.
fn asked(witness: &mut Witness) -> (u64, String) {
    let body = String::from_utf8(witness.ask().unwrap().unwrap()).unwrap();
    let (head, note) = body.split_once("\n\n").unwrap();
    let old = head.lines().next().unwrap().strip_prefix("old ").unwrap();
    (old.parse().unwrap(), note.to_owned())
}

fn kept(dir: &Path) -> Option<String> {
    fs::read_to_string(find(dir).unwrap().unwrap().cosigned()).ok()
}

/// Status, answer to a note, and what that is.
type Case = (u16, fn(&str) -> String, WitnessProblem);

fn with_key(seed: u8) -> Wanted {
    Wanted { cosigners: vec![cosigner(seed).to_string()], ..Wanted::default() }
}

#[test]
fn a_checkpoint_is_asked_for_until_it_is_cosigned_and_then_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread, mut witness) = grow(dir.path(), 5);
    let (old, note) = asked(&mut witness);
    let size = Checkpoint::peek(&note).unwrap().size;
    assert_eq!((old, size), (0, 6));
    // By a key that stays, besides that of the epoch.
    let stays = Vkey::parse(&sender_key(dir.path()).unwrap()).unwrap();
    assert!(Checkpoint::open(&note, &stays).is_ok());
    let line = cosign(WITNESS, &note, 1_700_000_000);
    assert_eq!(witness.hear(200, line.as_bytes()).unwrap(), Heard::Cosigned);
    assert_eq!(witness.ask().unwrap(), None);
    let told = audit.witness().unwrap();
    assert_eq!((told.size, told.at, told.problem), (6, 1_700_000_000, None));
    thread.finish();
    assert_eq!(verify(dir.path(), &with_key(WITNESS)).unwrap().cosigned, Some(6));
    // After a restart once more, or a log that was set back to this size would be found late.
    let (audit, thread, mut witness) = open(dir.path());
    assert_eq!(audit.witness().unwrap().size, 6);
    let (old, note) = asked(&mut witness);
    assert_eq!((old, Checkpoint::peek(&note).unwrap().size), (6, 6));
    assert_eq!(witness.hear(409, b"9\n").unwrap(), {
        Heard::Refused(WitnessProblem::SetBack { knows: 9, has: 6 })
    });
    assert_eq!(asked(&mut witness), (6, note.clone()));
    let line = cosign(WITNESS, &note, 1_700_000_001);
    assert_eq!(witness.hear(200, line.as_bytes()).unwrap(), Heard::Cosigned);
    assert_eq!(witness.ask().unwrap(), None);
    thread.finish();
    // What came since is asked for from there on.
    let (_, thread, mut witness) = grow(dir.path(), 3);
    let (old, note) = asked(&mut witness);
    assert_eq!((old, Checkpoint::peek(&note).unwrap().size), (6, 9));
    assert!(Checkpoint::open(&note, &stays).is_ok(), "the key stays");
    thread.finish();
}

#[test]
fn what_is_no_cosignature_of_this_checkpoint_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread, mut witness) = grow(dir.path(), 5);
    let mut hear = |status, answer: fn(&str) -> String| {
        let (_, note) = asked(&mut witness);
        let heard = witness.hear(status, answer(&note).as_bytes()).unwrap();
        assert_eq!(audit.witness().unwrap().size, 0);
        let Heard::Refused(problem) = heard else { panic!("{heard:?}") };
        assert_eq!(audit.witness().unwrap().problem, Some(problem.clone()));
        problem
    };
    use WitnessProblem::{Forged, Forked, Odd, SetBack, Stranger, Unsigned};
    let cases: [Case; 9] = [
        (200, |note| cosign(3, note, 7), Unsigned),
        (200, |_| String::new(), Unsigned),
        (200, |_| "fine\n".to_owned(), Unsigned),
        (200, |note| cosign(WITNESS, note, 0), Forged),
        (409, |_| "7\n".to_owned(), SetBack { knows: 7, has: 6 }),
        (409, |_| "much\n".to_owned(), Odd(409)),
        (404, |_| String::new(), Stranger),
        (422, |_| String::new(), Forked),
        (500, |_| String::new(), Odd(500)),
    ];
    for (status, answer, want) in cases {
        assert_eq!(hear(status, answer), want);
    }
    thread.finish();
    assert_eq!(kept(dir.path()), None);
    let never = verify(dir.path(), &with_key(WITNESS)).unwrap_err();
    assert!(matches!(never, VerifyError::Log { .. }), "{never}");
    let no_key = Wanted { cosigners: vec!["w+1+2".to_owned()], ..Wanted::default() };
    let no_key = verify(dir.path(), &no_key).unwrap_err();
    assert!(matches!(no_key, VerifyError::WitnessKey { .. }), "{no_key}");
}

#[test]
fn a_witness_that_is_elsewhere_is_asked_again_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let (_, thread, mut witness) = grow(dir.path(), 9);
    asked(&mut witness);
    assert_eq!(witness.hear(409, b"4\n").unwrap(), Heard::Elsewhere);
    let (old, note) = asked(&mut witness);
    assert_eq!(old, 4);
    assert_eq!(Checkpoint::peek(&note).unwrap().size, 10);
    thread.finish();
}

#[test]
fn a_log_is_held_against_the_age_and_the_root_of_its_cosignature() {
    let dir = tempfile::tempdir().unwrap();
    let (_, thread, mut witness) = grow(dir.path(), 5);
    let (_, note) = asked(&mut witness);
    let at = 1_700_000_000;
    witness.hear(200, cosign(WITNESS, &note, at).as_bytes()).unwrap();
    thread.finish();
    let young = |limit: u64| {
        let not_before = Some(limit * 1_000_000);
        verify(dir.path(), &Wanted { not_before, ..with_key(WITNESS) })
    };
    assert!(young(at).is_ok());
    let late = young(at + 9).unwrap_err();
    assert!(late.to_string().contains("9 s too long ago"), "{late}");
    assert!(verify(dir.path(), &with_key(3)).is_err(), "by another key");
    // A whole history that the witness never saw.
    let other = tempfile::tempdir().unwrap();
    let (_, thread, mut stranger) = grow(other.path(), 5);
    asked(&mut stranger);
    thread.finish();
    fs::write(find(other.path()).unwrap().unwrap().cosigned(), kept(dir.path()).unwrap()).unwrap();
    assert!(verify(other.path(), &with_key(WITNESS)).is_err());
}

#[test]
fn a_key_that_is_none_opens_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let key = "w+01234567+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    let settings = Settings { witness: Some(key), ..Durability::Cached.into() };
    let opened = Audit::open(dir.path(), settings);
    assert!(matches!(opened, Err(AuditError::WitnessKey { .. })));
    assert!(limits::AUDIT_WITNESS_PAUSE < limits::AUDIT_WITNESS_PAUSE_MAX);
}
