//! Carries checkpoints to the witness as long as the gateway runs, and the last one at the end.
//!
//! One question at a time, on a connection of its own. What fails is tried again after a pause that
//! grows, and with the next checkpoint at the latest; nothing ever waits for it, but that the end
//! waits a moment for the last. What is asked and what an answer means is the affair of `audit`.

use std::{cmp, io};

use http::{HeaderMap, Uri};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{Heard, Witness, WitnessProblem},
    domain::limits::{
        AUDIT_WITNESS_ANSWER_BYTES_MAX, AUDIT_WITNESS_PAUSE, AUDIT_WITNESS_PAUSE_MAX,
        AUDIT_WITNESS_TIMEOUT,
    },
    upstream::post,
};

/// Runs until the last checkpoint is signed (`is_last`) and the witness has had it.
pub(super) async fn attend(url: Uri, mut witness: Witness, is_last: CancellationToken) {
    let mut pause = AUDIT_WITNESS_PAUSE;
    loop {
        let is_over = is_last.is_cancelled();
        let Some((then, heard)) = once(&url, witness).await else { return };
        witness = then;
        match heard {
            // It has said where it is: the next question is the one that counts.
            Some(Heard::Elsewhere) if is_over => {}
            _ if is_over => return,
            Some(Heard::Cosigned) | None => {
                pause = AUDIT_WITNESS_PAUSE;
                tokio::select! {
                    () = witness.news() => {}
                    () = is_last.cancelled() => {}
                }
            }
            Some(Heard::Elsewhere | Heard::Refused(_)) => {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = is_last.cancelled() => {}
                }
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
            let headers = HeaderMap::new();
            post((url, &headers), ("text/plain; charset=utf-8", body), limits).await
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
