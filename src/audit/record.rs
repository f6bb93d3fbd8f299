//! What is put on record, and its bytes.
//!
//! A record is rendered on the side of whoever reports it, straight into bytes, so that the writer
//! thread only counts, hashes and writes. Arguments, questions and answers appear as digest and
//! length, never as content. Strings that others chose are escaped and cut to a bound. The layout
//! is golden: `kind` is the second member and `call`, where there is one, the third; readers rely
//! on it.

use std::{fmt::Write as _, time::Duration};

use sha2::{Digest, Sha256};

use crate::{
    config::Digests,
    domain::{
        Call, CallError, CallId, Caller, DenyReason, Generation, Grounds, Kind, Matter, Outcome,
        Questions, ReplicaNo, Subject, Topic, Wish, limits,
    },
};

/// One thing that happened. Borrowed: it is rendered before the reporter goes on.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// The service came up with this configuration.
    Started { version: &'a str, config: &'a Digests, generation: Generation },
    /// The service went down in order.
    Stopped { why: &'a str },
    /// Another configuration is about to take the place of the one that stands.
    Reloaded {
        who: &'a str,
        before: &'a Digests,
        config: &'a Digests,
        generation: Generation,
        /// Names of servers, with commas between them.
        added: &'a str,
        removed: &'a str,
        changed: &'a str,
    },
    /// A configuration was not taken; this generation stays.
    ReloadRefused {
        who: &'a str,
        /// Unless the file could not be read.
        config: Option<&'a Digests>,
        generation: Generation,
        why: &'a str,
    },
    /// Every gate agreed; it is about to be sent.
    Intent { matter: Matter<'a>, grounds: &'a Grounds },
    /// One replica did not receive it; it is about to be sent to another.
    Resent { call: CallId, from: ReplicaNo, to: ReplicaNo },
    /// What came of an intent.
    Outcome { call: CallId, outcome: Outcome, elapsed: Duration },
    /// A gate said no.
    Denied { matter: Matter<'a>, grounds: &'a Grounds, reason: DenyReason, told: &'a str },
    /// Refused before it could become a call: `asked` is the name as the caller wrote it.
    Refused { call: CallId, caller: &'a Caller, about: Kind, asked: &'a str, reason: DenyReason },
    /// A step of the emergency stop.
    Latch { step: LatchStep, id: &'a str, scope: &'a str, who: &'a str, why: &'a str },
    /// The log was cut back to its longest valid prefix when it was opened.
    Recovered { dropped_bytes: u64, dropped_sha256: &'a [u8; 32], kept_in: &'a str, what: &'a str },
    /// An intent without an outcome was found: the call was in flight when we went down.
    Orphaned { call: CallId },
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatchStep {
    Engaged,
    /// The first of two steps back: nothing is sent yet.
    Reset,
    Resumed,
    /// It was only tried out, and how fast it was is what `why` says.
    Drilled,
}

impl Record<'_> {
    /// The word in the record's `kind` member.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRefused { .. } => "reload_refused",
            Self::Intent { matter: Matter::Call(_), .. } => "intent",
            Self::Intent { matter: Matter::Questions(_), .. } => "questions",
            Self::Intent { matter: Matter::Wish(_), .. } => "watch",
            Self::Resent { .. } => "resent",
            Self::Outcome { .. } => "outcome",
            Self::Denied { .. } => "denied",
            Self::Refused { .. } => "refused",
            Self::Latch { step: LatchStep::Engaged, .. } => "latch_engaged",
            Self::Latch { step: LatchStep::Reset, .. } => "latch_reset",
            Self::Latch { step: LatchStep::Resumed, .. } => "latch_resumed",
            Self::Latch { step: LatchStep::Drilled, .. } => "latch_drilled",
            Self::Recovered { .. } => "recovered",
            Self::Orphaned { .. } => "orphaned",
        }
    }

    /// The members between `seq` and `prev`, which the writer adds.
    pub(super) fn render(&self, unix_micros: u64) -> Vec<u8> {
        let mut line = Line(String::with_capacity(TYPICAL_BYTES));
        line.number("ts", unix_micros);
        line.text("kind", self.kind());
        match *self {
            Self::Started { version, config, generation } => {
                line.text("version", version);
                line.digests(config);
                line.number("generation", generation.0);
            }
            Self::Stopped { why } => line.text("why", why),
            Self::Reloaded { who, before, config, generation, added, removed, changed } => {
                line.text("who", who);
                line.hex("before_sha256", &before.file);
                line.hex("before_policies_sha256", &before.policies);
                line.digests(config);
                line.number("generation", generation.0);
                line.text("added", added);
                line.text("removed", removed);
                line.text("changed", changed);
            }
            Self::ReloadRefused { who, config, generation, why } => {
                line.text("who", who);
                if let Some(config) = config {
                    line.digests(config);
                }
                line.number("generation", generation.0);
                line.text("why", why);
            }
            Self::Intent { matter, grounds } => {
                line.matter(matter);
                line.grounds(grounds);
            }
            Self::Resent { call, from, to } => {
                line.id("call", call);
                line.number("from", from.0.into());
                line.number("to", to.0.into());
            }
            Self::Outcome { call, outcome, elapsed } => line.outcome(call, outcome, elapsed),
            Self::Denied { matter, grounds, reason, told } => {
                line.matter(matter);
                line.grounds(grounds);
                line.text("reason", reason.as_str());
                line.text("told", told);
            }
            Self::Refused { call, caller, about, asked, reason } => {
                line.id("call", call);
                line.caller(caller);
                line.text("about", about.as_str());
                line.text("asked", asked);
                line.text("reason", reason.as_str());
            }
            Self::Latch { step: _, id, scope, who, why } => {
                line.text("stop", id);
                line.text("scope", scope);
                line.text("who", who);
                line.text("why", why);
            }
            Self::Recovered { dropped_bytes, dropped_sha256, kept_in, what } => {
                line.number("dropped_bytes", dropped_bytes);
                line.hex("dropped_sha256", dropped_sha256);
                line.text("kept_in", kept_in);
                line.text("what", what);
            }
            Self::Orphaned { call } => line.id("call", call),
        }
        line.0.into_bytes()
    }
}

/// Room for an intent with ordinary names, so that rendering allocates once. The writer's
/// members are added elsewhere.
const TYPICAL_BYTES: usize = 384;

/// Members of one JSON object, comma-separated, without the braces.
struct Line(String);

impl Line {
    fn matter(&mut self, matter: Matter<'_>) {
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
        self.digest(("args_sha256", "args_bytes"), &call.arguments);
        if let Some(answers) = &call.answers {
            self.digest(("answers_sha256", "answers_bytes"), answers);
        }
    }

    fn questions(&mut self, questions: &Questions) {
        self.id("call", questions.call);
        self.caller(&questions.caller);
        self.text("server", questions.server.as_str());
        let asks: Vec<&str> = questions.asks.iter().map(|asking| asking.as_str()).collect();
        self.text("asks", &asks.join(","));
        self.digest(("questions_sha256", "questions_bytes"), &questions.text);
    }

    fn caller(&mut self, caller: &Caller) {
        self.text("principal", caller.principal.as_str());
        self.text("client", &caller.client);
        if let Some(conversation) = &caller.conversation {
            self.text("conversation", conversation);
        }
        self.text("era", caller.era.as_str());
    }

    fn outcome(&mut self, call: CallId, outcome: Outcome, elapsed: Duration) {
        self.id("call", call);
        let (word, bytes) = match outcome {
            Outcome::Answered { result_bytes } => ("answered", Some(result_bytes)),
            Outcome::TaskBegun { result_bytes } => ("task_begun", Some(result_bytes)),
            Outcome::ServerError { result_bytes } => ("server_error", Some(result_bytes)),
            Outcome::Failed(_) => ("failed", None),
        };
        self.text("outcome", word);
        if let Some(bytes) = bytes {
            self.number("result_bytes", bytes);
        }
        if let Outcome::Failed(error) = outcome {
            self.text("error", error.as_str());
            self.text("sent", error.sent().as_str());
            if let CallError::Protocol { what } = error {
                self.text("what", what);
            }
        }
        self.number("elapsed_us", u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    /// `key` is always a word of ours that needs no escaping.
    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        // Writing to a string cannot fail.
        write!(self.0, "{value}").unwrap_or_default();
    }

    fn id(&mut self, key: &str, id: CallId) {
        self.key(key);
        write!(self.0, "\"{id}\"").unwrap_or_default();
    }

    fn grounds(&mut self, grounds: &Grounds) {
        if !grounds.policies.is_empty() {
            self.text("policies", &grounds.policies.join(","));
        }
        if grounds.is_shadowed {
            self.text("shadow", "deny");
        }
    }

    fn digests(&mut self, config: &Digests) {
        self.hex("config_sha256", &config.file);
        self.hex("policies_sha256", &config.policies);
    }

    fn hex(&mut self, key: &str, digest: &[u8; 32]) {
        self.key(key);
        self.0.push('"');
        push_hex(&mut self.0, digest);
        self.0.push('"');
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

    /// What stands in for content.
    fn digest(&mut self, (digest, size): (&str, &str), content: &[u8]) {
        self.hex(digest, &Sha256::digest(content).into());
        self.number(size, u64::try_from(content.len()).unwrap_or(u64::MAX));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push('"');
        let cut = value.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX);
        let (kept, rest) = value.split_at_checked(cut).unwrap_or((value, ""));
        let plain = |b: u8| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\';
        if kept.bytes().all(plain) {
            self.0.push_str(kept);
        } else {
            kept.chars().for_each(|c| self.escaped(c));
        }
        if !rest.is_empty() {
            self.0.push('…');
        }
        self.0.push('"');
    }

    /// Control characters of both sets are escaped, so that a terminal may show the log.
    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.0.push_str("\\\""),
            '\\' => self.0.push_str("\\\\"),
            '\n' => self.0.push_str("\\n"),
            '\r' => self.0.push_str("\\r"),
            '\t' => self.0.push_str("\\t"),
            c if c.is_control() => {
                write!(self.0, "\\u{:04x}", u32::from(c)).unwrap_or_default();
            }
            c => self.0.push(c),
        }
    }
}

pub(super) fn push_hex(out: &mut String, digest: &[u8; 32]) {
    let mut text = [b'0'; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = HEX_DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        }
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
