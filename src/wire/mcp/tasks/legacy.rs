//! Tasks of 2025-11-25, as far as one call needs them: begun, asked for, fetched.
//!
//! They have the names of those of the extension and other shapes: the answer that begins one holds
//! it in a member, times have other names, and the result is fetched by a request of its own.
//! Keeps nothing.

use std::time::Duration;

use bytes::Bytes;

use super::TASK_ID;
use crate::{
    domain::TaskId,
    wire::{
        WireError,
        json::{Object, quote},
    },
};

/// The key by which messages name the task that they belong to.
pub(super) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// What a legacy server says of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTask {
    pub id: TaskId,
    pub stands: LegacyStatus,
    /// How long to wait before it is asked about again, as the server wishes.
    pub poll: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyStatus {
    Working,
    /// It goes on only when its questions are answered.
    Asks,
    /// There is something to be fetched.
    Over,
}

impl LegacyTask {
    /// The task that an answer to a call begins; none if it is a plain answer.
    pub fn begun(answer: &Object) -> Option<Result<Self, WireError>> {
        answer.object("task").map(|task| Self::read(&task))
    }

    /// The answer to `tasks/get`.
    pub fn read(told: &Object) -> Result<Self, WireError> {
        let wrong = |rule| WireError::Params { rule };
        let id = told.text(TASK_ID).and_then(|id| TaskId::parse(&id).ok());
        let stands = match told.peek("status") {
            Some(b"\"working\"") => LegacyStatus::Working,
            Some(b"\"input_required\"") => LegacyStatus::Asks,
            Some(b"\"completed\"" | b"\"failed\"" | b"\"cancelled\"") => LegacyStatus::Over,
            Some(_) | None => return Err(wrong("`status` must be one of a task")),
        };
        let poll = told.integer("pollInterval").and_then(|ms| u64::try_from(ms).ok());
        let id = id.ok_or(wrong("`taskId` must be an id"))?;
        Ok(Self { id, stands, poll: poll.map(Duration::from_millis) })
    }

    /// The parameters of every request about it.
    pub fn params(&self) -> Bytes {
        let edit = Object::empty().edit().set(TASK_ID, quote(self.id.as_str()));
        edit.finish().into_bytes()
    }
}

/// Whether capabilities of a legacy server say that its tools may run as tasks.
pub fn runs_legacy_tasks(capabilities: Option<&Object>) -> bool {
    let requests = legacy_tasks(capabilities).and_then(|tasks| tasks.object("requests"));
    let tools = requests.and_then(|requests| requests.object("tools"));
    tools.is_some_and(|tools| tools.object("call").is_some())
}

/// Whether they say that a task can be cancelled.
pub fn cancels_legacy_tasks(capabilities: Option<&Object>) -> bool {
    legacy_tasks(capabilities).is_some_and(|tasks| tasks.object("cancel").is_some())
}

fn legacy_tasks(capabilities: Option<&Object>) -> Option<Object> {
    capabilities?.object("tasks")
}

/// Whether a message of a server belongs to a task.
pub fn is_of_a_task(params: Option<&Object>) -> bool {
    let meta = params.and_then(|params| params.object("_meta"));
    meta.is_some_and(|meta| meta.contains(RELATED))
}

/// What a task came to, as if the call had been answered by it.
pub fn as_plain_answer(result: &Object) -> Result<Object, WireError> {
    let Some(meta) = result.object("_meta").filter(|meta| meta.contains(RELATED)) else {
        return Ok(result.clone());
    };
    let meta = meta.edit().remove(RELATED);
    let edit = result.edit();
    let edit = if meta.is_empty() { edit.remove("_meta") } else { edit.set_edited("_meta", meta) };
    Object::parse(edit.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        LegacyStatus, LegacyTask, Object, as_plain_answer, cancels_legacy_tasks, is_of_a_task,
        runs_legacy_tasks,
    };

    fn object(text: &str) -> Object {
        Object::parse(text.to_owned().into()).unwrap()
    }

    #[test]
    fn a_task_is_read_where_it_stands() {
        let told = r#"{"taskId":"t","status":"working","ttl":null,"pollInterval":250}"#;
        let task = LegacyTask::read(&object(told)).unwrap();
        assert_eq!((task.id.as_str(), task.stands), ("t", LegacyStatus::Working));
        assert_eq!(task.poll, Some(Duration::from_millis(250)));
        assert_eq!(task.params(), r#"{"taskId":"t"}"#);
        let begun = LegacyTask::begun(&object(&format!(r#"{{"task":{told}}}"#)));
        assert_eq!(begun.unwrap().unwrap(), task);
        assert!(LegacyTask::begun(&object(r#"{"content":[]}"#)).is_none(), "a plain answer");
        for wrong in [
            r#"{"status":"working"}"#,
            r#"{"taskId":"","status":"working"}"#,
            r#"{"taskId":7,"status":"working"}"#,
            r#"{"taskId":"t"}"#,
            r#"{"taskId":"t","status":"resting"}"#,
        ] {
            assert!(LegacyTask::read(&object(wrong)).is_err(), "{wrong}");
        }
        let stands = |status: &str| {
            let told = format!(r#"{{"taskId":"t","status":"{status}","pollInterval":-1}}"#);
            let task = LegacyTask::read(&object(&told)).unwrap();
            (task.stands, task.poll)
        };
        assert_eq!(stands("input_required"), (LegacyStatus::Asks, None));
        for over in ["completed", "failed", "cancelled"] {
            assert_eq!(stands(over), (LegacyStatus::Over, None));
        }
    }

    #[test]
    fn only_a_server_that_says_so_runs_tools_as_tasks() {
        let check = |text: &str, runs, cancels| {
            let all = object(text);
            let got = (runs_legacy_tasks(Some(&all)), cancels_legacy_tasks(Some(&all)));
            assert_eq!(got, (runs, cancels), "{text}");
        };
        check(r#"{"tasks":{"requests":{"tools":{"call":{}}},"cancel":{}}}"#, true, true);
        check(r#"{"tasks":{"requests":{"tools":{}},"list":{}}}"#, false, false);
        check(r#"{"tools":{"call":{}}}"#, false, false);
        assert!(!runs_legacy_tasks(None));
    }

    #[test]
    fn a_result_loses_the_name_of_its_task_and_nothing_else() {
        let related = r#""io.modelcontextprotocol/related-task":{"taskId":"t"}"#;
        let plain = |text: String| as_plain_answer(&object(&text)).unwrap().raw().clone();
        assert_eq!(plain(format!(r#"{{"x":1.0,"_meta":{{{related}}}}}"#)), r#"{"x":1.0}"#);
        let kept = plain(format!(r#"{{"_meta":{{"a":1,{related}}},"x":[ ]}}"#));
        assert_eq!(kept, r#"{"_meta":{"a":1},"x":[ ]}"#);
        assert_eq!(plain(r#"{"_meta":{}}"#.to_owned()), r#"{"_meta":{}}"#);
        assert!(is_of_a_task(Some(&object(&format!(r#"{{"_meta":{{{related}}}}}"#)))));
        assert!(!is_of_a_task(Some(&object(r#"{"_meta":{}}"#))));
    }
}
