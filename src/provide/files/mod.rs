//! What the file server offers: four tools and every file as a resource, over one tree.
//!
//! Speaks JSON values, not JSON-RPC; which era asks is no business of this room. Everything that
//! may take long looks at the request's cancel flag.

mod catalog;
mod glob;
mod mime;
mod resources;
mod search;
mod tools;

use std::{path::Path, sync::atomic::AtomicBool};

use serde_json::{Value, json};

use self::{resources::PageError, tools::Tool};
use super::tree::{Budget, FileError, Root, RootError};

/// One served tree.
#[derive(Debug)]
pub(super) struct Files {
    root: Root,
}

/// A request that touches the file system.
#[derive(Debug)]
pub(super) enum Task {
    Call { name: String, arguments: bytes::Bytes },
    ListResources { cursor: Option<String> },
    ReadResource { uri: String },
}

/// What is answered as a protocol error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    UnknownTool,
    Cursor,
    /// Not there, or nothing that can be given as a resource.
    Resource {
        uri: String,
        told: String,
    },
    Failed {
        told: String,
    },
    /// Nobody waits any more.
    Cancelled,
}

impl Files {
    pub(super) fn open(root: &Path) -> Result<Self, RootError> {
        Root::open(root).map(|root| Self { root })
    }

    /// The body of `tools/list`.
    pub(super) fn tools() -> Value {
        json!({ "tools": catalog::definitions() })
    }

    /// The body of `resources/templates/list`.
    pub(super) fn templates() -> Value {
        resources::templates()
    }

    pub(super) fn run(&self, task: &Task, cancelled: &AtomicBool) -> Result<Value, Fault> {
        let budget = Budget::new(cancelled);
        match task {
            Task::Call { name, arguments } => Tool::named(name)
                .ok_or(Fault::UnknownTool)?
                .call(&self.root, arguments, budget)
                .map_err(|tools::Cancelled| Fault::Cancelled),
            Task::ListResources { cursor } => {
                resources::list(&self.root, cursor.as_deref(), budget).map_err(
                    |error| match error {
                        PageError::Cursor => Fault::Cursor,
                        PageError::File(FileError::Cancelled) => Fault::Cancelled,
                        PageError::File(error) => Fault::Failed { told: error.told() },
                    },
                )
            }
            Task::ReadResource { uri } => resources::read(&self.root, uri)
                .map_err(|error| Fault::Resource { uri: uri.clone(), told: error.told() }),
        }
    }
}
