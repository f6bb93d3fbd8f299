//! Every code, as people see it: the rendered text with line, column, label and help.
//!
//! The wanted texts are in `snapshots/`, one for each code. Change one on purpose with
//! `INSTA_UPDATE=always cargo test config::tests::golden`, and read the difference.

use std::path::Path;

use super::{FILE, ONE_SERVER, VARIABLES, accepted, read_after, read_with};
use crate::config::{
    Code, Colour, Config, ConfigErrors, Finding, Place, Surroundings,
    check::{Exposure, Written, check},
    load,
};

/// For each code a file that has mistakes of this code only.
const EXAMPLES: [(Code, &str); 26] = [
    (Code::Syntax, "[gateway]\nlisten = \"127.0.0.1:1\nnames = \"plain\"\n"),
    (
        Code::UnknownKey,
        "[servers.git]\ncomand = \"git-mcp\"\nenv_vars = [\"A\"]\n[gateway]\nxyzzy = 1\n[wat]\n",
    ),
    (
        Code::WrongType,
        "limits = 3\n[gateway]\nlisten = 7411\nhosts = [\"a\", 2]\n[servers.a]\ncommand = \"git-mcp\"\n\
             args = \"x\"\nenv = { X = 1 }\ntool_timeout_sec = \"5\"\nenabled = \"no\"\nin_flight = 1.5\n",
    ),
    (Code::UnknownWord, "[gateway]\nnames = \"prefix\"\n[audit]\ndurability = \"never\"\n"),
    (
        Code::OutOfRange,
        "[limits]\nbody_bytes = 12\nin_flight = -1\n[servers.a]\ncommand = \"git-mcp\"\n\
             startup_timeout_sec = 0\ntool_timeout_sec = nan\n",
    ),
    (
        Code::BadName,
        "[servers.a__b]\ncommand = \"git-mcp\"\nenabled_tools = [\"\"]\n\
             disabled_tools = [\"a\\u001b[31m\"]\n",
    ),
    (
        Code::NoTarget,
        "[servers.none]\nenabled = true\n[servers.both]\nurl = \"https://a.example\"\n\
             command = \"git-mcp\"\n",
    ),
    (
        Code::MisplacedKey,
        "[servers.a]\ncommand = \"git-mcp\"\nbearer_token_env_var = \"TOKEN\"\n[servers.b]\n\
             url = \"https://b.example\"\nargs = []\n",
    ),
    (
        Code::NoProgram,
        "[servers.a]\ncommand = \"bin/nosuch\"\n[servers.b]\ncommand = \"@me\"\n[servers.c]\n\
             command = \"/usr/x\"\n",
    ),
    (Code::NoDirectory, "[servers.a]\ncommand = \"git-mcp\"\ncwd = \"/nowhere/x\"\n"),
    (Code::BadAddress, "[gateway]\nlisten = \"localhost:80\"\nadmin = \"unix:\"\n"),
    (Code::ExposedAddress, "[gateway]\nlisten = \"0.0.0.0:7411\"\nadmin = \"[::]:1\"\n"),
    (
        Code::BadUrl,
        "[servers.a]\nurl = \"ftp://a.example\"\n[servers.b]\nurl = \"https://me:pw@b.example\"\n\
             [servers.c]\nurl = \"/mcp\"\n[servers.d]\nurl = \"https://a b\"\n",
    ),
    (
        Code::BadHeader,
        "[servers.a]\nurl = \"https://a.example\"\n[servers.a.http_headers]\nMcp-Method = \"x\"\n\
             Content-Type = \"x\"\n\"a b\" = \"x\"\nX-Umlaut = \"ä\"\n",
    ),
    (
        Code::BadVariable,
        "[servers.a]\ncommand = \"git-mcp\"\nargs = [\"a\\u0000b\"]\n\
             env = { \"A B\" = \"x\", N = \"\\u0000\" }\n[servers.b]\nurl = \"https://b.example\"\n\
             bearer_token_env_var = \"A-B\"\n",
    ),
    (
        Code::BadReference,
        "[servers.a]\ncommand = \"git-mcp\"\nargs = [\"${env:TOKEN}\"]\n\
             env = { A = \"${HOME}\", B = \"${env:TOKEN\", C = \"${cred:../x}\" }\n",
    ),
    (
        Code::MissingSecret,
        "[servers.a]\ncommand = \"git-mcp\"\n[servers.a.env]\nA = \"${env:NOPE}\"\n\
             B = \"${env:EMPTY}\"\nC = \"${file:/nowhere/secret}\"\nD = \"${file:/run/empty}\"\n",
    ),
    (
        Code::PlainNames,
        "[gateway]\nnames = \"plain\"\n[servers.b]\ncommand = \"git-mcp\"\n[servers.a]\n\
             command = \"git-mcp\"\n",
    ),
    (
        Code::ToolConflict,
        "[servers.a]\ncommand = \"git-mcp\"\nenabled_tools = [\"x\", \"y\"]\ndisabled_tools = [\"y\"]\n",
    ),
    (
        Code::BadValue,
        "[gateway]\nhosts = [\"a b\", \"*\"]\norigins = [\"null\"]\nstate_dir = \"\"\n\
             [servers.a]\nurl = \"https://a.example\"\nbaggage = [\"tenant=1\"]\n",
    ),
    (
        Code::SetTwice,
        "[gateway]\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:1\"\n[servers.a]\n\
             url = \"https://a.example\"\nbearer_token_env_var = \"TOKEN\"\n\
             env_http_headers = { authorization = \"TOKEN\" }\n",
    ),
    (Code::NoWayIn, "[auth]\nmodes = [\"peer\"]\n[servers.a]\ncommand = \"git-mcp\"\n"),
    (
        Code::MissingKey,
        "[gateway]\ntls = { cert = \"c.pem\" }\n[auth.jwt]\nissuer = \"https://a.example\"\n\
             [servers.a]\ncommand = \"git-mcp\"\n",
    ),
    (Code::PlainHttp, "xyzzy = 1\n[servers.a]\nurl = \"http://a.example/mcp\"\n"),
    (
        Code::LiteralSecret,
        "xyzzy = 1\n[servers.a]\ncommand = \"git-mcp\"\nargs = [\"--key=sk-0123456789abcdef\"]\n\
             env = { A = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b\" }\n[servers.b]\n\
             url = \"https://b.example\"\nhttp_headers = { Authorization = \"Basic hunter2\" }\n",
    ),
    (Code::NoServers, "xyzzy = 1\n[servers]\n"),
];

/// What the mistakes of one code look like.
fn mistakes(code: Code) -> ConfigErrors {
    let homeless = [("PATH", "/bin")];
    let refused = match EXAMPLES.iter().find(|(of, _)| *of == code) {
        Some((_, text)) => read_with(text, &VARIABLES),
        None if code == Code::Unreadable => load(Path::new("/nowhere/servers.toml")),
        None if code == Code::NoStateDir => {
            read_with(&format!("[gateway]\n{ONE_SERVER}"), &homeless)
        }
        None if code == Code::ExposedSecrets => {
            let env = "env = { A = \"ghp_0123456789abcdef\" }\n";
            exposed(Exposure::Everybody, &format!("[servers.a]\ncommand = \"git-mcp\"\n{env}"))
        }
        None if code == Code::OpenToWriters => exposed(Exposure::Writable, ONE_SERVER),
        None if code == Code::NeedsRestart => followed(),
        None if code == Code::NoPolicies => {
            let around = Surroundings::with_policies(&[]);
            let text = format!("xyzzy = 1\n[gateway]\npolicies = \"rules\"\n{ONE_SERVER}");
            Config::from_str_at(&text, Path::new(FILE), &around)
        }
        None if code == Code::BadPolicy => Err(misplaced(Place::mistake)),
        None if code == Code::FailedCase => Err(misplaced(Place::failure)),
        None => panic!("no example of {code}"),
    };
    refused.unwrap_err()
}

fn exposed(exposure: Exposure, text: &str) -> Result<Config, ConfigErrors> {
    let written =
        Written { text, shown: Path::new("servers.toml"), absolute: Path::new(FILE), exposure };
    check(&written, None, &Surroundings::imagined(&VARIABLES))
}

/// As whoever reads Cedar says it.
fn misplaced(of: fn(&Place, &'static str, &'static str) -> Finding) -> ConfigErrors {
    let around = Surroundings::with_policies(&[("a.cedar", "permit(principal, action, thing);\n")]);
    let config = Config::from_str_at(ONE_SERVER, Path::new(FILE), &around).unwrap();
    let place = Place { paper: config.policies.cedar[0].clone(), span: 26..31 };
    let mistake = of(&place, "expected `resource`", "name principal, action and resource");
    ConfigErrors { errors: vec![mistake], warnings: Vec::new(), digest: None }
}

fn followed() -> Result<Config, ConfigErrors> {
    let running = format!("[gateway]\nadmin = \"unix:a\"\n{ONE_SERVER}");
    let text = format!("[gateway]\nlisten = \"[::1]:9\"\n[limits]\nsessions = 7\n{ONE_SERVER}");
    read_after(&accepted(&running), &text)
}

#[test]
fn every_code_is_shown_with_its_place_and_a_way_out() {
    for code in Code::ALL {
        let errors = mistakes(code);
        let of_code = |found: Code| found == code;
        let mut shown = errors.errors.iter().chain(&errors.warnings).map(|f| f.code);
        assert!(shown.any(of_code), "{code} is missing in\n{}", errors.render(Colour::Never));
        insta::assert_snapshot!(code.as_str(), errors.render(Colour::Never));
    }
}

#[test]
fn an_example_has_mistakes_of_its_code_only() {
    for code in Code::ALL {
        let others: Vec<_> = mistakes(code)
            .errors
            .into_iter()
            .filter(|e| e.code != code && !e.message.contains("xyzzy"))
            .map(|e| e.to_string())
            .collect();
        assert_eq!(others, [""; 0], "{code}");
    }
}

#[test]
fn codes_are_unique_and_documented_by_number() {
    let mut numbers: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let n_codes = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), n_codes);
    assert!(numbers.is_sorted());
}

#[test]
fn colour_is_used_only_when_asked_for() {
    let errors = mistakes(Code::UnknownKey);
    assert!(!errors.render(Colour::Never).contains('\u{1b}'));
    assert!(errors.render(Colour::Always).contains('\u{1b}'));
}
