//! A call whose tool runs only as a task of the legacy kind: begun, asked about, fetched.
//!
//! Its caller sees a plain call with one answer in its time. Promises that each request asks the
//! latch, and that a task which nobody waits for any more is cancelled, whatever ended the waiting:
//! withdrawal, time, stop, or what the server says. Nobody can be asked by way of a task, and no
//! progress of it is heard.

use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};

use super::{Line, Outgoing, Own, Session};
use crate::{
    domain::{
        CallError, Sent,
        limits::{LEGACY_TASK_POLL, LEGACY_TASK_POLL_MAX, LEGACY_TASK_POLL_MIN},
    },
    gate::{Epoch, Permit},
    wire::{
        Body, LegacyStatus, LegacyTask, RequestId, Response, as_plain_answer, cancels_legacy_tasks,
        encode_request,
    },
};

/// Carries the call out within its deadline.
pub(super) async fn drive(
    session: &Session,
    permit: &Permit,
    call: &Outgoing,
) -> Result<Response, CallError> {
    let until = Instant::now() + call.deadline;
    let params = call.params.as_task(call.deadline).into();
    let begin = Outgoing { params, ..call.clone() };
    let draft = session.draft(permit.call(), &begin);
    let begun = session.write(permit, (draft, &begin), (None, None)).await?;
    let Body::Result(answer) = &begun.body else { return Ok(begun) };
    // It may think better of it, and answer at once.
    let Some(task) = LegacyTask::begun(answer) else { return Ok(begun) };
    let task = task.map_err(|_| broken("the task that it began cannot be read"))?;
    let running = Running { session, epoch: permit.epoch(), until, task, is_over: false };
    running.see_through().await
}

/// A task that somebody waits for.
struct Running<'a> {
    session: &'a Session,
    epoch: Epoch,
    until: Instant,
    task: LegacyTask,
    is_over: bool,
}

impl Running<'_> {
    async fn see_through(mut self) -> Result<Response, CallError> {
        loop {
            match self.task.stands {
                LegacyStatus::Working => {}
                LegacyStatus::Asks => {
                    return Err(broken("its task asks, and none can be answered"));
                }
                LegacyStatus::Over => break,
            }
            self.pause().await?;
            self.look().await?;
        }
        self.is_over = true;
        let mut answer = self.ask("tasks/result").await?;
        if let Body::Result(result) = &answer.body {
            let plain = as_plain_answer(result);
            answer.body = Body::Result(plain.map_err(|_| broken("its result cannot be read"))?);
        }
        Ok(answer)
    }

    /// As long as the server wishes, within bounds, unless something ends the call.
    async fn pause(&self) -> Result<(), CallError> {
        let sent = Sent::Yes;
        let pause = self.task.poll.unwrap_or(LEGACY_TASK_POLL);
        select! {
            // The stop first, as everywhere.
            biased;
            () = self.session.latch.passed(self.epoch) => Err(CallError::Stopped { sent }),
            _ = self.session.closed() => Err(CallError::Unavailable { sent }),
            () = sleep_until(self.until) => Err(CallError::Deadline { sent }),
            () = sleep(pause.clamp(LEGACY_TASK_POLL_MIN, LEGACY_TASK_POLL_MAX)) => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<(), CallError> {
        let told = match self.ask("tasks/get").await {
            Ok(told) => told,
            // There is no room for it now. The next look may find some.
            Err(CallError::Busy | CallError::Crowded | CallError::Queued) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Body::Result(told) = &told.body else {
            return Err(broken("it does not know the task that it began"));
        };
        match LegacyTask::read(told) {
            Ok(task) if task.id == self.task.id => self.task = task,
            Ok(_) => return Err(broken("it answers for another task")),
            Err(_) => return Err(broken("what it says of its task cannot be read")),
        }
        Ok(())
    }

    async fn ask(&self, method: &'static str) -> Result<Response, CallError> {
        let id = self.session.draw_own_id();
        let (params, epoch) = (self.task.params(), Some(self.epoch));
        let wait = self.until.saturating_duration_since(Instant::now());
        let asked = self.session.ask_own(Own { id, method, params: &params, epoch, wait });
        asked.await.map_err(CallError::of_a_sent_call)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Self { session, task, is_over, .. } = self;
        if *is_over || !cancels_legacy_tasks(session.capabilities()) {
            return;
        }
        let id = session.draw_own_id();
        let params = task.params();
        // Like every cancellation it is written while stopped, too.
        let frame = encode_request(&RequestId::from_u64(id), "tasks/cancel", Some(&params));
        match &session.line {
            Line::Stdio(line) => line.send_off(id, frame),
            Line::Http(line) => line.send_off(frame, session.version()),
        }
    }
}

fn broken(what: &'static str) -> CallError {
    CallError::Protocol { what }
}
