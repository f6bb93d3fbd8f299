//! What a server wants to see again, kept by its client and readable by nobody but us.
//!
//! A server's state is encrypted and bound to who asked for what: principal, session, kind, name
//! and arguments. Promises that a state opens only for the same request of the same caller, and not
//! after its time. The key lives as long as the process: after a restart the caller asks anew.

use std::{fmt, time::Duration};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::{
    domain::{Caller, limits::QUESTION_WAIT_MAX},
    wire::{CallParams, base64},
};

const EXPIRY_BYTES: usize = size_of::<u64>();

/// Seals and opens states.
pub(in crate::front) struct Sealer(LessSafeKey);

/// The request that a state belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) struct Binding([u8; 32]);

impl Binding {
    pub(in crate::front) fn of(caller: &Caller, params: &CallParams) -> Self {
        let mut digest = Sha256::new();
        let arguments = params.arguments();
        let parts: [&[u8]; 5] = [
            caller.principal.as_str().as_bytes(),
            caller.conversation.as_deref().unwrap_or_default().as_bytes(),
            params.kind().as_str().as_bytes(),
            params.name().as_bytes(),
            &arguments,
        ];
        for part in parts {
            // With its length before it no part can take from the next.
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl Sealer {
    /// With a key of its own; none if the system has no randomness.
    pub(in crate::front) fn new() -> Option<Self> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?)))
    }

    pub(in crate::front) fn seal(&self, to: Binding, now_ms: u64, state: &str) -> Option<String> {
        let mut nonce = [0_u8; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let expires_ms = now_ms.saturating_add(millis(QUESTION_WAIT_MAX));
        let mut body = expires_ms.to_be_bytes().to_vec();
        body.extend_from_slice(state.as_bytes());
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_of, Aad::from(to.0), &mut body).ok()?;
        Some(base64::encode(&[nonce.as_slice(), &body].concat()))
    }

    /// The server's state; none if it was not sealed here, for this request, in time.
    pub(in crate::front) fn open(&self, to: Binding, now_ms: u64, sealed: &str) -> Option<String> {
        let mut bytes = base64::decode(sealed.as_bytes())?;
        let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let open = self.0.open_in_place(nonce, Aad::from(to.0), body).ok()?;
        let (expires_ms, state) = open.split_at_checked(EXPIRY_BYTES)?;
        let expires_ms = u64::from_be_bytes(expires_ms.try_into().ok()?);
        (now_ms < expires_ms).then(|| String::from_utf8(state.to_vec()).ok()).flatten()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Binding, Sealer, millis};
    use crate::{
        domain::{Caller, Era, Principal, limits::QUESTION_WAIT_MAX},
        wire::{CallMethod, CallParams, Object},
    };

    fn binding(principal: &str, conversation: Option<&str>, params: &str) -> Binding {
        let caller = Caller {
            principal: Principal::new(principal),
            client: "c".into(),
            conversation: conversation.map(Into::into),
            era: Era::Modern,
        };
        let params = Object::parse(params.to_owned().into()).unwrap();
        Binding::of(&caller, &CallParams::parse(CallMethod::ToolsCall, &params).unwrap())
    }

    #[test]
    fn a_state_opens_only_for_its_own_request_and_in_time() {
        let sealer = Sealer::new().unwrap();
        let mine = binding("ann", None, r#"{"name":"a","arguments":{"x":1}}"#);
        let sealed = sealer.seal(mine, 1_000, "the server's").unwrap();
        assert_eq!(sealer.open(mine, 1_000, &sealed).as_deref(), Some("the server's"));
        for other in [
            binding("bob", None, r#"{"name":"a","arguments":{"x":1}}"#),
            binding("ann", Some("s"), r#"{"name":"a","arguments":{"x":1}}"#),
            binding("ann", None, r#"{"name":"b","arguments":{"x":1}}"#),
            binding("ann", None, r#"{"name":"a","arguments":{"x":2}}"#),
        ] {
            assert_eq!(sealer.open(other, 1_000, &sealed), None);
        }
        let late = 1_000 + millis(QUESTION_WAIT_MAX);
        assert!(sealer.open(mine, late - 1, &sealed).is_some());
        assert_eq!(sealer.open(mine, late, &sealed), None);
        assert_eq!(Sealer::new().unwrap().open(mine, 1_000, &sealed), None, "another key");
    }

    #[test]
    fn a_state_that_was_touched_anywhere_does_not_open() {
        let sealer = Sealer::new().unwrap();
        let mine = binding("ann", None, r#"{"name":"a"}"#);
        let sealed = sealer.seal(mine, 0, "s").unwrap();
        for at in 0..sealed.len() {
            let mut touched = sealed.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            assert_eq!(sealer.open(mine, 0, &touched), None, "{at}");
        }
        for wrong in ["", "AAAA", "no base 64", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(sealer.open(mine, 0, wrong), None);
        }
    }
}
