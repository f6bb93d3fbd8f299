//! What is read of a task, and what a client gets of it.

use super::{ErrorObject, Object, TaskNews, TaskShape, declares_tasks};

fn object(text: &str) -> Object {
    Object::parse(text.to_owned().into()).unwrap()
}

#[test]
fn only_an_object_under_the_right_name_declares_the_extension() {
    let check = |text: &str, want| assert_eq!(declares_tasks(Some(&object(text))), want, "{text}");
    check(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, true);
    check(r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#, false);
    check(r#"{"extensions":{"io.modelcontextprotocol/task":{}}}"#, false);
    check(r#"{"io.modelcontextprotocol/tasks":{},"extensions":[]}"#, false);
    check(r#"{"tasks":{}}"#, false);
    assert!(!declares_tasks(None));
    let error = ErrorObject::tasks_not_declared();
    let data = object(std::str::from_utf8(&error.data.unwrap()).unwrap());
    assert!(declares_tasks(data.object("requiredCapabilities").as_ref()));
}

#[test]
fn the_id_is_replaced_where_it_stands_and_all_else_stays() {
    let said = object(r#"{"x":1.0,"taskId":"own","resultType":"task","result":{"taskId":"own"}}"#);
    let news = TaskNews::read(&said).unwrap();
    assert_eq!(news.id(), Some("own"));
    assert_eq!(
        news.under("ours", TaskShape::Told).unwrap().raw(),
        r#"{"x":1.0,"taskId":"ours","resultType":"complete","result":{"taskId":"own"}}"#
    );
    let acknowledgement = TaskNews::read(&object("{}")).unwrap();
    assert_eq!(acknowledgement.id(), None);
    assert_eq!(
        acknowledgement.under("ours", TaskShape::Told).unwrap().raw(),
        r#"{"resultType":"complete"}"#
    );
    assert!(TaskNews::read(&object(r#"{"taskId":7}"#)).is_err());
}

#[test]
fn a_task_asks_no_more_than_a_call_may() {
    let asks = |n: usize, method: &str| {
        let one = |k| format!(r#""k{k}":{{"method":"{method}","params":{{}}}}"#);
        let all: Vec<_> = (0..n).map(one).collect();
        TaskNews::read(&object(&format!(r#"{{"inputRequests":{{{}}}}}"#, all.join(","))))
    };
    let can = object(r#"{"elicitation":{}}"#);
    let fits = |n, method| asks(n, method).map(|news| news.fits(Some(&can))).ok();
    assert_eq!(fits(1, "elicitation/create"), Some(true));
    assert_eq!(fits(17, "elicitation/create"), Some(false));
    assert_eq!(fits(1, "roots/list"), Some(false));
    assert_eq!(fits(1, "tools/call"), None, "nobody may ask that");
    assert!(TaskNews::read(&object(r#"{"inputRequests":[]}"#)).is_err());
}
