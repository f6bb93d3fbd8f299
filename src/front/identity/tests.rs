//! Who is who: every way to come, with every kind of proof.

use http::{HeaderMap, HeaderValue, header};

use super::{Gatekeeper, KeyFile, Link, NewKey, Refusal, Role};
use crate::config::{AuthConfig, AuthMode};

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
    let auth = AuthConfig { modes: modes.iter().copied().collect() };
    (Gatekeeper::new(auth, file).unwrap(), text, dir)
}

#[track_caller]
fn check(modes: &[AuthMode], link: &Link, shown: &[&str], want: Result<&str, Refusal>) {
    let (gatekeeper, key, _dir) = gatekeeper(modes, None);
    let shown: Vec<_> = shown.iter().map(|value| value.replace("KEY", &key)).collect();
    let shown: Vec<_> = shown.iter().map(String::as_str).collect();
    let got = gatekeeper.admit(link, &bearing(&shown));
    let got = got.as_ref().map(|visitor| visitor.principal.as_str()).map_err(|refusal| *refusal);
    assert_eq!(got, want, "{modes:?} {link:?} {shown:?}");
}

#[test]
fn who_somebody_is_follows_from_the_link_and_one_header() {
    use AuthMode::{Keys, None as Open, Peer};
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
