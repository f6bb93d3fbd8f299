//! The claims of this room, on an imagined machine unless a test says otherwise.

mod files;
mod golden;
mod keys;
mod mutations;
mod papers;
mod schema;
mod secrets;
mod together;

use std::path::Path;

use super::{
    Colour, Config, ConfigErrors, Surroundings, Target,
    check::{Exposure, Written, check},
};

/// Where the imagined file stands.
const FILE: &str = "/etc/portcullis/servers.toml";
const VARIABLES: [(&str, &str); 9] = [
    ("HOME", "/home/op"),
    ("PATH", "relative:/bin"),
    ("LANG", "C.UTF-8"),
    ("UNLISTED", "never passed on"),
    ("TOKEN", "t0ken"),
    ("EMPTY", ""),
    ("SEARCH_TOKEN", "s1"),
    ("SEARCH_TENANT", "s2"),
    ("CREDENTIALS_DIRECTORY", "/run/cred"),
];
const ONE_SERVER: &str = "[servers.a]\ncommand = \"git-mcp\"\n";

fn read(text: &str) -> Result<Config, ConfigErrors> {
    read_with(text, &VARIABLES)
}

fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_str_at(text, Path::new(FILE), &Surroundings::imagined(variables))
}

/// As what takes the place of `running`.
fn read_after(running: &Config, text: &str) -> Result<Config, ConfigErrors> {
    let (shown, exposure) = (Path::new(FILE), Exposure::OwnerOrGroup);
    let written = Written { text, shown, absolute: shown, exposure };
    check(&written, Some(running), &Surroundings::imagined(&VARIABLES))
}

/// The configuration that a text yields; shows its mistakes if it has any.
#[track_caller]
fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{}", errors.render(Colour::Never)))
}

/// `(code, line, column)` of every error.
#[track_caller]
fn places(text: &str) -> Vec<(&'static str, usize, usize)> {
    let errors = read(text).unwrap_err().errors;
    errors.iter().map(|e| (e.code.as_str(), e.line, e.column)).collect()
}

fn env_of(config: &Config, name: &str) -> Option<String> {
    match &config.servers[0].replicas[0].target {
        Target::Stdio(stdio) => stdio.env.get(name).map(|secret| secret.expose().to_owned()),
        Target::Http(_) => None,
    }
}

fn header_of(config: &Config, name: &str) -> Option<String> {
    match &config.servers[0].replicas[0].target {
        Target::Stdio(_) => None,
        Target::Http(http) => {
            let found = http.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, secret)| secret.expose().to_owned())
        }
    }
}
