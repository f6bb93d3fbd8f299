//! What is approved and what is held back, for the operator.
//!
//! Reads the lock, so that the approved text can be compared with the offered one. Changes nothing.

use std::{path::PathBuf, sync::Arc};

use super::{Held, PinError, Quarantine, aside, canonical::Pin, diff::difference, lock::Lock};
use crate::{domain::ServerName, wire::List};

/// Everything there is to say of pins.
#[derive(Debug)]
pub struct Report {
    pub path: PathBuf,
    /// Why what is approved is not known, or was not kept.
    pub problem: Option<String>,
    pub approved: Vec<Approved>,
    /// With how it differs from what is approved.
    pub held: Vec<(ServerName, Held, Vec<String>)>,
}

#[derive(Debug)]
pub struct Approved {
    pub server: ServerName,
    pub list: List,
    pub name: String,
    pub pin: Pin,
    /// In its canonical text.
    pub definition: String,
}

impl Quarantine {
    /// Of nothing that is offered: only the lock is looked at.
    pub fn nothing(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    pub async fn report(self: Arc<Self>) -> Result<Report, PinError> {
        aside(move || Ok(self.report_now())).await
    }

    /// The same; blocks.
    pub fn report_now(&self) -> Report {
        let (lock, unreadable) = match Lock::read(&self.path) {
            Ok(lock) => (lock, None),
            Err(error) => (Lock::default(), Some(error.to_string())),
        };
        let problem = unreadable.or_else(|| self.problem.clone());
        let mut approved = Vec::new();
        for (server, section) in &lock.servers {
            let entries = section.entries().zip(section.pins(server));
            approved.extend(entries.map(|((list, name, definition), pin)| {
                let (server, name) = (server.clone(), name.to_owned());
                Approved { server, list, name, pin, definition: definition.to_owned() }
            }));
        }
        let held = self.held.iter().flat_map(|(server, held)| {
            let section = lock.servers.get(server);
            held.iter().map(move |held| {
                let before = section.and_then(|section| section.get(held.list, &held.name));
                let lines = difference(before.map(String::as_str), &held.definition);
                (server.clone(), held.clone(), lines)
            })
        });
        Report { path: self.path.clone(), problem, approved, held: held.collect() }
    }
}
