//! The shipped sample and the reference page say what the code does.

use std::path::{Path, PathBuf};

use super::{Config, accepted, read};
use crate::config::{
    Code, Colour, Limits, Program, StdioTarget, Surroundings, Target,
    check::TOP_KEYS,
    gateway::{AUDIT_KEYS, GATEWAY_KEYS, LIMITS_KEYS},
    server::{REPLICA_KEYS, SERVER_KEYS},
};
use crate::domain::limits;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn sample() -> String {
    std::fs::read_to_string(root("servers.toml")).unwrap()
}

fn page() -> String {
    std::fs::read_to_string(root("docs/CONFIGURATION.md")).unwrap()
}

/// The sample with every setting in force.
pub(super) fn uncommented_sample() -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    sample().lines().map(bare).collect::<Vec<_>>().join("\n")
}

fn all_keys() -> Vec<&'static str> {
    [&TOP_KEYS[..], &GATEWAY_KEYS, &AUDIT_KEYS, &LIMITS_KEYS, &SERVER_KEYS, &REPLICA_KEYS].concat()
}

#[test]
fn the_sample_runs_as_it_is_on_a_bare_machine() {
    let bare = Surroundings::imagined(&[("HOME", "/root")]);
    let config = Config::from_str_at(&sample(), &root("servers.toml"), &bare).unwrap();
    assert_eq!(config.warnings.len(), 0);
    let [files] = &config.servers[..] else { panic!("one server") };
    assert_eq!(files.name.as_str(), "files");
    let Target::Stdio(StdioTarget { program, args, cwd, .. }) = &files.replicas[0].target else {
        panic!("not stdio")
    };
    assert_eq!(*program, Program::SelfExe);
    assert_eq!(args.join(" "), "provide files --root docs");
    assert!(cwd.as_ref().unwrap().join("docs").is_dir());
}

#[test]
fn the_sample_shows_every_key_and_every_setting_in_it_is_valid() {
    let text = uncommented_sample();
    let config = accepted(&text);
    assert_eq!((config.servers.len(), config.disabled.len()), (1, 2));
    for key in all_keys() {
        let shown = text.lines().any(|line| {
            line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("[{key}"))
        });
        assert!(shown, "the sample does not show `{key}`");
    }
}

#[test]
fn the_page_describes_every_key_and_every_code() {
    let page = page();
    for key in all_keys() {
        assert!(page.contains(&format!("`{key}`")), "`{key}` is not described");
    }
    for code in Code::ALL {
        assert!(page.contains(&format!("| {code} |")), "{code} is not described");
    }
}

#[test]
fn the_page_has_the_figures_of_the_code() {
    let (page, standard) = (page(), Limits::default());
    for (key, default, range) in [
        ("body_bytes", standard.body_bytes, limits::BODY_BYTES_RANGE),
        ("in_flight", standard.in_flight, limits::IN_FLIGHT_RANGE),
        ("sessions", standard.sessions, limits::SESSIONS_RANGE),
        ("connections", standard.connections, limits::CONNECTIONS_RANGE),
    ] {
        let (low, high) = (range.start(), range.end());
        let row = format!("| `{key}` | integer | {default} | {low} to {high} |");
        assert!(page.contains(&row), "{row}");
    }
    for (key, default, range) in [
        ("startup_timeout_sec", limits::STARTUP_TIMEOUT, limits::STARTUP_TIMEOUT_RANGE_S),
        ("tool_timeout_sec", limits::TOOL_TIMEOUT, limits::TOOL_TIMEOUT_RANGE_S),
    ] {
        let (seconds, low, high) = (default.as_secs(), range.start(), range.end());
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` ")));
        let row = row.unwrap_or_default();
        assert!(row.contains(&format!("| {seconds} |")), "{row}");
        assert!(row.contains(&format!("{low} to {high}")), "{row}");
    }
}

#[test]
fn every_example_of_the_page_is_valid() {
    let page = page();
    let blocks: Vec<_> = page.split("```toml\n").skip(1).collect();
    assert!(blocks.len() >= 4);
    for block in blocks {
        let text = block.split("```").next().unwrap();
        if let Err(errors) = read(text) {
            panic!("{text}\n{}", errors.render(Colour::Never));
        }
    }
}
