//! Claims on proofs of single records, and on what is left when others have expired.

use std::fs;

use super::{
    Audit, Durability, Settings, Wanted, evidence::first_bad_of, kinds, log, log_dir, memory_dir,
    second::assert_agreed, segment, verified, write_calls, write_log,
};

#[tokio::test]
async fn a_proof_holds_for_its_record_and_its_key_only() {
    use crate::audit::{check_proof, prove};
    let dir = memory_dir();
    write_log(dir.path(), 140).await;
    let pubkey = fs::read_to_string(log_dir(dir.path()).join("pubkey")).unwrap();
    let text = log(dir.path());
    for seq in [1, 2, 256, 257, 281] {
        let proof = prove(dir.path(), seq).unwrap();
        let record = check_proof(&proof, &pubkey).unwrap();
        assert_eq!(Some(record.as_str()), text.lines().nth(usize::try_from(seq).unwrap() - 1));
        for (what, by) in [("index 1", "index 3"), ("extra ey", "extra ex"), ("\n281\n", "\n282\n")]
        {
            let changed = proof.replacen(what, by, 1);
            assert!(changed == proof || check_proof(&changed, &pubkey).is_err(), "{seq}: {what}");
        }
        let other = crate::audit::tlog::Signer::new("portcullis/audit/0", &[1; 32]);
        assert!(check_proof(&proof, &other.vkey().to_string()).is_err());
    }
    assert!(prove(dir.path(), 0).is_err() && prove(dir.path(), 282).is_err());
}

#[tokio::test]
async fn what_expired_is_gone_and_the_rest_still_verifies() {
    let dir = memory_dir();
    let settings = |retention| {
        let mut settings: Settings = Durability::Cached.into();
        (settings.pace.segment_bytes, settings.pace.epoch_records) = (40_000, 400);
        Settings { retention, ..settings }
    };
    // Nothing is old enough.
    let (audit, thread) = Audit::open(dir.path(), settings(DAY)).unwrap();
    write_calls(&audit, 500).await;
    thread.finish();
    assert_eq!(verified(dir.path()).first, 1);
    // Everything is.
    let (audit, thread) = Audit::open(dir.path(), settings(std::time::Duration::ZERO)).unwrap();
    let gone = async {
        while segment(dir.path()).exists() {
            write_calls(&audit, 50).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it expires");
    thread.finish();
    let told = verified(dir.path());
    assert!(told.first > 256 && told.signed == told.last, "{told:?}");
    assert!(kinds(dir.path()).contains(&"expired".to_owned()));
    assert_agreed(dir.path());
    // The log goes on, and what is left can be proved.
    write_log(dir.path(), 1).await;
    assert!(
        verified(dir.path()).first > 256 && crate::audit::prove(dir.path(), told.first).is_ok()
    );
    // A tile that stood for what expired is missed.
    fs::remove_file(log_dir(dir.path()).join("tile/0/000")).unwrap();
    first_bad_of(dir.path(), &Wanted::default(), 1);
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
