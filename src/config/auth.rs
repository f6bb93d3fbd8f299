//! `[auth]`: how an application proves who it is.
//!
//! Several ways may be open at once; one is enough. Owns the rules between them and the listener:
//! nobody is kept out by a way that cannot work there, and nobody comes in without proof where
//! others could reach us.

use std::{collections::BTreeSet, ops::Range};

use super::{
    AuthConfig, AuthMode, Code, Gateway, Listen,
    check::Check,
    report::{Note, Notes},
    section::Section,
};

pub(super) const AUTH_KEYS: [&str; 1] = ["modes"];

pub(super) fn read(section: &Section<'_>, gateway: &Gateway, check: &mut Check<'_>) -> AuthConfig {
    section.refuse_unknown(&AUTH_KEYS, &mut check.notes);
    let modes = modes(section, &mut check.notes);
    let place = section.value_span("modes").unwrap_or_else(|| section.span.clone());
    judge(&modes, gateway, place, &mut check.notes);
    AuthConfig { modes }
}

fn modes(section: &Section<'_>, notes: &mut Notes) -> BTreeSet<AuthMode> {
    let Some(written) = section.texts("modes", notes) else {
        return AuthConfig::default().modes;
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

fn judge(modes: &BTreeSet<AuthMode>, gateway: &Gateway, place: Range<usize>, notes: &mut Notes) {
    let has = |mode| modes.contains(&mode);
    let proofs = modes.iter().any(|mode| !matches!(mode, AuthMode::None | AuthMode::Peer));
    let is_tcp = matches!(gateway.listen, Listen::Tcp(_));
    let refused = match () {
        () if notes.refuses(&place) => return,
        () if has(AuthMode::None) && proofs => (
            "`none` lets everybody in, whatever else is asked for",
            "leave `none` out; `peer` lets users of this machine in by a unix socket",
        ),
        () if modes.is_empty() => ("nobody could come in", "name at least one of none, peer, keys"),
        () if is_tcp && !proofs && !has(AuthMode::None) => (
            "nobody could come in by TCP: only a unix socket knows its peer",
            "write listen = \"unix:/path/to.sock\", or add \"keys\"",
        ),
        () => return,
    };
    let note = Note::new(Code::NoWayIn, place, refused.0).label("these ways");
    notes.push(note.help(refused.1));
}
