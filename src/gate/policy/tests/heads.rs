//! Without conditions the heads say what Cedar says.

use super::{bind, compile, server};
use crate::{
    domain::{Caller, Era, Kind, Principal, Subject, Transport},
    gate::policy::{Asked, Facts, Policies, names::ActionName},
};

const WHO: [&str; 4] = [
    "principal",
    "principal == Gw::User::\"ann\"",
    "principal in Gw::Group::\"staff\"",
    "principal is Gw::User in Gw::Group::\"guests\"",
];
const WHAT: [&str; 4] = [
    "action",
    "action == Gw::Action::\"fs/delete\"",
    "action in [Gw::Action::\"fs/read_file\", Gw::Action::\"mail/send\"]",
    "action in Gw::Action::\"prompts\"",
];
const WHERE: [&str; 3] = ["resource", "resource == Gw::Server::\"fs\"", "resource is Gw::Server"];
const GROUPS: &str = "[groups]\nstaff = [\"ann\", \"bob\"]\nguests = [\"eve\"]\n";

const SUBJECTS: [(&str, Kind, &str); 4] = [
    ("fs", Kind::Tool, "read_file"),
    ("fs", Kind::Tool, "delete"),
    ("mail", Kind::Tool, "send"),
    ("mail", Kind::Prompt, "summary"),
];

/// The `n`th of all policies that have no condition.
fn policy(n: usize) -> String {
    let effect = if n.is_multiple_of(3) { "forbid" } else { "permit" };
    let (who, what, at) = (WHO[n % 4], WHAT[n / 4 % 4], WHERE[n / 16 % 3]);
    format!("{effect}({who}, {what}, {at});\n")
}

/// Asserts that both ways come to the same; whether it is allowed.
#[track_caller]
fn check(policies: &Policies, who: &str, (at, kind, name): (&str, Kind, &str)) -> bool {
    let caller = Caller {
        principal: Principal::new(who),
        client: "test".into(),
        conversation: None,
        era: Era::Modern,
        transport: Transport::Http,
    };
    let (server, subject) = (server(at), Subject::parse(kind, name).unwrap());
    let asked = Asked {
        caller: &caller,
        server: &server,
        subject: &subject,
        method: "tools/call",
        arguments: b"{}",
        facts: Facts::default(),
    };
    policies.with_slice(ActionName::of(&server, &subject), |slice| {
        assert!(slice.selection.are_bare);
        let by_heads = slice.by_heads(&policies.source, &caller.principal);
        // As they were written, and without what found them.
        let whole = slice.by(&policies.source, &asked, &slice.selection.set);
        assert_eq!(by_heads, whole, "{who} {at} {name}");
        assert_eq!(by_heads, slice.by_cedar(&policies.source, &asked), "{who} {at} {name}");
        by_heads.allows
    })
}

#[test]
fn without_conditions_the_heads_say_what_cedar_says() {
    let (mut n_allowed, mut n_refused) = (0, 0);
    for set in 0..96 {
        // Any three, and each of them once first.
        let text = policy(set) + &policy(set * 7 + 5) + &policy(set * 11 + 29);
        let (_, policies) = compile(&[("a.cedar", &text), ("groups.toml", GROUPS)]).unwrap();
        let (policies, _) = bind(&policies);
        for (subject, who) in
            SUBJECTS.iter().flat_map(|s| ["ann", "bob", "eve", "none"].map(|who| (*s, who)))
        {
            let allows = check(&policies, who, subject);
            *if allows { &mut n_allowed } else { &mut n_refused } += 1;
        }
    }
    assert!(n_allowed > 100 && n_refused > 100, "{n_allowed} {n_refused}");
}
