//! An example for each command, which its `--help` ends with.
//!
//! In one table, so that a test can say which command has none. Commands that have more to say
//! about themselves do so beside their arguments.

use clap::Command;

/// Whole name of the command, and how it is used.
const EXAMPLES: [(&str, &str); 41] = [
    ("serve", "portcullis serve --config /etc/portcullis/servers.toml"),
    ("check", "portcullis check --json"),
    ("tools", "portcullis tools --json"),
    ("call", "portcullis call files__read_file path=README.md"),
    ("status", "portcullis status files"),
    ("reload", "portcullis reload"),
    ("diff", "portcullis diff"),
    ("stop", "portcullis stop --scope server:git --reason 'odd calls'"),
    ("pins list", "portcullis pins list files"),
    ("pins diff", "portcullis pins diff files/read_file"),
    ("pins approve", "portcullis pins approve files --seen 1f0c…"),
    ("keys", "portcullis keys list"),
    ("keys add", "portcullis keys add ann --group editors --expires 90d"),
    ("keys list", "portcullis keys list"),
    ("keys revoke", "portcullis keys revoke 3f9c1d20aa41"),
    ("approvals list", "portcullis approvals list"),
    ("approvals allow", "portcullis approvals allow apr-44ef9df847374206"),
    ("approvals deny", "portcullis approvals deny apr-44ef9df847374206"),
    ("approvals forget", "portcullis approvals forget rem-44ef9df847374206"),
    ("estop engage", "portcullis estop engage --reason 'odd calls'"),
    ("estop reset", "portcullis estop reset --id 5f3a… --reason 'looked at'"),
    ("estop resume", "portcullis estop resume --id 5f3a…"),
    ("estop drill", "portcullis estop drill --scope server:files"),
    ("estop status", "portcullis estop status --json"),
    ("why", "portcullis why 01HF7YAT00000001R000000001"),
    ("policy show", "portcullis policy show"),
    ("policy test", "portcullis policy test"),
    ("audit init", "portcullis audit init"),
    ("audit verify", "portcullis audit verify --pubkey KEY --until now --max-gap 120s"),
    ("audit tail", "portcullis audit tail -f --kind denied"),
    ("audit export", "portcullis audit export --format ocsf > calls.jsonl"),
    ("audit prove", "portcullis audit prove --seq 42 > proof"),
    ("audit payload", "portcullis audit payload 01HF7YAT00000001R000000001"),
    (
        "schema",
        "portcullis schema > servers.schema.json    and in servers.toml: #:schema servers.schema.json",
    ),
    (
        "completions",
        "portcullis completions bash > /usr/share/bash-completion/completions/portcullis",
    ),
    ("man", "portcullis man --dir /usr/local/share/man/man1"),
    ("provide files", "portcullis provide files --root docs"),
    ("pins", "portcullis pins diff"),
    ("approvals", "portcullis approvals list"),
    ("audit", "portcullis audit verify"),
    ("provide", "portcullis provide files --root docs"),
];

/// The commands with their examples.
pub(in crate::cli) fn taught(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, above: &str) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    for name in names {
        let whole = format!("{above}{name}");
        let example = EXAMPLES.iter().find(|(of, _)| *of == whole).map(|(_, example)| *example);
        command = command.mut_subcommand(name, |inner| {
            let inner = below(inner, &format!("{whole} "));
            match example.filter(|_| inner.get_after_help().is_none()) {
                Some(example) => inner.after_help(format!("Example:\n  {example}")),
                None => inner,
            }
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::{EXAMPLES, taught};
    use crate::cli::Cli;

    /// Every command below, by its whole name.
    fn all(command: &Command, above: &str) -> Vec<(String, Command)> {
        let below = command.get_subcommands().flat_map(|inner| {
            let whole = format!("{above}{}", inner.get_name());
            let deeper = all(inner, &format!("{whole} "));
            [vec![(whole, inner.clone())], deeper].concat()
        });
        below.collect()
    }

    #[test]
    fn every_command_teaches_by_an_example_of_itself() {
        let commands = all(&taught(Cli::command()), "");
        for (name, command) in &commands {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_group = command.get_subcommands().next().is_some();
            let own = help.contains(&format!("portcullis {name}"));
            assert!(own || is_group, "`{name}` shows no example of itself: {help:?}");
        }
        for (name, _) in EXAMPLES {
            assert!(commands.iter().any(|(known, _)| known == name), "there is no `{name}`");
        }
    }

    /// Examples are command lines that parse.
    #[test]
    fn every_example_is_one() {
        for (name, example) in EXAMPLES {
            let line = example.split(['>', '#']).next().unwrap_or_default();
            let line = line.split("    ").next().unwrap_or_default().replace("'odd calls'", "odd");
            let line = line.replace("'looked at'", "seen");
            let parsed = taught(Cli::command()).try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{name}: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }
}
