//! What a server wants to see again, kept by its client and readable by nobody but us.
//!
//! What a server said is encrypted and bound: its state to who asked for what (principal, session,
//! kind, name and arguments), the id of a task to the principal. Promises that it opens only for
//! the same, and not after its time. The key lives as long as the process: after a restart the
//! caller asks anew.

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{
    domain::{Caller, limits::QUESTION_WAIT_MAX},
    gate::digest_over,
    wire::{CallParams, base64},
};

const EXPIRY_BYTES: usize = size_of::<u64>();

/// The time of what has no end of its own.
pub(in crate::front) const FOREVER: u64 = u64::MAX;

/// Seals and opens states and ids.
pub(in crate::front) struct Sealer(LessSafeKey);

/// What a sealed text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) struct Binding([u8; 32]);

impl Binding {
    pub(in crate::front) fn of(caller: &Caller, params: &CallParams) -> Self {
        let arguments = params.arguments();
        Self(digest_over(&[
            caller.principal.as_str().as_bytes(),
            caller.conversation.as_deref().unwrap_or_default().as_bytes(),
            params.kind().as_str().as_bytes(),
            params.name().as_bytes(),
            &arguments,
        ]))
    }

    /// Whatever a caller may do about its tasks. One part, so it is never a request's.
    pub(in crate::front) fn of_tasks(caller: &Caller) -> Self {
        Self(digest_over(&[caller.principal.as_str().as_bytes()]))
    }
}

impl Sealer {
    /// With a key of its own; none if the system has no randomness.
    pub(in crate::front) fn new() -> Option<Self> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?)))
    }

    /// Opens until `expires_ms`.
    pub(in crate::front) fn seal(
        &self,
        to: Binding,
        expires_ms: u64,
        text: &str,
    ) -> Option<String> {
        let mut nonce = [0_u8; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut body = expires_ms.to_be_bytes().to_vec();
        body.extend_from_slice(text.as_bytes());
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_of, Aad::from(to.0), &mut body).ok()?;
        Some(base64::encode(&[nonce.as_slice(), &body].concat()))
    }

    /// The text; none if it was not sealed here, for the same, or its time is over.
    pub(in crate::front) fn open(&self, to: Binding, now_ms: u64, sealed: &str) -> Option<String> {
        let mut bytes = base64::decode(sealed.as_bytes())?;
        let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let open = self.0.open_in_place(nonce, Aad::from(to.0), body).ok()?;
        let (expires_ms, text) = open.split_at_checked(EXPIRY_BYTES)?;
        let expires_ms = u64::from_be_bytes(expires_ms.try_into().ok()?);
        (now_ms < expires_ms).then(|| String::from_utf8(text.to_vec()).ok()).flatten()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// The time of what a person is to answer.
pub(in crate::front) fn answerable_until(now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::try_from(QUESTION_WAIT_MAX.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Binding, FOREVER, Sealer, answerable_until};
    use crate::{
        domain::{Caller, Era, Principal, Transport},
        wire::{CallMethod, CallParams, Object},
    };

    fn caller(principal: &str, conversation: Option<&str>) -> Caller {
        Caller {
            principal: Principal::new(principal),
            client: "c".into(),
            conversation: conversation.map(Into::into),
            era: Era::Modern,
            transport: Transport::Http,
        }
    }

    fn binding(principal: &str, conversation: Option<&str>, params: &str) -> Binding {
        let caller = caller(principal, conversation);
        let params = Object::parse(params.to_owned().into()).unwrap();
        Binding::of(&caller, &CallParams::parse(CallMethod::ToolsCall, &params).unwrap())
    }

    #[test]
    fn a_state_opens_only_for_its_own_request_and_in_time() {
        let sealer = Sealer::new().unwrap();
        let mine = binding("ann", None, r#"{"name":"a","arguments":{"x":1}}"#);
        let late = answerable_until(1_000);
        let sealed = sealer.seal(mine, late, "the server's").unwrap();
        assert_eq!(sealer.open(mine, 1_000, &sealed).as_deref(), Some("the server's"));
        for other in [
            binding("bob", None, r#"{"name":"a","arguments":{"x":1}}"#),
            binding("ann", Some("s"), r#"{"name":"a","arguments":{"x":1}}"#),
            binding("ann", None, r#"{"name":"b","arguments":{"x":1}}"#),
            binding("ann", None, r#"{"name":"a","arguments":{"x":2}}"#),
        ] {
            assert_eq!(sealer.open(other, 1_000, &sealed), None);
        }
        assert!(sealer.open(mine, late - 1, &sealed).is_some());
        assert_eq!(sealer.open(mine, late, &sealed), None);
        assert_eq!(Sealer::new().unwrap().open(mine, 1_000, &sealed), None, "another key");
    }

    #[test]
    fn the_id_of_a_task_is_no_state_and_belongs_to_one_principal() {
        let sealer = Sealer::new().unwrap();
        let mine = Binding::of_tasks(&caller("ann", None));
        let id = sealer.seal(mine, FOREVER, "t").unwrap();
        assert_eq!(sealer.open(mine, u64::MAX - 1, &id).as_deref(), Some("t"));
        let again = Binding::of_tasks(&caller("ann", Some("another session")));
        assert!(sealer.open(again, 0, &id).is_some(), "a task outlives its session");
        assert_eq!(sealer.open(Binding::of_tasks(&caller("bob", None)), 0, &id), None);
        assert_eq!(sealer.open(binding("ann", None, r#"{"name":"a"}"#), 0, &id), None);
    }

    #[test]
    fn a_state_that_was_touched_anywhere_does_not_open() {
        let sealer = Sealer::new().unwrap();
        let mine = binding("ann", None, r#"{"name":"a"}"#);
        let sealed = sealer.seal(mine, answerable_until(0), "s").unwrap();
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
