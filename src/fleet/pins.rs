//! What the operator asks of the pins; the keeper owns them.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Fleet, keeper::News};
use crate::gate::{PinError, Quarantine, Selection};

impl Fleet {
    /// What waits to be approved.
    pub fn quarantine(&self) -> Arc<Quarantine> {
        self.shown.quarantine.load_full()
    }

    /// Approves what is held back; it can be used when this returns. Gives how much it was.
    pub async fn approve(&self, who: String, selection: Selection) -> Result<usize, PinError> {
        let (told, done) = oneshot::channel();
        let approve = News::Approve { who, selection, told };
        // Without a keeper the gateway is about to end.
        if self.nursery.news.send(approve).await.is_err() {
            return Err(PinError::Ending);
        }
        done.await.unwrap_or(Err(PinError::Ending))
    }

    /// Has `pins.lock` looked at again.
    pub async fn read_pins(&self) {
        let (published, done) = oneshot::channel();
        if self.nursery.news.send(News::ReadPins { published }).await.is_err()
            || done.await.is_err()
        {
            tracing::debug!("The gateway ended before its pins were read");
        }
    }
}
