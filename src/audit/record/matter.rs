//! What crosses the gateway, and what came of it, as members of a record.
//!
//! Owns which facts of a call, of a server's questions and of a wish are on record. Content is
//! never among them: a commitment and a length stand for it.

use std::time::Duration;

use super::line::Line;
use crate::{
    config::Digests,
    domain::{
        Call, CallError, CallId, Caller, Grounds, Kind, Matter, Outcome, Questions, Subject, Topic,
        Wish,
    },
};

impl Line {
    pub(super) fn matter(&mut self, matter: Matter<'_>) {
        match matter {
            Matter::Call(call) => self.call(call),
            Matter::Questions(questions) => self.questions(questions),
            Matter::Wish(wish) => self.wish(wish),
        }
    }

    fn call(&mut self, call: &Call) {
        self.id("call", call.id);
        self.caller(&call.caller);
        self.text("server", call.server.as_str());
        self.text(call.subject.kind().as_str(), call.subject.as_str());
        if let Subject::Task(_, task) = &call.subject {
            self.id("begun_by", task.begun_by);
        }
        self.number("generation", call.generation.0);
        self.commit(("args_commit", "args_bytes"), &call.arguments);
        if let Some(answers) = &call.answers {
            self.commit(("answers_commit", "answers_bytes"), answers);
        }
    }

    fn questions(&mut self, questions: &Questions) {
        self.id("call", questions.call);
        self.caller(&questions.caller);
        self.text("server", questions.server.as_str());
        let asks: Vec<&str> = questions.asks.iter().map(|asking| asking.as_str()).collect();
        self.text("asks", &asks.join(","));
        self.commit(("questions_commit", "questions_bytes"), &questions.text);
    }

    pub(super) fn caller(&mut self, caller: &Caller) {
        self.text("principal", caller.principal.as_str());
        self.text("client", &caller.client);
        if let Some(conversation) = &caller.conversation {
            self.text("conversation", conversation);
        }
        self.text("era", caller.era.as_str());
        self.text("transport", caller.transport.as_str());
    }

    pub(super) fn outcome(&mut self, call: CallId, outcome: Outcome, elapsed: Duration) {
        self.id("call", call);
        let word = match outcome {
            Outcome::Answered => "answered",
            Outcome::TaskBegun => "task_begun",
            Outcome::ServerError => "server_error",
            Outcome::Failed(_) => "failed",
        };
        self.text("outcome", word);
        if let Outcome::Failed(error) = outcome {
            self.text("error", error.as_str());
            self.text("sent", error.sent().as_str());
            if let CallError::Protocol { what } = error {
                self.text("what", what);
            }
        }
        self.number("elapsed_us", u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    fn wish(&mut self, wish: &Wish) {
        self.id("call", wish.id);
        self.caller(&wish.caller);
        self.text("server", wish.server.as_str());
        match &wish.topic {
            Topic::Resource(uri) => self.text(Kind::Resource.as_str(), uri.as_str()),
            Topic::Task(task) => {
                self.text("task", task.id.as_str());
                self.id("begun_by", task.begun_by);
            }
        }
        self.number("generation", wish.generation.0);
    }

    pub(super) fn grounds(&mut self, grounds: &Grounds) {
        if !grounds.policies.is_empty() {
            self.text("policies", &grounds.policies.join(","));
        }
        if grounds.is_shadowed {
            self.text("shadow", "deny");
        }
        if let Some(standing) = &grounds.risk {
            self.number("risk", standing.score.into());
            if standing.tainted {
                self.text("tainted", "yes");
            }
            if !standing.reasons.is_empty() {
                self.text("reasons", &standing.to_string());
            }
        }
        if let Some(id) = grounds.approval {
            self.approval(id);
        }
    }

    pub(super) fn digests(&mut self, config: &Digests) {
        self.hex("config_sha256", &config.file);
        self.hex("policies_sha256", &config.policies);
    }
}
