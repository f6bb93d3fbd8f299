//! What is put on record of calls that were refused like one before them.

use super::line::Line;
use crate::{audit::Repeat, domain::CallId};

impl Line {
    pub(super) fn repeat(&mut self, what: &Repeat, first: CallId) {
        self.id("call", first);
        let Repeat { reason, who, server, about, name } = what;
        if let Some(who) = who {
            self.text("principal", who.as_str());
        }
        if let Some(server) = server {
            self.text("server", server.as_str());
        }
        match (name, about) {
            (Some(name), _) => self.text(name.kind().as_str(), name.as_str()),
            (None, Some(about)) => self.text("about", about.as_str()),
            (None, None) => {}
        }
        self.text("reason", reason.as_str());
    }
}
