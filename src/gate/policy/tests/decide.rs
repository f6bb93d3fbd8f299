//! Calls and what comes of them.

use super::{bind, compile, policies};
use crate::{config::Expect, domain::Principal};

/// What the policies say of one call, by what the servers list and without knowing it: both ways
/// must agree.
#[track_caller]
fn check(files: &[(&str, &str)], case: &str, want: &str) {
    let case = format!("[[case]]\nexpect = \"{want}\"\n{case}");
    let files: Vec<_> = files.iter().copied().chain([("tests/a.toml", &*case)]).collect();
    let (config, policies) = match compile(&files) {
        Ok(compiled) => compiled,
        Err(mistakes) => panic!("{case}: {mistakes:#?}"),
    };
    let (bound, mistakes) = bind(&policies);
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    let failed = bound.run(&config.policies.cases);
    assert!(failed.is_empty(), "{failed:#?}");
}

const READ: &str = "principal = \"ann\"\ntool = \"fs/read_file\"\n";
const SEND: &str = "principal = \"ann\"\ntool = \"mail/send\"\n";

#[test]
fn nothing_is_allowed_unless_a_policy_permits_it() {
    let case = format!("{READ}args = {{ path = \"a\" }}");
    check(&[], &case, "hidden");
    check(&[("a.cedar", "permit(principal, action, resource);")], &case, "allow");
    let other = "permit(principal, action == Gw::Action::\"fs/delete\", resource);";
    check(&[("a.cedar", other)], &case, "hidden");
}

#[test]
fn a_forbid_wins_over_every_permit() {
    let text = "permit(principal, action, resource);
        forbid(principal, action, resource == Gw::Server::\"mail\") when { context.risk > 10 };";
    check(&[("a.cedar", text)], &format!("{SEND}args = {{ to = \"b\" }}"), "allow");
    check(&[("a.cedar", text)], &format!("{SEND}args = {{ to = \"b\" }}\nrisk = 11"), "deny");
    check(&[("a.cedar", text)], &format!("{READ}args = {{ path = \"a\" }}\nrisk = 11"), "allow");
    let bare = "permit(principal, action, resource); forbid(principal, action, resource);";
    check(&[("a.cedar", bare)], &format!("{READ}args = {{ path = \"a\" }}"), "hidden");
}

#[test]
fn groups_and_principals_are_told_apart() {
    let groups = "[groups]\nstaff = [\"ann\", \"bob\"]\n";
    let text = "permit(principal in Gw::Group::\"staff\", action, resource);
        forbid(principal == Gw::User::\"bob\", action, resource == Gw::Server::\"fs\");";
    let files = [("a.cedar", text), ("groups.toml", groups)];
    for (who, want) in [("ann", "allow"), ("bob", "hidden"), ("eve", "hidden"), ("Ann", "hidden")] {
        let case =
            format!("principal = \"{who}\"\ntool = \"fs/read_file\"\nargs = {{ path = \"a\" }}");
        check(&files, &case, want);
    }
    let condition = "permit(principal, action, resource)
        when { principal in Gw::Group::\"staff\" && action in Gw::Action::\"tools\" };";
    let files = [("a.cedar", condition), ("groups.toml", groups)];
    check(&files, &format!("{READ}args = {{ path = \"a\" }}"), "allow");
    check(&files, "principal = \"ann\"\nresource = \"fs/file:///a\"", "deny");
    check(&files, "principal = \"eve\"\ntool = \"fs/read_file\"\nargs = { path = \"a\" }", "deny");
}

#[test]
fn arguments_are_judged_by_their_types() {
    let text = "permit(principal, action == Gw::Action::\"mail/send\", resource) when {
        context.input.to like \"*@example.org\"
            && (if context.input has priority then context.input.priority < 3 else true)
            && (if context.input has amount
                then context.input.amount.lessThan(decimal(\"10.5\")) else true)
            && (if context.input has cc
                then [\"a@example.org\"].containsAll(context.input.cc) else true)
    };";
    let rules = [("a.cedar", text)];
    let table = [
        ("{ to = \"x@example.org\" }", "allow"),
        ("{ to = \"x@example.com\" }", "deny"),
        ("{ to = \"x@example.org\", priority = 2 }", "allow"),
        ("{ to = \"x@example.org\", priority = 3 }", "deny"),
        ("{ to = \"x@example.org\", amount = 10.4999 }", "allow"),
        ("{ to = \"x@example.org\", amount = 10.5 }", "deny"),
        // Finer than what can be compared.
        ("{ to = \"x@example.org\", amount = 1.00001 }", "deny"),
        ("{ to = \"x@example.org\", cc = [\"a@example.org\"] }", "allow"),
        ("{ to = \"x@example.org\", cc = [\"b@example.org\"] }", "deny"),
        ("{ to = \"x@example.org\", priority = \"2\" }", "deny"),
    ];
    for (arguments, want) in table {
        let case = format!("{SEND}args = {arguments}");
        let (config, policies) = {
            let case = format!("[[case]]\nexpect = \"{want}\"\n{case}");
            match compile(&[rules[0], ("tests/a.toml", &case)]) {
                Ok(compiled) => compiled,
                // Without types a whole number is no decimal: what is wrong is only the guess.
                Err(_) if arguments.contains("amount") => continue,
                Err(mistakes) => panic!("{mistakes:#?}"),
            }
        };
        let failed = bind(&policies).0.run(&config.policies.cases);
        assert!(failed.is_empty(), "{arguments}: {failed:#?}");
    }
}

#[test]
fn a_path_is_compared_in_its_one_form() {
    let rule = "[[allow]]\ntools = [\"fs/read_file\"]\nargs.path.under = \"/srv/data\"\n";
    let outside = "[[allow]]\ntools = [\"fs/read_file\"]\n[[deny]]\ntools = [\"fs/read_file\"]\nargs.path.outside = \"/srv/data\"\n";
    let table = [
        ("/srv/data", "allow"),
        ("/srv/data/a", "allow"),
        ("/srv//data/./a", "allow"),
        ("/srv/data/x/../a", "allow"),
        ("/srv/data/../etc/passwd", "deny"),
        ("/srv/database", "deny"),
        ("/srv", "deny"),
        ("srv/data/a", "deny"),
        ("/srv/data/%2e%2e/x", "deny"),
        ("/srv/data/\u{ff0e}\u{ff0e}/x", "deny"),
        ("/srv/data/..", "deny"),
        ("", "deny"),
    ];
    for (path, want) in table {
        let case = format!("{READ}args = {{ path = \"{path}\" }}");
        check(&[("rules.toml", rule)], &case, want);
        check(&[("rules.toml", outside)], &case, want);
    }
}

#[test]
fn what_fails_denies_even_where_something_else_permits() {
    // Cedar itself would skip the forbid.
    let text = "permit(principal, action, resource);
        forbid(principal, action == Gw::Action::\"mail/send\", resource)
        when { context.input has priority && context.input.priority + 9223372036854775807 > 0 };";
    check(&[("a.cedar", text)], &format!("{SEND}args = {{ to = \"b\" }}"), "allow");
    check(&[("a.cedar", text)], &format!("{SEND}args = {{ to = \"b\", priority = 1 }}"), "deny");
}

#[test]
fn prompts_and_resources_have_actions_of_their_own() {
    let text = "permit(principal, action == Gw::Action::\"prompt:mail/summary\", resource)
            unless { context.input has topic && context.input.topic == \"secret\" };
        permit(principal, action in Gw::Action::\"resources\", resource)
            when { context.uri like \"note:*\" || (context.paths has uri && context.paths.uri like \"/pub/*\") };";
    let rules = [("a.cedar", text)];
    let ann = "principal = \"ann\"\n";
    let table = [
        ("prompt = \"mail/summary\"", "allow"),
        ("prompt = \"mail/summary\"\nargs = { topic = \"secret\" }", "deny"),
        ("prompt = \"mail/other\"", "hidden"),
        ("resource = \"fs/note:1\"", "allow"),
        ("resource = \"fs/file:///pub/a\"", "allow"),
        ("resource = \"fs/file:///pub/../a\"", "deny"),
        ("resource = \"fs/file:///pub/%2e%2e/a\"", "deny"),
        ("tool = \"fs/read_file\"\nargs = { path = \"a\" }", "hidden"),
    ];
    for (case, want) in table {
        check(&rules, &format!("{ann}{case}"), want);
    }
}

#[test]
fn what_decided_is_named() {
    let text = "@id(\"open\")\npermit(principal, action, resource);\n\n
        forbid(principal, action, resource) when { context.risk > 50 };";
    let case = format!(
        "[[case]]\nexpect = \"allow\"\n{READ}args = {{ path = \"a\" }}\n\
        [[case]]\nexpect = \"deny\"\nrisk = 51\n{READ}args = {{ path = \"a\" }}\n"
    );
    let (config, policies) = compile(&[("a.cedar", text), ("tests/a.toml", &case)]).unwrap();
    let (bound, _) = bind(&policies);
    let by: Vec<_> = config.policies.cases.iter().map(|case| bound.answer(case).1.by).collect();
    assert_eq!(by[0].join(","), "open /etc/policies/a.cedar:1");
    assert_eq!(by[1].join(","), "/etc/policies/a.cedar:5");
    let (expect, decided) = policies.answer(&config.policies.cases[0]);
    assert_eq!(
        (expect, decided.by.join(",").as_str()),
        (Expect::Allow, "open /etc/policies/a.cedar:1")
    );
}

#[test]
fn a_slice_holds_only_what_can_matter() {
    let mut text =
        "permit(principal, action == Gw::Action::\"fs/read_file\", resource);".to_owned();
    for n in 0..100 {
        text += &format!(
            "permit(principal == Gw::User::\"u{n}\", action == Gw::Action::\"mail/send\", resource);"
        );
    }
    let policies = policies(&[("a.cedar", &text)]).unwrap();
    let (bound, _) = bind(&policies);
    let of = |name: &str| {
        let slice = bound.slices.iter().find(|(action, _)| action.id() == name).unwrap().1;
        slice.selection.statements.len()
    };
    assert_eq!((of("fs/read_file"), of("mail/send"), of("fs/delete")), (1, 100, 0));
    let shows = |who: &str, tool: &str| {
        let subject = crate::domain::Subject::parse(crate::domain::Kind::Tool, tool).unwrap();
        bound.shows(&Principal::new(who), &super::server("mail"), &subject)
    };
    assert!(shows("u7", "send") && !shows("ann", "send"));
}
