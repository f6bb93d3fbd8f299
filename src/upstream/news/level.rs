//! From which level on a legacy server logs to one caller: as much as was ever asked for.
//!
//! A legacy session has one level, while callers say theirs with each request. What each request
//! hears is decided where its notices are handed out, so a server is only ever told to say more.
//! Promises that a session which is not its caller's own is told nothing, and that a plain call
//! sends nothing and waits for nothing. Tells again what a session has forgotten.

use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    domain::{CallError, Era, limits::WATCH_ASK_TIMEOUT},
    gate::Epoch,
    upstream::{NoticeSender, Outgoing, Own, Session, Whose},
    wire::Level,
};

/// What a server was told, and in which memory of its.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Told(Mutex<Option<(u64, Level)>>);

impl Session {
    /// The level from which on this call is to be heard of, if the server has to know.
    pub(in crate::upstream) fn wanted_level(
        &self,
        call: &Outgoing,
        notices: Option<&NoticeSender>,
    ) -> Option<Level> {
        if self.whose == Whose::Everybodys || notices.is_none() {
            return None;
        }
        let level = call.params.log_level()?;
        let logs = self.capabilities().is_some_and(|declared| declared.contains("logging"));
        (logs && self.version().era() == Era::Legacy).then_some(level)
    }

    /// Makes sure that the server logs from `level` on. One that refuses, or does not answer in
    /// time, is not told again: the call matters more.
    pub(in crate::upstream) async fn log_from(&self, level: Level, epoch: Epoch) {
        let mut told = self.told.0.lock().await;
        let memory = self.memory();
        let before = told.filter(|(then, _)| *then == memory).map(|(_, level)| level);
        if before.is_some_and(|before| before <= level) {
            return;
        }
        let params = json!({ "level": level.as_str() }).to_string();
        let asking = self.ask_own(Own {
            id: self.draw_own_id(),
            method: "logging/setLevel",
            params: params.as_bytes(),
            epoch: Some(epoch),
            wait: WATCH_ASK_TIMEOUT,
        });
        match asking.await {
            Ok(_) | Err(CallError::Deadline { .. }) => *told = Some((memory, level)),
            // The call finds out by itself what is wrong.
            Err(_) => {}
        }
    }
}
