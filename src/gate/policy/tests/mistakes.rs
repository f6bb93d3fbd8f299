//! Policies that are refused, and where their mistakes are shown.

use super::{bind, policies};

/// The first mistake, as the log has it.
#[track_caller]
fn check(files: &[(&str, &str)], want: &str) {
    let mistakes = match policies(files) {
        Ok(policies) => bind(&policies).1,
        Err(mistakes) => mistakes,
    };
    let told = mistakes.first().map(ToString::to_string).unwrap_or_default();
    assert!(told.contains(want), "{told}\nis not\n{want}");
}

#[test]
fn what_cannot_be_parsed_is_shown_by_line_and_column() {
    check(&[("a.cedar", "permit(principal, action, resource)\nwhen { 1 + };")], "a.cedar:2:12");
    check(&[("a.cedar", "permit(principal == ?principal, action, resource);")], "is a template");
    check(
        &[("r.toml", "[[allow]]\ntool = [\"fs/x\"]\n")],
        "unknown key `tool` in [[allow]] at /etc/policies/r.toml:2:1",
    );
    check(&[("r.toml", "[[allow]]\ntools = []\n")], "`tools` names nobody");
    check(&[("r.toml", "[[allow]]\ntools = [\"fs\"]\n")], "`fs` is none of `tools`");
    check(&[("r.toml", "[[allow]]\nwhen = \"1 +\"\n")], "this rule is no policy");
    check(&[("groups.toml", "[groups]\nstaff = \"ann\"\n")], "must be an array of strings");
    check(
        &[("tests/a.toml", "[[case]]\nprincipal = \"a\"\nexpect = \"allow\"\n")],
        "exactly one of",
    );
    check(&[("r.toml", "[[allow")], "C002");
}

#[test]
fn names_of_nothing_are_mistakes() {
    let policy = |head: &str| format!("permit(principal, action, resource);\npermit({head});");
    let table = [
        ("principal, action, resource == Gw::Server::\"fss\"", "there is no server `fss`"),
        ("principal in Gw::Group::\"staff\", action, resource", "there is no group `staff`"),
        ("principal, action == Gw::Action::\"read\", resource", "`read` is no action"),
        ("principal, action == Gw::Action::\"fx/read\", resource", "there is no server `fx`"),
        (
            "principal, action == Gw::Action::\"fs/raed_file\", resource",
            "there is no `fs/raed_file`",
        ),
        ("principal == User::\"a\", action, resource", "of a type that does not exist"),
    ];
    for (head, want) in table {
        check(&[("a.cedar", &policy(head))], want);
        check(&[("a.cedar", &policy(head))], "a.cedar:2:1");
    }
}

#[test]
fn what_has_the_wrong_type_or_cannot_be_is_a_mistake() {
    let send = |condition: &str| {
        format!(
            "permit(principal, action == Gw::Action::\"mail/send\", resource)\nwhen {{ {condition} }};"
        )
    };
    let table = [
        ("context.input.tto == \"x\"", "attribute `input.tto`"),
        ("context.input.to == 5", "a.cedar:2:"),
        ("context.input.priority > 3", "attribute `input.priority`"),
        ("context.paths.to like \"/x\"", "attribute `paths.to`"),
        ("context.risky > 3", "attribute `risky`"),
        ("context.input.to like \"x\" && context.uri == \"x\"", "attribute `uri`"),
        ("context.risk > 3 && false", "no call can fulfil this policy"),
    ];
    for (condition, want) in table {
        check(&[("a.cedar", &send(condition))], want);
    }
    let nowhere =
        "permit(principal, action == Gw::Action::\"mail/send\", resource == Gw::Server::\"fs\");";
    check(&[("a.cedar", nowhere)], "nothing that this policy could be about");
    // One that cannot be for some of its tools is about the others.
    let some = "permit(principal, action, resource) when { resource == Gw::Server::\"fs\" };";
    check(&[("a.cedar", some)], "");
}

#[test]
fn a_policy_that_does_not_fit_denies_and_leaves_the_others_alone() {
    let text = "permit(principal, action, resource);
        forbid(principal, action == Gw::Action::\"mail/send\", resource) when { context.input.nope };";
    let policies = policies(&[("a.cedar", text)]).unwrap();
    let (bound, mistakes) = bind(&policies);
    assert_eq!(mistakes.len(), 1);
    let case = |tool: &str, args: &str, want: &str| {
        let case = format!(
            "[[case]]\nexpect = \"{want}\"\nprincipal = \"a\"\ntool = \"{tool}\"\nargs = {args}\n"
        );
        let around = crate::config::Surroundings::with_policies(&[("tests/a.toml", &case)]);
        let path = std::path::Path::new("/etc/servers.toml");
        let config = crate::config::Config::from_str_at(super::SERVERS, path, &around).unwrap();
        bound.run(&config.policies.cases)
    };
    assert!(case("mail/send", "{ to = \"b\" }", "deny").is_empty());
    assert!(case("fs/read_file", "{ path = \"b\" }", "allow").is_empty());
}

#[test]
fn two_policies_of_one_name_are_a_mistake() {
    let text = "@id(\"a\")\npermit(principal, action, resource);\n@id(\"a\")\nforbid(principal, action, resource) when { context.risk > 5 };";
    check(&[("a.cedar", text)], "another policy is called `a`");
    check(&[("a.cedar", text)], "a.cedar:3:1");
    let rule = "[[allow]]\nname = \"a\"\nprincipals = [\"x\", \"y\"]\n";
    check(&[("r.toml", rule)], "");
}

#[test]
fn a_case_that_comes_out_otherwise_refuses_the_policies() {
    let case = "[[case]]\nname = \"x\"\nprincipal = \"a\"\ntool = \"fs/delete\"\nargs = { path = \"/\" }\nexpect = \"deny\"\n";
    let all = "@id(\"all\")\npermit(principal, action, resource);";
    check(
        &[("a.cedar", all), ("tests/a.toml", case)],
        "case `x` expects deny, and the policies say allow at /etc/policies/tests/a.toml:1:1",
    );
}
