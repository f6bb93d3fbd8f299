//! Carries checkpoints to the witness, as long as the gateway runs.
//!
//! One question at a time, on a connection of its own. What fails is tried again after a pause that
//! grows, and with the next checkpoint at the latest; nothing ever waits for it. What is asked and
//! what an answer means is the affair of `audit`.

use std::{cmp, io};

use http::Uri;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    audit::{Heard, Witness, WitnessProblem},
    domain::limits::{
        AUDIT_WITNESS_ANSWER_BYTES_MAX, AUDIT_WITNESS_PAUSE, AUDIT_WITNESS_PAUSE_MAX,
        AUDIT_WITNESS_TIMEOUT,
    },
    upstream::post,
};

pub(super) async fn attend(url: Uri, mut witness: Witness) {
    let mut pause = AUDIT_WITNESS_PAUSE;
    loop {
        let Some((then, heard)) = once(&url, witness).await else { return };
        witness = then;
        match heard {
            Some(Heard::Cosigned) | None => {
                pause = AUDIT_WITNESS_PAUSE;
                witness.news().await;
            }
            Some(Heard::Elsewhere | Heard::Refused(_)) => {
                sleep(pause).await;
                pause = cmp::min(pause.saturating_mul(2), AUDIT_WITNESS_PAUSE_MAX);
            }
        }
    }
}

/// One question and its answer; no answer if there was nothing to ask. Nothing at all if the
/// process ends.
async fn once(url: &Uri, mut witness: Witness) -> Option<(Witness, Option<Heard>)> {
    // Files are read and written where waiting harms nobody.
    let asked = spawn_blocking(move || (witness.ask(), witness)).await;
    let (asked, mut witness) = asked.ok()?;
    let heard = match asked {
        Ok(None) => return Some((witness, None)),
        Ok(Some(body)) => {
            let limits = (AUDIT_WITNESS_TIMEOUT, AUDIT_WITNESS_ANSWER_BYTES_MAX);
            post(url, body, limits).await
        }
        Err(error) => Err(error),
    };
    let heard = spawn_blocking(move || {
        let heard = heard.and_then(|(status, body)| witness.hear(status.as_u16(), &body));
        (heard.unwrap_or_else(|error| unreachable(&mut witness, &error)), witness)
    });
    let (heard, witness) = heard.await.ok()?;
    Some((witness, Some(heard)))
}

fn unreachable(witness: &mut Witness, error: &io::Error) -> Heard {
    Heard::Refused(witness.failed(WitnessProblem::Unreachable(error.to_string())))
}
