//! One call that may outlive its caller's patience.
//!
//! Sends it and reads its answer until the host calls it back or the stop does. Its connection is
//! closed before anybody is told, so that nothing of it is written after `sent` was named.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Event;
use crate::upstream::{
    http::{Asked, End, core::Core, line::Slot},
    talk::Told,
};

/// The end of a call before its answer.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) reason: &'static str,
    pub(super) told: Option<Told>,
}

pub(super) async fn carry(
    core: Arc<Core>,
    asked: Asked<'static>,
    mut cut_off: oneshot::Receiver<Cut>,
) {
    let call = asked.id;
    let mut slot = Slot::default();
    let end = core.carry(&mut slot, &asked, &mut cut_off).await;
    // Its connection is closed here: nothing more of it leaves us.
    let (sent, may_be_known) = (slot.sent(), slot.may_be_known());
    drop(slot);
    let cut = match end {
        End::Answered(answer) => {
            cut_off.close();
            if let Some(told) = cut_off.try_recv().ok().and_then(|cut| cut.told) {
                told.tell(sent);
            }
            return core.report(Event::Answered { call, answer }).await;
        }
        End::Left(cut) => cut,
        // The host hears of the stop, too.
        End::Stopped => cut_off.await,
    };
    // Without a host the session is over.
    if let Ok(Cut { reason, told }) = cut {
        if let Some(told) = told {
            told.tell(sent);
        }
        core.report(Event::Ended { call, may_be_known, reason }).await;
    }
}
