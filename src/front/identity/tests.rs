//! Who is who: every way to come, with every kind of proof.

use std::{fs, path::Path, task::Poll};

use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Certified, Gatekeeper, KeyError, KeyFile, Link, NewKey, Refusal, Role, Visitor};
use crate::{
    audit::{Audit, AuditThread, Durability},
    config::{AuthConfig, AuthMode},
    domain::Principal,
    sys,
};

const KERNEL: Link = Link::Unix { uid: 4711 };

fn bearing(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn gatekeeper(modes: &[AuthMode], role: Option<Role>) -> (Gatekeeper, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = KeyFile::at(dir.path().join("keys.json"));
    let asked = NewKey { name: "ann".into(), role, ..NewKey::default() };
    let (_, text) = file.add(asked, 0).unwrap();
    let (gatekeeper, _audit) = gatekeeper_of(modes, dir.path());
    refresh(&gatekeeper).unwrap();
    (gatekeeper, text, dir)
}

fn gatekeeper_of(modes: &[AuthMode], dir: &Path) -> (Gatekeeper, AuditThread) {
    let file = |name| KeyFile::at(dir.join(name));
    let auth = AuthConfig { modes: modes.iter().copied().collect(), jwt: None };
    let (audit, thread) = Audit::open(&dir.join("audit"), Durability::Cached).unwrap();
    let on_record = (audit, file("recorded.json"));
    (Gatekeeper::new((auth, None), file("keys.json"), on_record).unwrap(), thread)
}

fn refresh(gatekeeper: &Gatekeeper) -> Result<(), KeyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gatekeeper.refresh("test"))
}

/// Kind and key of each record of keys.
fn recorded(dir: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join("audit/current/seg/000001.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |record: Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let pairs = records.map(|record| (of(record.clone(), "kind"), of(record, "key")));
    pairs.filter(|(kind, _)| kind.starts_with("key_") || kind == "keys_taken").collect()
}

/// It waits for nobody: there is no issuer.
fn admit(gatekeeper: &Gatekeeper, link: &Link, shown: &HeaderMap) -> Result<Visitor, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(gatekeeper.admit(link, shown))
}

fn certified(until_s: u64) -> Link {
    let (who, over) = (Principal::new("cert:dns:a.example"), CancellationToken::new());
    Link::Tls { certified: Some(Certified { who, until_s, over }) }
}

#[track_caller]
fn check(modes: &[AuthMode], link: &Link, shown: &[&str], want: Result<&str, Refusal>) {
    let (gatekeeper, key, _dir) = gatekeeper(modes, None);
    let shown: Vec<_> = shown.iter().map(|value| value.replace("KEY", &key)).collect();
    let shown: Vec<_> = shown.iter().map(String::as_str).collect();
    let got = admit(&gatekeeper, link, &bearing(&shown));
    let got = got.as_ref().map(|visitor| visitor.principal.as_str()).map_err(|refusal| *refusal);
    assert_eq!(got, want, "{modes:?} {link:?} {shown:?}");
}

#[test]
fn who_somebody_is_follows_from_the_link_and_one_header() {
    use AuthMode::{Keys, Mtls, None as Open, Peer};
    let form = Refusal::Bad("the Authorization header is not `Bearer TOKEN`");
    let wrong = Refusal::Bad("the key is unknown, revoked or wrong");
    let foreign = Refusal::Bad("the token is no key");
    // Whoever reaches us; what is shown besides does not matter.
    check(&[Open], &Link::Tcp, &[], Ok("local"));
    check(&[Open], &Link::Tcp, &["Basic x"], Ok("local"));
    check(&[Open], &KERNEL, &[], Ok("uid:4711"));
    // The kernel speaks for whom it knows.
    check(&[Peer], &KERNEL, &[], Ok("uid:4711"));
    check(&[Peer], &Link::Tcp, &[], Err(Refusal::Nobody));
    check(&[Peer], &Link::Tcp, &["Bearer KEY"], Err(Refusal::Nobody));
    // A key, wherever one comes from.
    check(&[Keys], &Link::Tcp, &["Bearer KEY"], Ok("key:ann"));
    check(&[Keys], &Link::Tcp, &["bearer  KEY "], Ok("key:ann"));
    check(&[Keys], &KERNEL, &["Bearer KEY"], Ok("key:ann"));
    for link in [Link::Tcp, KERNEL] {
        check(&[Keys], &link, &[], Err(Refusal::Nobody));
        check(&[Keys], &link, &["Basic KEY"], Err(form));
        check(&[Keys], &link, &["KEY"], Err(form));
        check(&[Keys], &link, &["Bearer KEY", "Bearer KEY"], Err(form));
        check(&[Keys], &link, &["Bearer KEYa"], Err(wrong));
        check(&[Keys], &link, &["Bearer x"], Err(foreign));
    }
    // A certificate counts where it is asked for; having none is having shown nothing.
    let shown = certified(u64::MAX);
    let over = certified(sys::unix_millis() / 1000);
    let bare = Link::Tls { certified: None };
    check(&[Mtls], &shown, &[], Ok("cert:dns:a.example"));
    check(&[Mtls], &over, &[], Err(Refusal::Bad("the certificate is over")));
    check(&[Mtls], &bare, &[], Err(Refusal::Nobody));
    check(&[Keys], &shown, &[], Err(Refusal::Nobody));
    check(&[Keys, Mtls], &shown, &[], Ok("cert:dns:a.example"));
    check(&[Keys, Mtls], &shown, &["Bearer KEY"], Ok("key:ann"));
    check(&[Keys, Mtls], &bare, &["Bearer KEY"], Ok("key:ann"));
    check(&[Open], &bare, &[], Ok("local"));
    // Who shows a key is judged by it, whoever he is otherwise.
    check(&[Keys, Peer], &KERNEL, &[], Ok("uid:4711"));
    check(&[Keys, Peer], &KERNEL, &["Bearer KEY"], Ok("key:ann"));
    check(&[Keys, Peer], &KERNEL, &["Bearer x"], Err(foreign));
}

#[test]
fn an_operator_is_the_owner_or_has_a_key_with_a_role_or_the_word() {
    let owner = Link::Unix { uid: rustix::process::geteuid().as_raw() };
    let other = Link::Unix { uid: 4711 };
    for role in [None, Some(Role::Viewer), Some(Role::Operator)] {
        // Whether applications need keys does not matter here.
        let (gatekeeper, key, _dir) = gatekeeper(&[AuthMode::None], role);
        let of = |link: &Link, shown: &[&str], token: bool| {
            gatekeeper.operator(link, &bearing(shown), |_| token).map(|one| (one.who, one.role))
        };
        let named = |who: &str, role| Ok((who.to_owned(), role));
        let bearer = format!("Bearer {key}");
        assert_eq!(of(&Link::Tcp, &[&bearer], false), named("key:ann", role));
        assert_eq!(of(&owner, &[&bearer], false), named("key:ann", role));
        assert_eq!(of(&Link::Tcp, &[], false), named("local", None));
        assert_eq!(of(&Link::Tcp, &["Bearer w"], true), named("token", Some(Role::Admin)));
        assert!(of(&owner, &["Bearer w"], false).is_err());
        assert_eq!(of(&owner, &[], false).unwrap().1, Some(Role::Admin));
        assert_eq!(of(&other, &[], false), named("uid:4711", None));
    }
}

#[test]
fn what_becomes_of_keys_is_told_once_also_what_became_of_them_while_nobody_ran() {
    let dir = tempfile::tempdir().unwrap();
    let file = KeyFile::at(dir.path().join("keys.json"));
    let named = |name: &str| NewKey { name: name.into(), ..NewKey::default() };
    let run = |between: &dyn Fn()| {
        let (gatekeeper, thread) = gatekeeper_of(&[AuthMode::Keys], dir.path());
        refresh(&gatekeeper).unwrap();
        between();
        refresh(&gatekeeper).unwrap();
        refresh(&gatekeeper).unwrap();
        thread.finish();
        gatekeeper
    };
    let is = |kind: &str, key: &str| (kind.to_owned(), key.to_owned());
    run(&|| {});
    assert_eq!(recorded(dir.path()), [], "there is nothing to tell");
    let (ann, _) = file.add(named("ann"), 0).unwrap();
    run(&|| drop(file.add(named("bob"), 0).unwrap()));
    let bob = file.read().unwrap().pop().unwrap().id;
    let taken = is("keys_taken", "");
    let mut want = vec![is("key_added", &ann), taken.clone(), is("key_added", &bob), taken.clone()];
    assert_eq!(recorded(dir.path()), want);
    file.revoke(&ann).unwrap();
    run(&|| {});
    want.extend([is("key_removed", &ann), taken.clone()]);
    // What nobody changed is told by its digest at each start.
    run(&|| {});
    want.push(taken.clone());
    assert_eq!(recorded(dir.path()), want);
    // Another secret or another role under the same id is another key.
    let text = fs::read_to_string(file.path()).unwrap();
    run(&|| fs::write(file.path(), text.replace("\"role\": null", "\"role\": \"admin\"")).unwrap());
    want.extend([taken.clone(), is("key_removed", &bob), is("key_added", &bob), taken]);
    assert_eq!(recorded(dir.path()), want);
}

/// Polls a look so often, and goes away.
fn hang_up_after(gatekeeper: &Gatekeeper, n_polls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut looking = Box::pin(gatekeeper.refresh("hasty"));
    let mut left = n_polls;
    runtime.block_on(std::future::poll_fn(|context| {
        left = left.saturating_sub(1);
        match looking.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Ready(_) | Poll::Pending => Poll::Ready(()),
        }
    }));
}

#[test]
fn a_change_of_keys_is_not_lost_by_whoever_asks_for_it_and_hangs_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = KeyFile::at(dir.path().join("keys.json"));
    let (gatekeeper, _thread) = gatekeeper_of(&[AuthMode::Keys], dir.path());
    refresh(&gatekeeper).unwrap();
    for n_polls in 1..6 {
        let new = NewKey { name: format!("ann{n_polls}"), ..NewKey::default() };
        let (id, text) = file.add(new, 0).unwrap();
        let shown = bearing(&[&format!("Bearer {text}")]);
        hang_up_after(&gatekeeper, n_polls);
        refresh(&gatekeeper).unwrap();
        assert!(admit(&gatekeeper, &Link::Tcp, &shown).is_ok(), "after {n_polls}");
        file.revoke(&id).unwrap();
        hang_up_after(&gatekeeper, n_polls);
        refresh(&gatekeeper).unwrap();
        assert!(admit(&gatekeeper, &Link::Tcp, &shown).is_err(), "after {n_polls}");
    }
}

#[test]
fn a_key_that_is_not_on_record_lets_nobody_in_and_a_revoked_one_ends_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = KeyFile::at(dir.path().join("keys.json"));
    let new = |name: &str| file.add(NewKey { name: name.into(), ..NewKey::default() }, 0).unwrap();
    let (ann, anns) = new("ann");
    let (gatekeeper, thread) = gatekeeper_of(&[AuthMode::Keys], dir.path());
    let comes = |text: &str| {
        admit(&gatekeeper, &Link::Tcp, &bearing(&[&format!("Bearer {text}")])).map(drop)
    };
    assert!(comes(&anns).is_err(), "nobody has looked yet");
    refresh(&gatekeeper).unwrap();
    assert_eq!(comes(&anns), Ok(()));
    thread.finish();
    let (_, bobs) = new("bob");
    assert!(matches!(refresh(&gatekeeper), Err(KeyError::Audit(_))));
    assert!(comes(&bobs).is_err());
    assert_eq!(comes(&anns), Ok(()), "she was known before");
    file.revoke(&ann).unwrap();
    assert!(refresh(&gatekeeper).is_err());
    assert!(comes(&anns).is_err());
}
