//! The matrix: what MCP does between a client and a server, for every kind of client and every kind
//! of server.
//!
//! One row is one claim. It says for each pair of eras which check holds there, and each check is
//! made over HTTP and pipes on both sides: 16 cells, each with a gateway of its own. Where the eras
//! cannot do it, the check is how it is refused. The table of docs/PROTOCOL.md names every row.

mod asked;
mod calls;
mod news;

use std::{future::Future, pin::Pin, thread};

use serde_json::{Value, json};

use crate::{
    client::Kind,
    eras::{Cell, SERVERS, Server},
    questions::{KINDS, able},
};

/// What all cells of a row have in common.
struct Setup {
    /// More keys for the server.
    keys: &'static str,
    /// What the client can be asked.
    can: fn() -> Value,
}

/// A session of the server is everybody's, unless more is said.
const SHARED: Setup = Setup { keys: "", can: able };
/// Each caller has a session of its own.
const OWN: Setup = Setup { keys: "isolation = \"per-session\"\n", can: able };
const OF_PAGES: Setup = Setup { can: || json!({ "elicitation": { "url": {} } }), ..OWN };
const OF_FORMS: Setup = Setup { can: || json!({ "elicitation": { "form": {} } }), ..OWN };
const OF_PAGES_SHARED: Setup = Setup { keys: "", ..OF_PAGES };
const OF_SAMPLES: Setup = Setup { can: || json!({ "sampling": {} }), ..OWN };
const OF_ROOTS: Setup = Setup { can: || json!({ "roots": { "listChanged": true } }), ..OWN };
const OF_TASKS: Setup = Setup { can: crate::tasks::able, ..SHARED };

type Check = fn(Cell) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! matrix {
    ($($claim:ident: $setup:ident, [$mm:path, $ml:path, $lm:path, $ll:path];)*) => {
        $(
            #[test]
            fn $claim() {
                every_cell(&$setup, [
                    |cell| Box::pin($mm(cell)),
                    |cell| Box::pin($ml(cell)),
                    |cell| Box::pin($lm(cell)),
                    |cell| Box::pin($ll(cell)),
                ]);
            }
        )*
    };
}

// A modern client and a modern server, a modern client and a legacy server, L and M, L and L.
#[rustfmt::skip]
matrix! {
    calls_are_answered: SHARED, [calls::answered, calls::answered, calls::answered, calls::answered];
    progress_comes_under_the_callers_token: SHARED,
        [calls::progress, calls::progress, calls::progress, calls::progress];
    a_withdrawn_call_is_called_back: SHARED,
        [calls::withdrawn, calls::withdrawn, calls::withdrawn, calls::withdrawn];
    prompts_resources_and_completions_are_relayed: SHARED,
        [calls::relayed, calls::relayed, calls::relayed, calls::relayed];
    schemas_and_results_have_forms_that_the_client_knows: SHARED,
        [calls::passes_any_form, calls::passes_any_form,
         calls::says_it_in_older_forms, calls::says_it_in_older_forms];
    a_task_begins_where_both_know_of_tasks: OF_TASKS,
        [calls::begins_a_task, calls::runs_plainly, calls::runs_plainly, calls::runs_plainly];

    forms_are_filled_in: OWN, [asked::form, asked::form, asked::form, asked::form];
    users_are_sent_to_pages: OF_PAGES, [asked::page, asked::page, asked::page, asked::page];
    samples_are_made: OWN, [asked::sample, asked::sample, asked::sample, asked::sample];
    roots_are_told: OWN, [asked::roots, asked::roots, asked::roots, asked::roots];
    several_things_are_asked_at_once_and_in_rounds: OWN,
        [asked::several, asked::several, asked::several, asked::several];
    nobody_is_asked_what_they_cannot_answer: OF_SAMPLES,
        [asked::lacks_forms, asked::refused, asked::lacks_forms, asked::refused];
    nobody_is_sent_to_a_page_who_takes_forms_only: OF_FORMS,
        [asked::breaks_protocol, asked::refused_a_page, asked::breaks_protocol, asked::refused_a_page];
    pages_that_a_call_requires_are_visited_first: OF_PAGES_SHARED,
        [asked::page_first, asked::refers, asked::page_first, asked::refused_for_a_page];
    nobody_is_referred_to_a_page_who_takes_forms_only: OF_FORMS,
        [asked::breaks_protocol_first, asked::lacks_pages,
         asked::breaks_protocol_first, asked::refused_for_a_page];
    nobody_is_asked_on_a_session_that_is_shared: SHARED,
        [asked::form, asked::refused, asked::form, asked::refused];
    nobody_is_asked_out_of_nowhere: OWN,
        [asked::cannot_ask, asked::refused_later, asked::cannot_ask, asked::refused_later];
    nobody_is_asked_within_a_completion: OWN,
        [asked::completes, asked::refused_completing, asked::completes, asked::refused_completing];
    roots_that_changed_are_told_where_both_know_of_that: OF_ROOTS,
        [asked::roots_dropped, asked::roots_dropped, asked::roots_dropped, asked::roots_told];

    changed_lists_are_told: SHARED, [news::lists, news::lists, news::lists, news::lists];
    updates_of_what_is_watched_are_told: SHARED,
        [news::updates, news::updates, news::updates, news::updates];
    log_messages_come_from_the_level_on_that_was_asked_for: OWN,
        [news::logs, news::logs, news::logs, news::logs];
    log_messages_of_a_shared_child_reach_nobody: SHARED,
        [news::logs_of_calls, news::logs_of_calls, news::logs_of_calls, news::logs_of_calls];
}

fn every_cell(setup: &Setup, [mm, ml, lm, ll]: [Check; 4]) {
    let mut failed = Vec::new();
    for server in SERVERS {
        thread::scope(|scope| {
            let cells = KINDS.map(|kind| {
                let check = match (kind.is_modern(), server.is_modern()) {
                    (true, true) => mm,
                    (true, false) => ml,
                    (false, true) => lm,
                    (false, false) => ll,
                };
                (kind, scope.spawn(move || one_cell(kind, server, setup, check)))
            });
            let ended = cells.map(|(kind, cell)| (kind, cell.join().is_ok()));
            failed.extend(
                ended.into_iter().filter(|(_, is_ok)| !is_ok).map(|(kind, _)| (kind, server)),
            );
        });
    }
    assert!(failed.is_empty(), "it does not hold from client to server in {failed:?}");
}

/// On a thread with a runtime of its own, because checks wait without yielding.
fn one_cell(kind: Kind, server: Server, setup: &Setup, check: Check) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap().block_on(async {
        check(Cell::with(kind, server, (setup.can)(), setup.keys).await).await;
    });
}
