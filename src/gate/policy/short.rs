//! Rules of TOML files, written in Cedar. Pure.
//!
//! One rule becomes one policy for each of its principals and things. Its name and place stay
//! those of the rule. An argument that is missing does not fulfil a condition of an `[[allow]]`,
//! and does not fulfil one of a `[[deny]]` either, but for `outside`.

use std::fmt::Write as _;

use super::names::{ActionName, TOOLS, Type};
use crate::config::{ArgRule, ArgTest, Effect, Rule, Scalar, What, Who};

/// The policies of a rule.
pub(super) fn cedar(rule: &Rule) -> Vec<String> {
    let who: Vec<String> = match rule.who.as_slice() {
        [] => vec!["principal".to_owned()],
        who => who.iter().map(principal).collect(),
    };
    let what: Vec<String> = match rule.what.as_slice() {
        [] => vec!["action,\n    resource".to_owned()],
        what => what.iter().map(thing).collect(),
    };
    let mut policies = Vec::new();
    for who in &who {
        for what in &what {
            policies.push(policy(rule, who, what));
        }
    }
    policies
}

fn policy(rule: &Rule, who: &str, what: &str) -> String {
    let mut text = String::new();
    if let Some(name) = &rule.name {
        write(&mut text, format_args!("@id({})\n", quoted(name)));
    }
    let effect = match rule.effect {
        Effect::Allow => "permit",
        Effect::Deny => "forbid",
    };
    write(&mut text, format_args!("{effect} (\n    {who},\n    {what}\n)"));
    let mut conditions: Vec<_> = rule.arguments.iter().map(condition).collect();
    conditions.extend(rule.when.iter().map(|when| format!("({when})")));
    if !conditions.is_empty() {
        write(&mut text, format_args!("\nwhen {{\n    {}\n}}", conditions.join("\n    && ")));
    }
    text.push(';');
    text
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    text.write_fmt(what).unwrap_or_default();
}

fn principal(who: &Who) -> String {
    match who {
        Who::Group(name) => format!("principal in {}", entity(Type::Group, name)),
        Who::Principal(name) => format!("principal == {}", entity(Type::User, name)),
    }
}

fn thing(what: &What) -> String {
    let of = |server: &str| format!("resource == {}", entity(Type::Server, server));
    match what {
        What::Server(server) => format!("action,\n    {}", of(server.as_str())),
        What::Tools(server) => {
            let tools = entity(Type::Action, TOOLS);
            format!("action in {tools},\n    {}", of(server.as_str()))
        }
        What::Resources(server) => {
            let id = ActionName::Resources(server.clone()).id();
            format!("action == {},\n    resource", entity(Type::Action, &id))
        }
        What::One(server, subject) => {
            let id = ActionName::of(server, subject).id();
            format!("action == {},\n    resource", entity(Type::Action, &id))
        }
    }
}

fn condition(rule: &ArgRule) -> String {
    let name = quoted(&rule.argument);
    let (input, path) = (format!("context.input[{name}]"), format!("context.paths[{name}]"));
    let given = |of: &str, test: String| format!("(context.{of} has {name} && {test})");
    match &rule.test {
        ArgTest::Under(dir) => given("paths", under(&path, dir)),
        ArgTest::Outside(dir) => {
            format!("!(context.paths has {name} && {})", under(&path, dir))
        }
        ArgTest::Is(value) => given("input", format!("{input} == {}", scalar(value))),
        ArgTest::OneOf(values) => {
            let values: Vec<_> = values.iter().map(scalar).collect();
            given("input", format!("[{}].contains({input})", values.join(", ")))
        }
        // `*` keeps its meaning.
        ArgTest::Like(pattern) => given("input", format!("{input} like {}", quoted(pattern))),
        ArgTest::AtLeast(least) => given("input", format!("{input} >= {least}")),
        ArgTest::AtMost(most) => given("input", format!("{input} <= {most}")),
    }
}

/// The directory itself, or what is below it.
fn under(path: &str, dir: &str) -> String {
    // As the paths of calls are written.
    let dir = super::call::canonical(dir).unwrap_or_else(|_| dir.to_owned());
    match dir.as_str() {
        "/" => format!("{path} like \"/*\""),
        // Below where the server stands: whatever does not begin at the root.
        "." => format!("!({path} like \"/*\")"),
        dir => {
            let below = pattern(&format!("{dir}/"));
            format!("({path} == {} || {path} like {below})", quoted(dir))
        }
    }
}

/// Everything that begins so.
fn pattern(start: &str) -> String {
    let mut quoted = quoted(start).replace('*', "\\*");
    quoted.pop();
    quoted + "*\""
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => quoted(text),
        Scalar::Whole(number) => number.to_string(),
        Scalar::Truth(truth) => truth.to_string(),
    }
}

fn entity(of: Type, id: &str) -> String {
    format!("{}::{}", of.as_str(), quoted(id))
}

/// As Cedar reads it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::{path::Path, str::FromStr as _};

    use cedar_policy::PolicySet;

    use super::cedar;
    use crate::config::{Config, Surroundings};

    /// Every rule of a file, in Cedar.
    fn compiled(text: &str) -> String {
        let around = Surroundings::with_policies(&[("rules.toml", text)]);
        let servers = "[servers.files]\ncommand = \"git-mcp\"\n";
        let config = Config::from_str_at(servers, Path::new("/etc/servers.toml"), &around);
        let all: Vec<_> = config.unwrap().policies.rules.iter().flat_map(cedar).collect();
        let all = all.join("\n");
        PolicySet::from_str(&all).unwrap();
        all
    }

    #[test]
    fn rules_are_written_in_cedar() {
        insta::assert_snapshot!(compiled(
            r#"
[[allow]]
name = "readers"
groups = ["analysts"]
principals = ["uid:1000"]
tools = ["files/read_file"]
args.path.under = "/srv/da*ta"
args.depth.at_most = 3
args.kind.one_of = ["a", "b\"c"]

[[allow]]
servers = ["files"]
when = "context.risk < 20 || context.approved"

[[deny]]
tools = ["files/*"]
args.path.outside = "/srv"
args.name.like = "*.key"

[[deny]]
resources = ["files"]
prompts = ["files/summary"]
"#
        ));
    }
}
