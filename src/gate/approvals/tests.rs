//! Claims on the book, and on what an approval is bound to.

use std::{fs, sync::Arc, time::Duration};

use super::{
    About, Approvals, Book, Decision, DecisionError, Ended, Found, Request, State,
    bound::{Bound, Errand, canonical},
    pause,
};
use crate::{
    audit::{Audit, Durability},
    config::Digests,
    domain::{
        ApprovalId, Call, Caller, Kind, Principal, ServerName, Subject, Use,
        limits::{APPROVALS_OF_PRINCIPAL_MAX, APPROVALS_SWEEP},
    },
    gate::{Epoch, Latch, Marks, Pin, tests::call},
};

const DIGESTS: Digests = Digests { file: [1; 32], policies: [2; 32] };
const SEND: &str = r#"{"to":"bob","text":"hi"}"#;
const TTL_MS: u64 = 1000;

fn epoch() -> Epoch {
    let dir = tempfile::tempdir().unwrap();
    Latch::open(dir.path()).epoch(Marks::default()).unwrap()
}

/// What is asked for, for this call of `ann`, at time 0.
fn request(id: u64, call: &Call) -> Request {
    let about = About {
        principal: call.caller.principal.as_str().to_owned(),
        client: "test".to_owned(),
        server: "files".to_owned(),
        tool: call.subject.as_str().to_owned(),
        arguments: canonical(&call.arguments),
        score: 50,
        reasons: "sink:20".to_owned(),
        policies: String::new(),
    };
    Request {
        id: ApprovalId::new(id),
        bound: Bound::of(call, None, &DIGESTS),
        errand: Errand::of(call, None),
        about,
        asked_ms: 0,
        expires_ms: TTL_MS,
        remember_ms: 0,
        state: State::Waiting,
        epoch: Some(epoch()),
    }
}

fn always(_: Epoch) -> bool {
    true
}

#[test]
fn an_approval_lets_one_call_through_and_its_rounds() {
    let mut book = Book::default();
    let id = ApprovalId::new(1);
    let look = |book: &mut Book, n, before| {
        book.present((request(n, &call("send", SEND)), before), 1, &always)
    };
    assert_eq!(look(&mut book, 1, None), Found::Waits(id));
    assert_eq!(look(&mut book, 2, None), Found::Waits(id), "asked for once");
    book.decide((id, "op"), Decision::Allow, 1, &always).unwrap();
    let first = Use { approval: id, round: 1 };
    assert_eq!(look(&mut book, 3, None), Found::Approved(first));
    // Its server asks something: the same call goes on, each round once.
    let second = Use { approval: id, round: 2 };
    assert_eq!(look(&mut book, 4, Some(first)), Found::Approved(second));
    assert_eq!(look(&mut book, 5, Some(first)), Found::Waits(ApprovalId::new(5)), "a round again");
    assert_eq!(
        look(&mut book, 6, Some(Use { round: 9, ..first })),
        Found::Waits(ApprovalId::new(5))
    );
    assert_eq!(look(&mut book, 7, None), Found::Waits(ApprovalId::new(5)), "another call");
}

#[test]
fn what_has_asked_and_comes_back_too_late_is_refused() {
    let mut book = Book::default();
    let (id, send) = (ApprovalId::new(1), call("send", SEND));
    let waiting = Some(Use::none_of(id));
    book.present((request(1, &send), None), 1, &always);
    assert_eq!(book.present((request(2, &send), waiting), 1, &always), Found::Waits(id));
    let late = book.present((request(3, &send), waiting), TTL_MS, &always);
    assert_eq!(late, Found::Over(id));
    // Also if it was used meanwhile.
    let mut book = Book::default();
    book.present((request(1, &send), None), 1, &always);
    book.decide((id, "op"), Decision::Allow, 1, &always).unwrap();
    let found = book.present((request(2, &send), waiting), 1, &always);
    assert_eq!(found, Found::Approved(Use { approval: id, round: 1 }));
    assert_eq!(book.present((request(3, &send), waiting), 1, &always), Found::Over(id));
}

#[test]
fn an_approval_is_of_no_use_for_anything_else() {
    let send = call("send", SEND);
    let (other_principal, mut other_server) = (of("bob", &send), send.clone());
    other_server.server = ServerName::parse("other").unwrap();
    let mut prompt = send.clone();
    prompt.subject = Subject::parse(Kind::Prompt, "send").unwrap();
    let bound = Bound::of(&send, None, &DIGESTS);
    let pin = Pin([7; 32]);
    let others = [
        Bound::of(&other_principal, None, &DIGESTS),
        Bound::of(&other_server, None, &DIGESTS),
        Bound::of(&prompt, None, &DIGESTS),
        Bound::of(&call("sent", SEND), None, &DIGESTS),
        Bound::of(&call("send", r#"{"to":"eve","text":"hi"}"#), None, &DIGESTS),
        Bound::of(&send, Some(&pin), &DIGESTS),
        Bound::of(&send, None, &Digests { policies: [3; 32], ..DIGESTS }),
        Bound::of(&send, None, &Digests { file: [3; 32], ..DIGESTS }),
    ];
    for (n, other) in others.iter().enumerate() {
        assert_ne!(*other, bound, "{n}");
    }
    let same = call("send", r#" { "text" : "h\u0069", "to":"bob" }"#);
    assert_eq!(Bound::of(&same, None, &DIGESTS), bound);
}

fn of(principal: &str, call: &Call) -> Call {
    let caller = Caller { principal: Principal::new(principal), ..(*call.caller).clone() };
    Call { caller: Arc::new(caller), ..call.clone() }
}

#[test]
fn only_what_surely_means_the_same_is_the_same() {
    for (a, b, same) in [
        ("{}", " { } ", true),
        (r#"{"a":1,"b":[1, 2]}"#, r#"{"b":[1,2],"a":1}"#, true),
        (r#"{"a":"\u00e9\/"}"#, r#"{"a":"é/"}"#, true),
        (r#"{"a":{"d":1,"c":2}}"#, r#"{"a":{"c":2,"d":1}}"#, true),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, false),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
        (r#"{"a":null}"#, "{}", false),
        ("{\"e\u{301}\":1}", "{\"\u{e9}\":1}", false),
        ("{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud801\"}", false),
    ] {
        assert_eq!(canonical(a.as_bytes()) == canonical(b.as_bytes()), same, "{a} {b}");
    }
}

#[test]
fn who_asked_does_not_approve_and_a_word_is_said_once() {
    let mut book = Book::default();
    let send = of("uid:1000", &call("send", SEND));
    book.present((request(1, &send), None), 1, &always);
    let mut say = |id, who, decision| book.decide((ApprovalId::new(id), who), decision, 1, &always);
    assert!(matches!(say(1, "uid:1000", Decision::Allow), Err(DecisionError::Own)));
    assert!(matches!(say(2, "uid:0", Decision::Allow), Err(DecisionError::Unknown)));
    assert!(matches!(say(1, "uid:0", Decision::Remember), Err(DecisionError::NotRemembered)));
    // Taking it back is his right.
    say(1, "uid:1000", Decision::Refuse).unwrap();
    assert!(matches!(say(1, "uid:0", Decision::Allow), Err(DecisionError::Decided)));
    let found = book.present((request(3, &send), None), 1, &always);
    assert_eq!(found, Found::Refused(ApprovalId::new(1)));
}

#[test]
fn an_errand_is_remembered_by_where_it_goes() {
    let ask = |id, arguments| Request { remember_ms: 500, ..request(id, &call("send", arguments)) };
    let mut book = Book::default();
    book.present((ask(1, SEND), None), 1, &always);
    book.decide((ApprovalId::new(1), "op"), Decision::Remember, 1, &always).unwrap();
    let look = |arguments, now_ms| {
        let mut book = book.clone();
        book.present((ask(9, arguments), None), now_ms, &always)
    };
    let other_text = r#"{"to":"bob","text":"again"}"#;
    assert_eq!(look(other_text, 400), Found::Remembered(ApprovalId::new(1)));
    assert_eq!(look(other_text, 501), Found::Waits(ApprovalId::new(9)), "not for ever");
    let waits = Found::Waits(ApprovalId::new(9));
    assert_eq!(look(r#"{"to":"eve","text":"hi"}"#, 400), waits);
    assert_eq!(look(r#"{"to":"bob","cc":"eve","text":"hi"}"#, 400), waits);
    // What goes nowhere would be anything.
    let mut book = Book::default();
    book.present((ask(1, r#"{"text":"hi"}"#), None), 1, &always);
    let refused = book.decide((ApprovalId::new(1), "op"), Decision::Remember, 1, &always);
    assert!(matches!(refused, Err(DecisionError::Placeless)));
}

#[test]
fn one_principal_does_not_fill_the_book() {
    const ARGUMENTS: [&str; 33] = {
        let mut all = ["{}"; 33];
        let digits = "                                 ";
        let mut n = 0;
        while n < 33 {
            (all[n], _) = digits.split_at(n);
            n += 1;
        }
        all
    };
    let mut book = Book::default();
    let mut ask = |principal: &str, n: usize| {
        // What cannot be read counts as it is written: each is another call.
        let one = of(principal, &call("send", ARGUMENTS[n]));
        book.present((request(u64::try_from(n).unwrap(), &one), None), 1, &always)
    };
    for n in 0..APPROVALS_OF_PRINCIPAL_MAX {
        assert!(matches!(ask("ann", n), Found::Waits(_)));
    }
    assert_eq!(ask("ann", 32), Found::Full);
    assert!(matches!(ask("bob", 32), Found::Waits(_)));
}

#[test]
fn what_is_stopped_or_too_old_is_over_and_told_of_unless_it_was_used() {
    let full = || {
        let mut book = Book::default();
        for (n, tool) in [(1, "waits"), (2, "allowed"), (3, "used"), (4, "refused")] {
            book.present((request(n, &call(tool, SEND)), None), 1, &always);
        }
        for n in [2, 3] {
            book.decide((ApprovalId::new(n), "op"), Decision::Allow, 1, &always).unwrap();
        }
        book.present((request(9, &call("used", SEND)), None), 1, &always);
        book.decide((ApprovalId::new(4), "op"), Decision::Refuse, 1, &always).unwrap();
        book
    };
    let told = |over: Vec<(Request, Ended)>| -> Vec<_> {
        over.into_iter().map(|(one, why)| (one.id, why)).collect()
    };
    let mut book = full();
    assert!(book.sweep(TTL_MS - 1, &always).is_empty() && book.requests.len() == 4);
    let over = told(book.sweep(TTL_MS, &always));
    assert_eq!(over, [(ApprovalId::new(1), Ended::Expired), (ApprovalId::new(2), Ended::Expired)]);
    assert!(book.requests.is_empty());
    let mut book = full();
    let stopped = |_| false;
    assert!(matches!(
        book.decide((ApprovalId::new(1), "op"), Decision::Allow, 1, &stopped),
        Err(DecisionError::Unknown)
    ));
    let over = told(book.sweep(1, &stopped));
    assert_eq!(over, [(ApprovalId::new(1), Ended::Stopped), (ApprovalId::new(2), Ended::Stopped)]);
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_approved() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = Audit::open(&dir.path().join("audit"), Durability::Cached).unwrap();
    let latch = Latch::open(dir.path());
    let path = dir.path().join("approvals.json");
    let approvals = Approvals::open(&path, latch.clone(), audit.clone());
    let asked = request(1, &call("send", SEND));
    let asked =
        Request { epoch: latch.epoch(Marks::default()).ok(), expires_ms: u64::MAX, ..asked };
    let id = asked.id;
    let enter = approvals.change(move |book, now_ms, holds| {
        Ok::<_, std::io::Error>(book.present((asked, None), now_ms, holds))
    });
    assert_eq!(enter.await.unwrap(), Found::Waits(id));
    let again = Approvals::open(&path, latch.clone(), audit.clone());
    assert_eq!(again.list().0.len(), 1, "it is on disk");
    // A directory in its place: nothing can be written.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = approvals.decide(id, "op", Decision::Allow).await;
    assert!(matches!(refused, Err(DecisionError::Disk(_))), "{refused:?}");
    assert_eq!(approvals.list().0[0].state, State::Waiting);
    // Whatever cannot be read holds nothing.
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "{").unwrap();
    assert!(Approvals::open(&path, latch, audit).list().0.is_empty());
    thread.finish();
}

#[test]
fn what_has_expired_is_looked_for_when_it_has_but_not_without_a_pause() {
    let sweep = APPROVALS_SWEEP.as_millis().try_into().unwrap();
    for (end_ms, want) in [
        (None, sweep),
        (Some(0), 1000),
        (Some(100_000), 1000),
        (Some(100_999), 1000),
        (Some(105_000), 5000),
        (Some(u64::MAX), sweep),
    ] {
        assert_eq!(pause(100_000, end_ms), Duration::from_millis(want), "{end_ms:?}");
    }
}
