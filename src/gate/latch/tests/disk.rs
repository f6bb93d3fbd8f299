//! What each step of saving a stop leaves on disk, for whoever is ended between two of them.
//!
//! A stop is written beside its file, renamed into place, and synced. The states in between are
//! built here from what a real stop has written; a power cut may leave any part of a file.

use std::fs;

use super::{Latch, cause, memory_dir, scope, stops};

/// The file that one stop of a server leaves.
fn written() -> Vec<u8> {
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    latch.engage(cause("fire").of(scope("server:a")));
    assert!(latch.saved(super::SOON));
    fs::read(dir.path().join("estop/stops.json")).unwrap()
}

/// A latch over a state in which these files stand.
fn over(files: &[(&str, &[u8])]) -> (Latch, tempfile::TempDir) {
    let dir = memory_dir();
    fs::create_dir(dir.path().join("estop")).unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join("estop").join(name), bytes).unwrap();
    }
    (Latch::open(dir.path()), dir)
}

#[test]
fn once_it_has_its_name_every_part_of_the_file_is_a_stop() {
    let whole = written();
    let a = scope("server:a").marks();
    for n in 0..=whole.len() {
        let (latch, _dir) = over(&[("stops.json", &whole[..n])]);
        assert!(latch.epoch(a).is_err(), "{n} bytes");
        // The last byte ends the line, and nothing hangs on it.
        let is_whole = n + 1 >= whole.len();
        assert_eq!(latch.now().is_ok(), is_whole, "{n} bytes: what cannot be read stops all");
    }
}

#[test]
fn before_it_has_its_name_nothing_is_stopped_and_what_was_stays_so() {
    let (whole, beside) = (written(), ".stops.json.1-0.tmp");
    for n in [0, 1, whole.len() - 1, whole.len()] {
        let (latch, dir) = over(&[(beside, &whole[..n])]);
        assert!(stops(&latch).is_empty(), "nobody was told of it");
        latch.engage(cause("again"));
        assert!(latch.saved(super::SOON));
        assert_eq!(stops(&Latch::open(dir.path())), stops(&latch), "it is in nobody's way");
        let (latch, _dir) = over(&[("stops.json", &whole), (beside, &whole[..n])]);
        assert_eq!(stops(&latch).len(), 1);
    }
}

#[test]
fn a_lift_is_either_done_or_not() {
    let whole = written();
    let a = scope("server:a").marks();
    let (latch, _dir) = over(&[("stops.json", &whole), ("last.json", &whole)]);
    assert!(latch.epoch(a).is_err(), "the one before it was lifted");
    let (latch, _dir) = over(&[("last.json", &whole)]);
    assert!(latch.epoch(a).is_ok());
}
