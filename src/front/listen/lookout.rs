//! How the tasks of one subscription stand.
//!
//! That a task stands otherwise is all that is taken from its server's notification. How it stands
//! is asked for by a call like any other, `tasks/get` of whoever listens: judged, on record, its
//! questions past the gate, and no more at once than one for each task. So news that come in a
//! flood, or are lost in a gap, end in what is true now. What cannot be asked is asked again.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::Watched;
use crate::{
    domain::{
        CallError, Caller,
        limits::{RESTART_BACKOFF_MAX, TASK_LOOK_PAUSE},
    },
    front::{
        Front,
        dispatch::{Answer, Ask},
    },
    gate::Marks,
    wire::{
        Body, CallParams, ErrorObject, Frame, Object, Request, RequestId, code, encode_task_news,
        is_over,
    },
};

/// The tasks that one subscription tells of.
pub(super) struct Lookouts {
    told: mpsc::Receiver<Frame>,
    _running: JoinSet<()>,
}

/// Looks after one task, until it is over.
struct Lookout {
    front: Arc<Front>,
    caller: Arc<Caller>,
    /// The question how it stands.
    params: Arc<CallParams>,
    subscription: RequestId,
    task: Watched,
}

/// What a look comes to.
enum Look {
    Told(Object),
    /// Nothing can be told of how it stands now.
    Nothing,
    /// There is no such task any more.
    Gone,
}

impl Lookouts {
    /// None without tasks.
    pub(super) fn begin(
        (front, caller): (&Arc<Front>, &Arc<Caller>),
        request: &Request,
        tasks: Vec<Watched>,
    ) -> Result<Option<Self>, ErrorObject> {
        let Some(sent) = request.params.as_ref().filter(|_| !tasks.is_empty()) else {
            return Ok(None);
        };
        let (say, told) = mpsc::channel(1);
        let mut running = JoinSet::new();
        for task in tasks {
            let lookout = Lookout {
                front: front.clone(),
                caller: caller.clone(),
                params: Arc::new(CallParams::about_task(&task.name, sent)?),
                subscription: request.id.detached(),
                task,
            };
            running.spawn(lookout.run(say.clone()));
        }
        Ok(Some(Self { told, _running: running }))
    }
}

/// What is told next; for ever nothing where there are no tasks, or none that goes on.
pub(super) async fn told(lookouts: Option<&mut Lookouts>) -> Frame {
    if let Some(lookouts) = lookouts
        && let Some(told) = lookouts.told.recv().await
    {
        return told;
    }
    std::future::pending().await
}

impl Lookout {
    async fn run(self, say: mpsc::Sender<Frame>) {
        loop {
            self.task.mailbox.heard(|| true).await;
            match self.look_until_known().await {
                Look::Told(told) => {
                    let frame = encode_task_news(&self.subscription, &told);
                    if say.send(frame).await.is_err() || is_over(&told) {
                        return;
                    }
                }
                Look::Nothing => {}
                Look::Gone => return,
            }
            sleep(TASK_LOOK_PAUSE).await;
        }
    }

    async fn look_until_known(&self) -> Look {
        let mut pause: Duration = TASK_LOOK_PAUSE;
        loop {
            // A refusal while stopped would be a record each time.
            self.front.gate.latch().resumed(Marks::of_principal(&self.caller.principal)).await;
            // In a box: it is rare, and who waits for news would carry it.
            let look = look(&self.front, self.caller.clone(), self.params.clone());
            if let Some(known) = Box::pin(look).await {
                return known;
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(RESTART_BACKOFF_MAX);
        }
    }
}

/// None if it may be known later.
async fn look(front: &Arc<Front>, caller: Arc<Caller>, params: Arc<CallParams>) -> Option<Look> {
    match front.clone().call(Ask { caller, params, shown: None, visitor: None }, None).await {
        Answer::Task(told) => Some(Look::Told(told)),
        Answer::Reply(_, response) => match response.body {
            Body::Error(error) if error.integer("code") != Some(code::INVALID_PARAMS) => None,
            Body::Error(_) | Body::Result(_) => Some(Look::Gone),
        },
        Answer::Failed { error: CallError::Protocol { .. }, .. } => Some(Look::Nothing),
        Answer::Failed { .. } | Answer::Refused { .. } => None,
        Answer::Unknown { .. } | Answer::Asks { .. } | Answer::LacksPages | Answer::Mismatch(_) => {
            Some(Look::Gone)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Look, look};
    use crate::{
        front::{
            Front,
            stdio::tests::front,
            tasks::tests::{caller, id_for_ann},
        },
        gate::Cause,
        wire::{CallParams, Object},
    };

    async fn looks(front: &Arc<Front>, principal: &str, id: &str) -> &'static str {
        let meta = r#"{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
        let sent = Object::parse(format!(r#"{{"_meta":{meta}}}"#).into()).unwrap();
        let params = CallParams::about_task(id, &sent).unwrap();
        match look(front, caller(principal), params.into()).await {
            None => "again",
            Some(Look::Gone) => "gone",
            Some(Look::Nothing | Look::Told(_)) => panic!("no server runs"),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_now_is_asked_again_and_what_is_unknown_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (front, _audit) = front(dir.path());
        let id = id_for_ann(&front);
        assert_eq!(looks(&front, "ann", &id).await, "again", "its server does not run");
        assert_eq!(looks(&front, "bob", &id).await, "gone");
        assert_eq!(looks(&front, "ann", "forged").await, "gone");
        front.gate.engage(Cause::new("test", "test"));
        assert_eq!(looks(&front, "ann", &id).await, "again", "the stop comes first");
    }
}
