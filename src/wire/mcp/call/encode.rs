//! A judged request as it is written for a server of either era.
//!
//! By splicing: what is not ours to replace keeps its bytes. A modern server is told who we are and
//! what the client can be asked; a legacy one is told nothing that its era does not know.

use bytes::Bytes;

use super::{CallForm, CallMethod, CallParams, Sender, Tasks};
use crate::{
    domain::{Era, Kind},
    wire::{
        json::{Edit, Frame, Object, quote},
        mcp::{
            input::{RESPONSES, STATE, relayable},
            meta::{CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PREFIX, PROGRESS_TOKEN, VERSION},
            tasks::{TASK_ID, with_tasks},
        },
        rpc::open,
    },
};

/// Writes the call for a server of `form.version`.
pub fn encode_call(params: &CallParams, form: &CallForm<'_>) -> Frame {
    let mut out = open(768);
    out.copy(b",\"id\":").copy(form.id.as_bytes());
    // A method is never written with escapes.
    out.copy(b",\"method\":\"").copy(CallMethod::of(params.kind).as_str().as_bytes());
    out.copy(b"\",\"params\":");
    let (edit, name) = (params.raw.edit(), quote(form.name));
    let edit = match params.kind {
        // A legacy client may ask for a task in a way that we do not know: then it gets none.
        Kind::Tool => match &params.task {
            Some(task) => edit.set("name", name).set("task", task.clone()),
            None => edit.set("name", name).remove("task"),
        },
        Kind::Prompt => edit.set("name", name),
        Kind::Task(_) => edit.set(TASK_ID, name),
        // Its bytes are among what was judged: it is the server's own since then.
        Kind::Resource => edit,
        Kind::PromptArgument => edit.set_edited("ref", reference_of(params).set("name", name)),
        Kind::TemplateArgument => edit.set_edited("ref", reference_of(params).set("uri", name)),
    };
    let edit = with_state(edit, params, form.version.era());
    with_meta(edit, params, form).write(&mut out);
    out.copy(b"}");
    out.finish()
}

/// Answers to questions exist in the modern era only.
fn with_state(edit: Edit, params: &CallParams, era: Era) -> Edit {
    let (stated, answered) = (params.raw.contains(STATE), params.raw.contains(RESPONSES));
    let edit = match (&params.state, era) {
        (Some(state), Era::Modern) => edit.set(STATE, quote(state)),
        (None, Era::Modern) | (_, Era::Legacy) if stated => edit.remove(STATE),
        (None, Era::Modern) | (_, Era::Legacy) => edit,
    };
    if era == Era::Legacy && answered { edit.remove(RESPONSES) } else { edit }
}

/// What a modern server hears of its caller's capabilities.
fn told(params: &CallParams, server: Tasks) -> Bytes {
    let plain = relayable(params.capabilities());
    if server != Tasks::Kept || !params.takes_tasks() {
        return plain;
    }
    with_tasks(plain)
}

fn reference_of(params: &CallParams) -> Edit {
    params.raw.object("ref").unwrap_or_else(Object::empty).edit()
}

fn with_meta(edit: Edit, params: &CallParams, form: &CallForm<'_>) -> Edit {
    let meta = match params.meta.raw() {
        Some(meta) => meta.edit(),
        None => Object::empty().edit(),
    };
    let meta = match form.progress_token {
        Some(token) => meta.set(PROGRESS_TOKEN, token.to_bytes()),
        None => meta.remove(PROGRESS_TOKEN),
    };
    let meta = match form.version.era() {
        Era::Modern => meta
            .set(VERSION, quote(form.version.as_str()))
            .set(CLIENT_INFO, form.client.info.clone())
            .set(CAPABILITIES, told(params, form.tasks)),
        Era::Legacy => meta.remove_prefixed(PREFIX),
    };
    let meta = match (form.version.era(), &params.sender) {
        (Era::Modern, Some(Sender { log_level: Some(level), .. })) => {
            meta.set(LOG_LEVEL, quote(level.as_str()))
        }
        (Era::Modern, _) | (Era::Legacy, _) => meta,
    };
    let meta = match params.meta.trace() {
        Some(trace) => trace.write(meta, form.trace),
        None => meta,
    };
    if meta.is_empty() { edit.remove("_meta") } else { edit.set_edited("_meta", meta) }
}
