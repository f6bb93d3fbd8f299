//! Whose a task is.

use std::sync::Arc;

use super::{Binding, FOREVER, Handle};
use crate::{
    domain::{
        CallError, CallIds, Caller, Era, Nonce, Principal, Sent, ServerName, Task, TaskId,
        ToolName, Transport,
    },
    front::{
        Front,
        dispatch::{Answer, Ask},
        stdio::tests::front,
    },
    gate::Cause,
    wire::{CallMethod, CallParams, Object},
};

pub(in crate::front) fn caller(principal: &str) -> Arc<Caller> {
    Arc::new(Caller {
        principal: Principal::new(principal),
        client: "c".into(),
        conversation: None,
        era: Era::Modern,
        transport: Transport::Http,
    })
}

/// The id of a task that a tool of the server `a` began for `ann`.
pub(in crate::front) fn id_for_ann(front: &Front) -> String {
    let task = Task {
        tool: ToolName::parse("slow").unwrap(),
        id: TaskId::parse("own").unwrap(),
        begun_by: CallIds::new(Nonce(1)).next(1),
        at: crate::domain::ReplicaNo(0),
    };
    let handle = Handle { server: ServerName::parse("a").unwrap(), task: Arc::new(task) };
    let binding = Binding::of_tasks(&caller("ann"));
    front.sealer.seal(binding, FOREVER, &handle.write()).unwrap()
}

async fn ask(front: &Arc<Front>, principal: &str, method: &str, id: &str) -> Answer {
    let meta = r#"{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
    let params = format!(r#"{{"taskId":"{id}","inputResponses":{{}},"_meta":{meta}}}"#);
    let params = Object::parse(params.into()).unwrap();
    let params = CallParams::parse(CallMethod::parse(method).unwrap(), &params).unwrap();
    let ask =
        Ask { caller: caller(principal), params: Arc::new(params), shown: None, visitor: None };
    front.clone().call(ask, None).await
}

/// The kinds of the records so far.
fn recorded(dir: &std::path::Path, kind: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("audit/current/seg/000001.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}

#[tokio::test]
async fn a_task_exists_only_for_its_principal_and_while_the_gateway_lives() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ((front, _audit), (restarted, _other)) = (front(dir.path()), front(other_dir.path()));
    let id = id_for_ann(&front);
    let forged = format!("AAAA{id}");
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        // Its server does not run: as far as anybody gets here.
        let own = ask(&front, "ann", method, &id).await;
        let error = CallError::Unavailable { sent: Sent::No };
        assert!(matches!(own, Answer::Failed { error: got, .. } if got == error), "{own:?}");
        for (front, principal, id) in [
            (&front, "bob", id.as_str()),
            (&front, "ann", &forged),
            (&front, "ann", "own"),
            (&restarted, "ann", &id),
        ] {
            let other = ask(front, principal, method, id).await;
            assert!(matches!(other, Answer::Unknown { .. }), "{principal} {id} {other:?}");
        }
    }
    let intents = recorded(dir.path(), "intent");
    assert_eq!(intents.len(), 3, "only the owner's were going to be sent: {intents:?}");
    assert!(intents.iter().all(|intent| intent["principal"] == "ann"));
    assert_eq!(intents[1]["task_update"], "own", "{}", intents[1]);
    assert!(intents[1]["begun_by"].is_string(), "{}", intents[1]);
    let refused = recorded(dir.path(), "refused");
    assert_eq!(refused.len(), 9, "{refused:?}");
    assert!(refused.iter().all(|record| record["reason"] == "unknown"));
}

#[tokio::test]
async fn the_stop_comes_before_whose_a_task_is() {
    let dir = tempfile::tempdir().unwrap();
    let (front, _audit) = front(dir.path());
    let id = id_for_ann(&front);
    front.gate.engage(Cause::new("test", "test"));
    for (principal, id) in [("ann", id.as_str()), ("bob", &id), ("ann", "forged")] {
        let answer = ask(&front, principal, "tasks/update", id).await;
        let Answer::Refused { refusal, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.reason, crate::domain::DenyReason::Stopped);
    }
    assert_eq!(recorded(dir.path(), "intent").len(), 0);
}
