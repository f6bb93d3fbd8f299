//! Secrets arrive where they are used, and nowhere else.

use super::{accepted, env_of, header_of, read};
use crate::config::{Colour, Config, Secret};

#[track_caller]
fn resolves(value: &str, want: &str) {
    let config =
        accepted(&format!("[servers.a]\ncommand = \"git-mcp\"\nenv = {{ V = \"{value}\" }}\n"));
    assert_eq!(env_of(&config, "V").as_deref(), Some(want), "{value}");
    let url = "[servers.a]\nurl = \"https://a.example\"\n";
    let config = accepted(&format!("{url}http_headers = {{ X-V = \"{value}\" }}\n"));
    assert_eq!(header_of(&config, "x-v").as_deref(), Some(want), "{value}");
}

#[test]
fn references_are_resolved_anywhere_in_a_value() {
    resolves("plain", "plain");
    resolves("$TOKEN", "$TOKEN");
    resolves("${env:TOKEN}", "t0ken");
    resolves("Bearer ${env:TOKEN}!", "Bearer t0ken!");
    resolves("${env:TOKEN}${cred:db}", "t0kenfrom-file");
    resolves("${file:/run/key}", "from-file");
    resolves("${file:key}", "from-file");
}

#[test]
fn a_resolved_value_is_not_resolved_again() {
    let variables = [("PATH", "/bin"), ("HOME", "/h"), ("A", "${env:B}"), ("B", "b")];
    let text = "[servers.a]\ncommand = \"git-mcp\"\nenv = { V = \"${env:A}\" }\n";
    let config = super::read_with(text, &variables).unwrap();
    assert_eq!(env_of(&config, "V").as_deref(), Some("${env:B}"));
}

#[test]
fn a_child_gets_the_minimal_set_and_what_is_declared() {
    let config = accepted("[servers.a]\ncommand = \"git-mcp\"\nenv = { V = \"1\" }\n");
    let crate::config::Target::Stdio(stdio) = &config.servers[0].replicas[0].target else {
        panic!()
    };
    let names: Vec<_> = stdio.env.keys().map(String::as_str).collect();
    assert_eq!(names, ["HOME", "LANG", "PATH", "V"]);
}

#[test]
fn a_secret_prints_as_stars() {
    let secret = Secret::new("t0ken");
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    let config: Config =
        accepted("[servers.a]\ncommand = \"git-mcp\"\nenv = { V = \"${env:TOKEN}\" }\n");
    assert!(!format!("{config:?}").contains("t0ken"));
}

/// The text has a mistake, so that it is shown; the secret in it must not be.
#[track_caller]
fn never_shown(text: &str, secret: &str) {
    let errors = read(text).unwrap_err();
    let shown = errors.render(Colour::Never);
    assert!(text.contains(secret));
    assert!(!shown.contains(secret), "{shown}");
    assert!(!errors.to_json().to_string().contains(secret));
    assert!(!errors.to_string().contains(secret));
}

#[test]
fn a_literal_secret_is_never_repeated() {
    const KEY: &str = "sk-0123456789abcdef";
    never_shown(
        &format!("[servers.a]\ncommand = \"git-mcp\"\nenv = {{ A = \"{KEY}\", b-d = 1 }}\n"),
        KEY,
    );
    never_shown(&format!("[servers.a]\ncommand = \"/x/{KEY}\"\n"), KEY);
    never_shown(
        &format!("[servers.a]\ncommand = \"git-mcp\"\nenv = {{ A = \"${{{KEY}}}\" }}\n"),
        KEY,
    );
    never_shown(&format!("[servers.a]\nurl = \"{KEY}\"\n\"{KEY}\" = 1\n"), KEY);
    never_shown("[servers.a]\nurl = \"https://u:hunter2@a.example\"\n", "hunter2");
    never_shown(
        "[servers.a]\nurl = \"https://u:hunter2@a.example\"\nx = 1\n[servers.a.http_headers]\n\
                 Authorization = \"hunter3\"\n\"a b\" = \"\"\n",
        "hunter3",
    );
}

#[test]
fn a_secret_under_a_wrong_key_is_not_shown_either() {
    let url = "[servers.a]\nurl = \"https://a.example\"\n";
    never_shown(&format!("{url}headers = {{ Authorization = \"hunter2\" }}\n"), "hunter2");
    never_shown(&format!("{url}bearer_token = \"hunter2\"\n"), "hunter2");
    never_shown(&format!("{url}bearer_token_env_var = \"hunter-2\"\n"), "hunter-2");
    never_shown("servers.a = { env = { A = \"hunter2\" } }\n", "hunter2");
    never_shown("mcp_servers.a = { env = { A = \"hunter2\" } }\n", "hunter2");
}

#[test]
fn a_broken_file_does_not_show_values_of_keys_that_sound_secret() {
    never_shown("[servers.a.env]\nDB_PASSWORD = \"hunter2\n", "hunter2");
    never_shown("[servers.a.env]\nDB_PASSWORD = hunter2\n", "hunter2");
    never_shown("[servers.a.env]\nTOKEN = \"a\" hunter2\n", "hunter2");
    never_shown("[servers.a.env]\nTOKEN = 5hunter2\n", "hunter2");
    never_shown("[servers.a]\napi_key: \"hunter2\"\n", "hunter2");
    never_shown("[servers.a]\nenv = { TOKEN = 'hunter2', }}\n", "hunter2");
}

#[test]
fn what_looks_like_a_key_is_told_from_what_does_not() {
    let warned = |value: &str| {
        let text = format!("[servers.a]\ncommand = \"git-mcp\"\nenv = {{ V = \"{value}\" }}\n");
        accepted(&text).warnings.len() == 1
    };
    for key in [
        "sk-proj-0123456789",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-123456789012-abc",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
        "9f86d081884c7d659a2feaa0c55ad015",
        "wJalrXUtnFEMI7K7MDENG5bPxRfi9CYEXAMPLEKEY",
        "postgres://me:AKIAIOSFODNN7EXAMPLE@db/x",
    ] {
        assert!(warned(key), "{key}");
    }
    for word in [
        "info",
        "sk-short",
        "/nix/store/9f86d081884c7d659a2feaa0c55ad015-git-2.4/bin",
        "a-long-but-readable-name-of-2026-11-21-eu-west-1",
        "host1.of.a.very.long.internal.domain.example.org",
        "/usr/local/bin:/usr/bin:/bin:/home/operator/.local/bin",
        "${cred:sk-proj-0123456789}",
        "${env:TOKEN}",
    ] {
        assert!(!warned(word), "{word}");
    }
}
