//! `[auth]` and `[gateway.tls]`: how an application proves who it is, and what it is shown.
//!
//! Several ways may be open at once; one is enough. Owns the rules between them and the listener:
//! nobody is kept out by a way that cannot work there, and nobody comes in without TLS and proof
//! where other machines could reach us.

use std::{collections::BTreeSet, ops::Range};

use http::Uri;

use super::{
    AuthConfig, AuthMode, Code, Gateway, JwksPlace, JwtConfig, Listen, NameKind, TlsConfig,
    check::Check,
    report::{Note, Notes},
    section::{At, Section},
};

pub(super) const AUTH_KEYS: [&str; 2] = ["modes", "jwt"];
const JWT_KEYS: [&str; 5] = ["issuer", "resource", "jwks", "scopes", "groups_claim"];
const TLS_KEYS: [&str; 4] = ["cert", "key", "client_ca", "client_names"];
const GROUPS_CLAIM: &str = "groups";

pub(super) fn read(
    section: &Section<'_>,
    (beside, gateway): (&Section<'_>, &Gateway),
    check: &mut Check<'_>,
) -> AuthConfig {
    section.refuse_unknown(&AUTH_KEYS, &mut check.notes);
    let jwt = section.has("jwt").then(|| read_jwt(section, check)).flatten();
    let client_ca = gateway.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    let ways = [section.has("jwt").then_some(AuthMode::Jwt), client_ca.map(|_| AuthMode::Mtls)];
    let given = Given {
        is_tcp: matches!(gateway.listen, Listen::Tcp(_)),
        ways: ways.into_iter().flatten().collect(),
    };
    let modes = modes(section, &given, &mut check.notes);
    let place = section.value_span("modes").unwrap_or_else(|| section.span.clone());
    judge(&modes, &given, place, &mut check.notes);
    refuse_exposed(&modes, (beside, gateway), &mut check.notes);
    AuthConfig { jwt: jwt.filter(|_| modes.contains(&AuthMode::Jwt)), modes }
}

/// What else is written.
struct Given {
    is_tcp: bool,
    /// Those that have what they need.
    ways: BTreeSet<AuthMode>,
}

/// Those that are written; else those that something is written for.
fn modes(section: &Section<'_>, given: &Given, notes: &mut Notes) -> BTreeSet<AuthMode> {
    let Some(written) = section.texts("modes", notes) else {
        let mut modes = given.ways.clone();
        modes.insert(if modes.is_empty() { AuthMode::None } else { AuthMode::Peer });
        modes.insert(AuthMode::Peer);
        return modes;
    };
    let mut modes = BTreeSet::new();
    for one in written {
        match AuthMode::ALL.into_iter().find(|mode| mode.as_str() == one.value) {
            Some(mode) => _ = modes.insert(mode),
            None => {
                let message = format!("`{}` is no way to prove anything", one.value.escape_debug());
                let note = Note::new(Code::UnknownWord, one.span, message).label("unknown word");
                let words = AuthMode::ALL.map(AuthMode::as_str).join(", ");
                notes.push(note.help(format!("one of {words}")));
            }
        }
    }
    modes
}

fn judge(modes: &BTreeSet<AuthMode>, given: &Given, place: Range<usize>, notes: &mut Notes) {
    let (has, given_for) = (|mode| modes.contains(&mode), |mode| given.ways.contains(&mode));
    let refused = match () {
        () if notes.refuses(&place) => return,
        () if has(AuthMode::None) && takes_proof(modes) => (
            "`none` lets everybody in, whatever else is asked for",
            "leave `none` out; `peer` lets users of this machine in by a unix socket",
        ),
        () if modes.is_empty() => {
            ("nobody could come in", "name at least one of none, peer, keys, jwt, mtls")
        }
        () if has(AuthMode::Jwt) && !given_for(AuthMode::Jwt) => (
            "`jwt` needs to know whose tokens count",
            "write [auth.jwt] with issuer, resource, jwks",
        ),
        () if given_for(AuthMode::Jwt) && !has(AuthMode::Jwt) => {
            ("[auth.jwt] is written, and no token is taken", "add \"jwt\", or remove [auth.jwt]")
        }
        () if has(AuthMode::Mtls) && !given_for(AuthMode::Mtls) => {
            ("`mtls` needs to know whose certificates count", "write client_ca in [gateway.tls]")
        }
        () if given_for(AuthMode::Mtls) && !has(AuthMode::Mtls) => {
            ("`client_ca` is written, and nobody is asked", "add \"mtls\", or remove client_ca")
        }
        () if given.is_tcp && !takes_proof(modes) && !has(AuthMode::None) => (
            "nobody could come in by TCP: only a unix socket knows its peer",
            "write listen = \"unix:/path/to.sock\", or add \"keys\"",
        ),
        () => return,
    };
    let note = Note::new(Code::NoWayIn, place, refused.0).label("these ways");
    notes.push(note.help(refused.1));
}

/// Whether somebody has to show something.
fn takes_proof(modes: &BTreeSet<AuthMode>) -> bool {
    modes.iter().any(|mode| !matches!(mode, AuthMode::None | AuthMode::Peer))
}

/// What other machines can reach has TLS, and asks who they are.
fn refuse_exposed(
    modes: &BTreeSet<AuthMode>,
    (section, gateway): (&Section<'_>, &Gateway),
    notes: &mut Notes,
) {
    let Listen::Tcp(tcp) = gateway.listen else {
        if let (Some(_), Some(span)) = (&gateway.tls, section.key_span("tls")) {
            let note = Note::new(Code::MisplacedKey, span, "a unix socket needs no TLS");
            notes.push(note.label("does not fit `listen`").help("remove it"));
        }
        return;
    };
    if tcp.ip().to_canonical().is_loopback() {
        return;
    }
    let lacking = match (section.has("tls"), takes_proof(modes)) {
        (true, true) => return,
        (false, true) => "[gateway.tls] with cert and key",
        (true, false) => "[auth] with modes = [\"keys\"], [\"jwt\"] or [\"mtls\"]",
        (false, false) => {
            "[gateway.tls] with cert and key, and [auth] with modes = [\"keys\"], [\"jwt\"] or \
             [\"mtls\"]"
        }
    };
    let span = section.value_span("listen").unwrap_or_else(|| section.span.clone());
    let message = format!("`listen` on {tcp} would be reachable from other machines");
    let note = Note::new(Code::ExposedAddress, span, message).label("not a loopback address");
    notes.push(
        note.help(format!("write {lacking}; or listen on 127.0.0.1, [::1] or a unix socket")),
    );
}

pub(super) fn read_tls(section: &Section<'_>, check: &mut Check<'_>) -> Option<TlsConfig> {
    let has = section.has("tls");
    let section = section.section("tls", "[gateway.tls]", &mut check.notes);
    section.refuse_unknown(&TLS_KEYS, &mut check.notes);
    let mut path = |key: &str| {
        let text = section.text(key, &mut check.notes)?;
        Some(check.base.join(text.value))
    };
    let (cert, key, client_ca) = (path("cert"), path("key"), path("client_ca"));
    if has && (cert.is_none() || key.is_none()) && !check.notes.refuses(&section.span) {
        let note = Note::new(Code::MissingKey, section.span.clone(), "TLS needs `cert` and `key`");
        let note = note.label("not both are here");
        check.notes.push(note.help("name two files in PEM: the chain, and its private key"));
    }
    let client_names = client_names(&section, &mut check.notes);
    Some(TlsConfig { cert: cert?, key: key?, client_ca, client_names })
}

/// Which names of a client certificate count; all of them, if nothing is written.
fn client_names(section: &Section<'_>, notes: &mut Notes) -> Vec<NameKind> {
    let Some(written) = section.texts("client_names", notes) else { return NameKind::ALL.into() };
    let place = section.value_span("client_names").unwrap_or_default();
    if !section.has("client_ca") {
        let message = "`client_names` is of certificates, and no authority is named";
        let note = Note::new(Code::MisplacedKey, place, message).label("does nothing");
        notes.push(note.help("write client_ca, or remove it"));
    } else if written.is_empty() && !notes.refuses(&place) {
        let note = Note::new(Code::BadValue, place, "no certificate would name anybody");
        notes.push(note.label("empty").help("name some of uri, dns, email, cn, best first"));
    }
    let mut kinds = Vec::new();
    for one in written {
        match NameKind::ALL.into_iter().find(|kind| kind.as_str() == one.value) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => {
                let message = format!("`{}` is no kind of name", one.value.escape_debug());
                let note = Note::new(Code::UnknownWord, one.span, message).label("unknown word");
                notes.push(note.help("one of uri, dns, email, cn"));
            }
        }
    }
    kinds
}

fn read_jwt(section: &Section<'_>, check: &mut Check<'_>) -> Option<JwtConfig> {
    let section = section.section("jwt", "[auth.jwt]", &mut check.notes);
    let notes = &mut check.notes;
    section.refuse_unknown(&JWT_KEYS, notes);
    let issuer = section.text("issuer", notes);
    let resource = section.text("resource", notes);
    let jwks = section.text("jwks", notes);
    if (issuer.is_none() || resource.is_none() || jwks.is_none()) && !notes.refuses(&section.span) {
        let message = "tokens need `issuer`, `resource` and `jwks`";
        let note = Note::new(Code::MissingKey, section.span.clone(), message);
        let note = note.label("not all of them are here");
        notes.push(
            note.help("whose tokens, made out for which URL, and where the issuer's keys are"),
        );
    }
    let claim = section.text("groups_claim", notes).map_or(GROUPS_CLAIM, |text| text.value);
    let scopes = section.texts("scopes", notes).unwrap_or_default();
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    for odd in scopes.iter().filter(|one| !is_word(one.value) || one.value.contains(['"', '\\'])) {
        let note = Note::new(Code::BadValue, odd.span.clone(), "this is no scope");
        notes.push(note.label("not one word").help("a list of words: [\"mcp:call\"]"));
    }
    let (issuer, resource, jwks) = (issuer?, resource?, jwks?);
    for one in [&issuer, &resource] {
        url(one, notes);
    }
    let is_url = jwks.value.contains("://");
    let place = match is_url {
        true => JwksPlace::Url(url(&jwks, notes)?),
        false => JwksPlace::File(check.base.join(jwks.value)),
    };
    Some(JwtConfig {
        issuer: issuer.value.to_owned(),
        resource: resource.value.to_owned(),
        jwks: place,
        scopes: scopes.into_iter().map(|one| one.value.to_owned()).collect(),
        groups_claim: claim.to_owned(),
    })
}

/// `https`, or `http` on this machine, as OAuth wants it.
fn url(text: &At<&str>, notes: &mut Notes) -> Option<Uri> {
    let uri: Option<Uri> = text.value.parse().ok();
    let uri = uri.filter(|uri| {
        let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_fit = match uri.scheme_str() {
            Some("https") => uri.host().is_some(),
            Some("http") => is_here,
            Some(_) | None => false,
        };
        is_fit && !text.value.contains(['"', '#', '@'])
    });
    if uri.is_none() {
        let message = format!("`{}` is no URL for this", text.value.escape_debug());
        let note = Note::new(Code::BadUrl, text.span.clone(), message).label("cannot be used");
        notes.push(note.help("write https://…; http only on 127.0.0.1, [::1] or localhost"));
    }
    uri
}
