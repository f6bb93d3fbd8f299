//! Asking a server that says nothing for a sign of life.
//!
//! On the same session as the calls, or it would say nothing about them, and with a time limit of
//! its own. Any answer is one, an error too. What no answer means, the fleet decides.

use std::time::Duration;

use super::{Own, Session, handshake::modern_params};
use crate::{domain::CallError, gate::Epoch};

impl Session {
    /// Grows whenever the server has said something.
    pub fn heard(&self) -> u64 {
        self.counts().heard()
    }

    /// While the epoch lasts.
    pub async fn probe(&self, epoch: Epoch, wait: Duration) -> Result<(), CallError> {
        let (method, params) = match self.is_modern() {
            true => ("server/discover", modern_params(&self.face, b"")),
            false => ("ping", b"{}".to_vec()),
        };
        let id = self.draw_own_id();
        let probe = Own { id, method, params: &params, epoch: Some(epoch), wait };
        self.ask_own(probe).await.map(drop)
    }
}
