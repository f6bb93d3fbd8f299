//! MCP over JSON-RPC: versions, `_meta`, calls, results, notices and lists of both eras.
//!
//! Inside the house every call has the modern form; this room writes it for a server of either era
//! and answers for a client of either era, by splicing. Holds no state.

mod answer;
mod call;
mod definition;
mod input;
mod list;
mod listen;
mod meta;
mod modern;
mod notice;
mod tasks;
mod version;

pub use answer::{Caching, encode_result, under_uri};
pub use call::{CallForm, CallMethod, CallParams, ClientFace, Sender, Tasks, encode_call};
pub use definition::for_legacy_clients;
pub use input::{
    InputRequired, Progressed, Question, RELAYABLE, encode_visited, input_required,
    input_responses, question_key, relayable_in_session, tells_of_roots,
};
pub use list::{Item, List, ListPage, parse_page};
pub use listen::{
    Filter, acknowledged, encode_acknowledged, encode_list_changed, encode_listen_end,
    encode_task_news, encode_updated, task_told,
};
pub use meta::{Meta, Onward};
pub use modern::{ShownParams, encode_own_result, headers_agree, join_batch};
pub use notice::{Level, Notice};
pub use tasks::{
    LegacyStatus, LegacyTask, TaskNews, TaskShape, as_plain_answer, cancels_legacy_tasks,
    declares_tasks, is_of_a_task, is_over, runs_legacy_tasks, tasks_extension,
};
pub use version::Version;
