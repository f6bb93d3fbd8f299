//! Work that a server goes on with after it has answered the call that began it.
//!
//! A `Task` is known by the server's own id, which means something only together with the server.
//! It remembers which tool began it, so that whoever may not call the tool does not reach its
//! tasks, and which call, so that the audit can be followed. Says nothing of how the work stands.

use crate::domain::{CallId, ReplicaNo, TaskId, ToolName};

/// One task of one server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    pub tool: ToolName,
    pub id: TaskId,
    /// The call whose answer it was.
    pub begun_by: CallId,
    /// Who runs it.
    pub at: ReplicaNo,
}

/// What can be done about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStep {
    /// Asking how it stands.
    Get,
    /// Answering its questions.
    Update,
    Cancel,
}
