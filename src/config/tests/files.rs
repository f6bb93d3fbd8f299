//! The same on a real machine: files, modes, programs, directories.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::config::{Config, ConfigErrors, Program, Target, digest, load, load_gateway, load_next};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("policies")).unwrap();
        fs::write(dir.path().join("policies/a.cedar"), "permit(principal, action, resource);\n")
            .unwrap();
        Self(dir)
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, text: &str, mode: u32) -> Result<Config, ConfigErrors> {
        // A state directory of its own: the tests' environment may have none.
        let text = format!("gateway.state_dir = \"state\"\n{text}");
        load(&self.put("servers.toml", text.as_bytes(), mode))
    }
}

fn codes(refused: Result<Config, ConfigErrors>) -> Vec<(&'static str, usize)> {
    refused.unwrap_err().errors.iter().map(|e| (e.code.as_str(), e.line)).collect()
}

const LITERAL: &str = "[servers.a]\ncommand = \"@self\"\nenv = { A = \"ghp_0123456789abcdef\" }\n";

#[test]
fn a_world_readable_file_with_literal_secrets_is_refused() {
    let place = Place::new();
    assert_eq!(codes(place.load(LITERAL, 0o604)), [("C023", 4)]);
    assert_eq!(codes(place.load(LITERAL, 0o644)), [("C023", 4)]);
    let warned = place.load(LITERAL, 0o640).unwrap();
    assert_eq!(warned.warnings[0].code.as_str(), "C102");
    let reference = LITERAL.replace("ghp_0123456789abcdef", "${env:PATH}");
    assert_eq!(place.load(&reference, 0o644).unwrap().warnings.len(), 0);
}

#[test]
fn what_everybody_can_write_is_refused_and_a_clone_by_any_umask_is_not() {
    let place = Place::new();
    let fine = "[servers.a]\ncommand = \"@self\"\n";
    let policy = b"permit(principal, action, resource);\n";
    let chmod = |mode| {
        fs::set_permissions(place.0.path().join("policies"), Permissions::from_mode(mode)).unwrap();
    };
    for (of_files, of_dirs) in [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755), (0o664, 0o775)] {
        place.put("policies/a.cedar", policy, of_files);
        chmod(of_dirs);
        assert!(place.load(fine, of_files).is_ok(), "{of_files:o}");
    }
    assert_eq!(codes(place.load(fine, 0o646)), [("C030", 1)]);
    // Whoever wants to stop it finds the gateway all the same.
    assert!(load_gateway(&place.0.path().join("servers.toml")).is_ok());
    place.put("policies/a.cedar", policy, 0o666);
    let refused = place.load(fine, 0o600).unwrap_err();
    let told = refused.errors[0].message.clone();
    assert!(told.contains("everybody on this machine can write it; run chmod o-w "), "{told}");
    place.put("policies/a.cedar", policy, 0o644);
    chmod(0o777);
    assert_eq!(codes(place.load(fine, 0o600)), [("C001", 1)]);
    // Nobody can take away what is another's there.
    chmod(0o1777);
    assert!(place.load(fine, 0o600).is_ok());
}

#[test]
fn the_digest_is_that_of_the_bytes_and_the_source_is_absolute() {
    let place = Place::new();
    let config = place.load("[servers.a]\ncommand = \"@self\"\n", 0o600).unwrap();
    let bytes = fs::read(&config.source).unwrap();
    assert_eq!(config.digest.file, <[u8; 32]>::from(Sha256::digest(bytes)));
    assert!(config.source.is_absolute());
}

#[test]
fn what_cannot_be_read_is_said_with_a_line() {
    let place = Place::new();
    assert_eq!(codes(load(&place.0.path().join("absent.toml"))), [("C001", 1)]);
    assert_eq!(codes(load(place.0.path())), [("C001", 1)]);
    let latin1 = place.put("latin1.toml", b"# fine\n# \xe4\n", 0o600);
    assert_eq!(codes(load(&latin1)), [("C001", 2)]);
    let huge = place.put("huge.toml", &vec![b'\n'; 1024 * 1024 + 1], 0o600);
    assert_eq!(codes(load(&huge)), [("C001", 1)]);
    assert_eq!(codes(load(Path::new("/dev/zero"))), [("C001", 1)]);
}

#[test]
fn the_gateway_is_found_in_a_file_with_mistakes_elsewhere() {
    let place = Place::new();
    let own = "[gateway]\nstate_dir = \"s\"\nadmin = \"unix:/a\"\n";
    let with = |text: &str| load_gateway(&place.put("servers.toml", text.as_bytes(), 0o600));
    let elsewhere = ["[servers.a]\n", "[wat]\n", "[servers.a]\nurl = \n", "[audit\n", "\"\n"];
    for wrong in elsewhere {
        let text = format!("{own}{wrong}");
        assert!(load(&place.put("servers.toml", text.as_bytes(), 0o600)).is_err(), "{wrong}");
        let found = with(&text).unwrap();
        assert_eq!(format!("{:?}", found.admin), "Unix(\"/a\")", "{wrong}");
    }
    // All of it may be left to the defaults, as in the sample.
    let sample = format!("{}\n[servers.x", include_str!("../../../servers.toml"));
    assert!(with(&sample).is_ok());
    // Here it would be a guess.
    for guess in [
        format!("x = \n{own}"),
        format!("{own}listen = 1\n"),
        "[servers\n".to_owned(),
        "[gateway]\nstate_dir = \"s\"\nadmin = unix:/b\n[audit]\n".to_owned(),
        "[gateway]\nadmin = unix:/b\n[audit]\n".to_owned(),
    ] {
        assert!(with(&guess).is_err(), "{guess}");
    }
}

#[test]
fn a_refused_file_is_known_by_its_digest() {
    let place = Place::new();
    let running = place.load("[servers.a]\ncommand = \"@self\"\n", 0o600).unwrap();
    let wrong = place.put("servers.toml", b"wat = 1\n", 0o600);
    let refused = load_next(&running).unwrap_err();
    let (seen, policies) = (refused.digest.unwrap(), &running.gateway.policies);
    assert_eq!(seen.file, <[u8; 32]>::from(Sha256::digest(b"wat = 1\n")));
    assert_eq!(Some(seen), digest(&wrong, policies));
    let latin1 = place.put("servers.toml", b"# \xe4\n", 0o600);
    assert_eq!(load_next(&running).unwrap_err().digest, digest(&latin1, policies));
    fs::remove_file(&wrong).unwrap();
    assert_eq!(load_next(&running).unwrap_err().digest, None);
}

#[test]
fn a_program_must_be_an_executable_file() {
    let place = Place::new();
    place.put("run", b"#!/bin/sh\n", 0o700);
    place.put("data", b"x", 0o600);
    fs::create_dir(place.0.path().join("dir")).unwrap();
    let with =
        |command: &str| place.load(&format!("[servers.a]\ncommand = \"{command}\"\n"), 0o600);
    let config = with("./run").unwrap();
    let Target::Stdio(stdio) = &config.servers[0].replicas[0].target else { panic!("not stdio") };
    assert_eq!(stdio.program, Program::Path(place.0.path().join("./run")));
    assert_eq!(stdio.cwd.as_deref(), Some(place.0.path()));
    assert_eq!(codes(with("./data")), [("C010", 3)]);
    assert_eq!(codes(with("./dir")), [("C010", 3)]);
    assert_eq!(codes(with("./absent")), [("C010", 3)]);
    assert_eq!(codes(with("portcullis-no-such-program")), [("C010", 3)]);
    assert!(with("sh").is_ok());
}

#[test]
fn secret_files_are_read_without_their_last_newline() {
    let place = Place::new();
    place.put("key", b"s3cret\r\n", 0o600);
    place.put("huge", &vec![b'x'; 64 * 1024 + 1], 0o600);
    let with = |file: &str| {
        let env = format!("env = {{ K = \"${{file:{file}}}\" }}");
        place.load(&format!("[servers.a]\ncommand = \"@self\"\n{env}\n"), 0o600)
    };
    assert_eq!(super::env_of(&with("key").unwrap(), "K").as_deref(), Some("s3cret"));
    assert_eq!(codes(with("huge")), [("C018", 4)]);
    assert_eq!(codes(with("absent")), [("C018", 4)]);
}

#[test]
fn a_working_directory_must_be_one() {
    let place = Place::new();
    let with = |cwd: &str| {
        place.load(&format!("[servers.a]\ncommand = \"@self\"\ncwd = \"{cwd}\"\n"), 0o600)
    };
    assert!(with(".").is_ok());
    assert_eq!(codes(with("servers.toml")), [("C011", 4)]);
    assert_eq!(codes(with("absent")), [("C011", 4)]);
}
