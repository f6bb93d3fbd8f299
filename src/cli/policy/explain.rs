//! `policy explain`: one call, as the policies see it.

use serde_json::json;

use super::{
    types::{Typed, typed},
    untyped,
};
use crate::{
    cli::{ConfigArg, Ending, Failure, load, say},
    config::{Case, Expect, Place},
    domain::{Era, Kind, ServerName, Subject, Transport},
    gate::{Explained, Explanation, Fit},
};

/// Kinds of things that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    Tool,
    Prompt,
    Resource,
}

/// Whether the whitelist knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis policy explain files/read_file path=guides/start.md
  portcullis policy explain files/read_file path=/etc/passwd --principal uid:1000
  portcullis policy explain files/file:///guides/start.md --of resource
  portcullis policy explain mail/send to=a@example.org priority:=3 --risk 60 --tainted

Arguments: key=text, or key:=JSON for numbers, lists and objects. Types and annotations are those of
the definition in pins.lock; of a tool that is not there, types are taken as they are written.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// SERVER/TOOL, by the server's own name of it.
    #[arg(value_name = "SERVER/NAME")]
    name: String,
    /// Arguments: `key=text`, or `key:=JSON`.
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// What the name is of; of a resource it is the URI.
    #[arg(long, value_enum, default_value_t = Of::Tool)]
    of: Of,
    /// Who calls: `local` (TCP), `uid:N` (unix socket) or `stdio`.
    #[arg(long, default_value = "local")]
    principal: String,
    /// How the client calls itself.
    #[arg(long, default_value = "")]
    client: String,
    /// The risk of the call.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    risk: u8,
    /// As if its caller had seen text from elsewhere.
    #[arg(long, action = clap::ArgAction::Count)]
    tainted: u8,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &Args) -> Result<Ending, Failure> {
    let (config, rules) = load(&args.config)?;
    let Typed { rules, problem, .. } = typed(&args.config, (&config, &rules));
    untyped(problem.as_deref());
    let case = case(args)?;
    let known = config.servers.iter().any(|server| server.name == case.server);
    if !known {
        let names: Vec<_> = config.servers.iter().map(|server| server.name.as_str()).collect();
        let told = format!("there is no server `{}`; there are {}", case.server, names.join(", "));
        return Err(Failure::new(Ending::Usage, told));
    }
    let explanation = rules.policies().explain(&case);
    let listed = match rules.listed(&case.server, &case.subject) {
        true => Listed::Yes,
        false => Listed::No,
    };
    if args.json {
        say(&as_json(&explanation, listed).to_string());
    } else {
        print(&explanation, listed);
    }
    let allows = listed == Listed::Yes && explanation.says == Expect::Allow;
    Ok(if allows { Ending::Fine } else { Ending::SaidNo })
}

fn case(args: &Args) -> Result<Case, Failure> {
    let usage = |told: String| Failure::new(Ending::Usage, told);
    let kind = match args.of {
        Of::Tool => Kind::Tool,
        Of::Prompt => Kind::Prompt,
        Of::Resource => Kind::Resource,
    };
    let shape = || usage(format!("`{}` is not SERVER/NAME", args.name));
    let (server, name) = args.name.split_once('/').ok_or_else(shape)?;
    let server = ServerName::parse(server).map_err(|error| usage(error.to_string()))?;
    let subject = Subject::parse(kind, name).map_err(|error| usage(error.to_string()))?;
    let arguments = match kind {
        Kind::Resource => name.to_owned(),
        Kind::Tool
        | Kind::Prompt
        | Kind::PromptArgument
        | Kind::TemplateArgument
        | Kind::Task(_) => arguments(&args.arguments)?,
    };
    Ok(Case {
        name: args.name.clone(),
        place: Place::nowhere(),
        principal: args.principal.clone(),
        client: args.client.clone(),
        era: Era::Modern,
        transport: Transport::Http,
        server,
        subject,
        arguments,
        risk: args.risk,
        tainted: args.tainted > 0,
        expect: Expect::Allow,
    })
}

fn arguments(words: &[String]) -> Result<String, Failure> {
    let mut object = serde_json::Map::new();
    for word in words {
        let wrong = || Failure::new(Ending::Usage, format!("`{word}` is not KEY=VALUE"));
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => (key, serde_json::from_str(value).map_err(|_| wrong())?),
            None => (key, value.into()),
        };
        object.insert(key.to_owned(), value);
    }
    Ok(serde_json::Value::Object(object).to_string())
}

fn print(explanation: &Explanation, listed: Listed) {
    if listed == Listed::No {
        say("hidden: the whitelist of servers.toml (enabled_tools, disabled_tools) leaves it out");
        return;
    }
    let why = explanation.decided.doubt.as_ref().map(|doubt| format!(": {doubt}"));
    say(&format!("{}{}", explanation.says.as_str(), why.unwrap_or_default()));
    for one in &explanation.policies {
        let effect = if one.is_permit { "permit" } else { "forbid" };
        say(&format!("  {effect} {}  {}  ({})", shown(one), one.fits.as_str(), one.place));
    }
    if explanation.says == Expect::Allow {
        return;
    }
    for line in ways(&explanation.policies) {
        say(&line);
    }
}

fn shown(one: &Explained) -> String {
    if one.name == one.place.to_string() { String::new() } else { format!("`{}`", one.name) }
}

/// What would have to be otherwise for the call to be allowed.
fn ways(policies: &[Explained]) -> Vec<String> {
    let in_the_way = policies.iter().filter(|one| !one.is_permit && one.fits == Fit::Holds);
    let mut ways: Vec<_> = in_the_way
        .map(|one| format!("in the way: forbid {} at {}", shown(one), one.place))
        .collect();
    if !policies.iter().any(|one| one.is_permit && one.fits == Fit::Holds) {
        let near = policies.iter().filter(|one| one.is_permit);
        ways.extend(near.map(|one| {
            format!("would allow it: {} at {}, but {}", shown(one), one.place, one.fits.as_str())
        }));
        if !policies.iter().any(|one| one.is_permit) {
            ways.push("no policy permits such a call to anybody".to_owned());
        }
    }
    ways
}

fn as_json(explanation: &Explanation, listed: Listed) -> serde_json::Value {
    let is_listed = listed == Listed::Yes;
    let one = |one: &Explained| {
        json!({
            "name": one.name, "at": one.place.to_string(),
            "effect": if one.is_permit { "permit" } else { "forbid" },
            "fits": one.fits.as_str(),
        })
    };
    json!({
        "says": if is_listed { explanation.says.as_str() } else { "hidden" },
        "listed": is_listed,
        "by": explanation.decided.by.iter().map(|name| &**name).collect::<Vec<_>>(),
        "doubt": explanation.decided.doubt.as_ref().map(ToString::to_string),
        "policies": explanation.policies.iter().map(one).collect::<Vec<_>>(),
    })
}
