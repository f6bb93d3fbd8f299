//! The rules of the house that no compiler knows, as tests.
//!
//! Owns the ladder of rooms and the plain-text rules (headers, length, stray marks, where `unsafe`
//! and `async` may stand) and compares documents with code (limits, decisions, README, sample).
//! Each rule is a pure function from text to complaints, and each is fed a bad snippet first: a
//! rule that cannot fail guards nothing. Style that clippy or rustfmt can judge is not judged here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a broken rule or an unreadable tree shall fail the test loudly"
)]

#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/reading.rs"]
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use reading::{code_only, crate_paths, is_word_in, open_modules, rows_of_the_matrix, tests_in};

/// The rooms, lowest first: a room may use itself and what stands before it.
const ROOMS: [&str; 14] = [
    "domain",
    "telemetry",
    "sys",
    "config",
    "wire",
    "audit",
    "gate",
    "jail",
    "upstream",
    "fleet",
    "front",
    "provide",
    "app",
    "cli",
];
const FILE_LINES_MAX: usize = 400;
/// As rustfmt has it for code; it leaves comments alone.
const COMMENT_CHARS_MAX: usize = 100;
const ROOM_FILES_MAX: usize = 8;
/// Written in two halves, so that this file does not accuse itself.
const STRAY_MARKS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("db", "g!"),
    concat!("#[ign", "ore"),
    concat!("[al", "low("),
];
const ADR_HEADINGS: [&str; 7] =
    ["Status", "Date", "Context", "Decision", "Alternatives", "Consequences", "Enforced by"];
/// What would make the nouns depend on the world.
const NOT_IN_DOMAIN: [&str; 7] = ["async", "await", "serde", "tokio", "fs", "net", "Instant"];

/// Public sub-modules of each room: the only inner paths another room may name.
type Doors = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_use_only_lower_rooms_and_only_their_doors() {
    let doors: Doors = ROOMS
        .iter()
        .map(|room| ((*room).to_owned(), open_modules(&read(&format!("src/{room}/mod.rs")))))
        .collect();
    let rule = |room: &str, text: &str| ladder(room, text, &doors);
    hold("src", |path, text| room_of(path).map_or_else(Vec::new, |room| rule(&room, text)));

    bites(rule("wire", "use crate::{domain::Era, gate::Latch};"), "higher room `gate`");
    bites(rule("wire", "fn f() { crate::front::reply(1) }"), "higher room `front`");
    bites(rule("sys", "fn f(x: super::super::wire::Object) {}"), "higher room `wire`");
    bites(rule("gate", "use crate::wire::scan::Scan;"), "inner module `wire::scan`");
    bites(rule("gate", "use crate::{audit::{Audit, chain::link}};"), "inner module `audit::chain`");
    passes(rule("gate", "use crate::{domain::{Era, limits::X}, gate::permit::Permit};"));
    passes(rule("wire", "// crate::gate\nconst S: &str = \"crate::gate\"; /* crate::cli */"));
}

#[test]
fn every_room_folder_is_on_the_ladder_and_small() {
    let mut folders = BTreeMap::<PathBuf, usize>::new();
    for path in rust_files("src") {
        *folders.entry(path.parent().unwrap().to_owned()).or_default() += 1;
        let room = room_of(&path);
        assert!(room.is_none_or(|r| ROOMS.contains(&&*r)), "{path:?} is in no room of the ladder");
    }
    let rule = |n: usize| if n > ROOM_FILES_MAX { vec![format!("{n} files")] } else { vec![] };
    for (folder, n) in &folders {
        assert_eq!(rule(*n), Vec::<String>::new(), "{folder:?}: split into sub-rooms");
    }
    bites(rule(9), "9 files");
}

#[test]
fn every_file_opens_with_a_header_and_is_short() {
    for root in ["src", "tests"] {
        hold(root, |_, text| [header(text), length(text), width(text)].concat());
    }
    bites(width(&format!("    // {} y", "x".repeat(92))), "line 1");
    passes(width(&format!("    // {} y", "x".repeat(91))));
    bites(header("use std::fmt;\n//! late"), "opens with `//!`");
    bites(header("//!\n//! nothing on the first line"), "opens with `//!`");
    bites(length(&"\n".repeat(401)), "401 lines");
    passes(length(&"\n".repeat(400)));
}

#[test]
fn no_stray_marks() {
    for root in ["src", "tests"] {
        hold(root, |_, text| stray(text));
    }
    for mark in STRAY_MARKS {
        bites(stray(&format!("fn f() {{}} // {mark} later")), mark);
    }
    bites(stray(concat!("#![al", "low(dead_code)]")), "[al");
    passes(stray(concat!("// X", "XX", "X is no mark on its own, #[expect(dead_code)] is none")));
}

#[test]
fn unsafe_stands_only_in_the_jail() {
    for root in ["src", "tests"] {
        hold(
            root,
            |path, text| {
                if path.starts_with("src/jail") { vec![] } else { words(text, &["unsafe"]) }
            },
        );
    }
    bites(words("fn f() { unsafe { g() } }", &["unsafe"]), "unsafe");
    passes(words("#[expect(unsafe_code)] // unsafe\nfn f() { g(\"unsafe\") }", &["unsafe"]));
}

#[test]
fn the_nouns_know_no_world() {
    hold("src/domain", |_, text| words(text, &NOT_IN_DOMAIN));
    bites(words("pub async fn f() {}", &NOT_IN_DOMAIN), "async");
    bites(words("use std::fs::File;", &NOT_IN_DOMAIN), "fs");
}

#[test]
fn every_limit_is_documented() {
    let code = "pub const A_MAX: usize = 1;\npub const A_MAX_MS: u64 = 2;";
    bites(unlisted(code, "| `A_MAX_MS` | 2 ms |"), "`A_MAX`");
    passes(unlisted(code, "| `A_MAX` | `A_MAX_MS` |"));
    let mut limits = read("src/domain/limits.rs");
    limits.extend(rust_files("src/domain/limits").iter().map(|path| read(path.to_str().unwrap())));
    assert_eq!(unlisted(&limits, &read("docs/LIMITS.md")), Vec::<String>::new());
}

/// Both ways: each test they name is there, and each row of the matrix and each trap is in them.
#[test]
fn tables_name_tests_that_are_there() {
    let home = |module: &str| {
        let path = module.replace("::", "/");
        let homes =
            [format!("tests/it/{path}.rs"), format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
        let found = homes.iter().find(|home| at(Path::new(home)).is_file());
        found.map(|home| read(home)).unwrap_or_default()
    };
    let whole = |page: &str, module: &str, tests: &[&str]| {
        let table = read(page);
        assert_eq!(missing_tests(&table, home), Vec::<String>::new(), "{page}");
        assert!(tests.len() > 4, "{tests:?}");
        for test in tests {
            assert!(table.contains(&format!("`{module}::{test}`")), "{page} lacks {test}");
        }
    };
    whole("docs/PROTOCOL.md", "matrix", &rows_of_the_matrix(&home("matrix")));
    whole("docs/TRAPS.md", "traps", &tests_in(&home("traps")));
    bites(missing_tests("`a::b::c_d`", |_| "fn c_d2() {}\nc_d();".to_owned()), "a::b::c_d");
    passes(missing_tests("`a::b` `x::c` y", |_| "async fn b() {}\n    c: SHARED, [x];".to_owned()));
}

#[test]
fn every_decision_has_its_headings() {
    bites(adr_name("rmcp.md"), "NNNN-title.md");
    bites(adr("# T\n\n**Status** accepted\n\n## Context\n"), "no `Decision`");
    passes(adr(&ADR_HEADINGS.map(|h| format!("- **{h}.** words\n")).concat()));
    let found = files("docs/adr", "md");
    assert!(!found.is_empty(), "docs/adr holds no decision");
    let complaints = found.iter().flat_map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let wrong = [adr_name(name), adr(&read(path.to_str().unwrap()))].concat();
        wrong.into_iter().map(move |what| format!("{name}: {what}"))
    });
    passes(complaints.collect());
}

#[test]
fn the_sample_configuration_is_toml_with_a_server() {
    let rule = |text: &str| match text.parse::<toml::Table>() {
        Ok(table) if table.get("servers").is_some_and(toml::Value::is_table) => vec![],
        Ok(_) => vec!["no [servers.…] table".to_owned()],
        Err(error) => vec![error.to_string()],
    };
    bites(rule("[gateway]\nlisten = "), "line 2");
    bites(rule("[gateway]"), "no [servers");
    passes(rule(&read("servers.toml")));
}

#[test]
fn commands_of_the_readme_exist() {
    let text = "```sh\ncargo build\ncargo run -- serve --config x\n$ portcullis nonsense a\n```\n";
    assert_eq!(readme_commands(text), BTreeSet::from(["nonsense".to_owned(), "serve".to_owned()]));
    assert!(!has_command("nonsense"));
    let commands = readme_commands(&read("README.md"));
    assert!(commands.len() >= 2, "README shows {commands:?}; a newcomer needs two commands");
    for command in commands {
        assert!(has_command(&command), "README shows `portcullis {command}`, which does not exist");
    }
}

// The rules: text in, complaints out.

fn ladder(room: &str, text: &str, doors: &Doors) -> Vec<String> {
    let rank = |name: &str| ROOMS.iter().position(|r| *r == name);
    let own = rank(room);
    let mut complaints = vec![];
    for path in crate_paths(&code_only(text)) {
        let (Some(first), second) = (path.first(), path.get(1)) else { continue };
        if rank(first).is_none() || first == room {
            continue;
        }
        if rank(first) > own {
            complaints.push(format!("`{room}` uses the higher room `{first}`"));
        }
        let module = |s: &&String| s.starts_with(|c: char| c.is_ascii_lowercase());
        let open = |s: &String| doors.get(first).is_some_and(|open| open.contains(s));
        let leads_on = path.len() > 2;
        if let Some(inner) = second.filter(module).filter(|s| leads_on && !open(s)) {
            complaints.push(format!("`{room}` names the inner module `{first}::{inner}`"));
        }
    }
    complaints
}

fn header(text: &str) -> Vec<String> {
    let good = text.strip_prefix("//! ").is_some_and(|rest| !rest.starts_with('\n'));
    if good { vec![] } else { vec!["a file opens with `//!` and a sentence".to_owned()] }
}

fn length(text: &str) -> Vec<String> {
    let n = text.lines().count();
    if n > FILE_LINES_MAX { vec![format!("{n} lines, {FILE_LINES_MAX} at most")] } else { vec![] }
}

fn width(text: &str) -> Vec<String> {
    let is_wide = |line: &str| {
        line.trim_start().starts_with("//") && line.chars().count() > COMMENT_CHARS_MAX
    };
    let numbered = text.lines().zip(1..).filter(|(line, _)| is_wide(line));
    numbered.map(|(_, n)| format!("line {n}: a comment wider than {COMMENT_CHARS_MAX}")).collect()
}

fn stray(text: &str) -> Vec<String> {
    let is_word = |mark: &str| mark.starts_with(|c: char| c.is_ascii_uppercase());
    let stands =
        |mark: &str| if is_word(mark) { is_word_in(mark, text) } else { text.contains(mark) };
    let found = STRAY_MARKS.iter().filter(|mark| stands(mark));
    found.map(|mark| format!("stray mark `{mark}`")).collect()
}

fn words(text: &str, forbidden: &[&str]) -> Vec<String> {
    let code = code_only(text);
    let found = forbidden.iter().filter(|word| is_word_in(word, &code));
    found.map(|word| format!("`{word}` has no place here")).collect()
}

fn unlisted(code: &str, document: &str) -> Vec<String> {
    let names = code.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let names = names.filter_map(|rest| rest.split(':').next());
    let missing = names.filter(|name| !is_word_in(name, document));
    missing.map(|name| format!("`{name}` is not in docs/LIMITS.md")).collect()
}

/// The tests that `table` names in backticks and that are not in the file of their module.
fn missing_tests(table: &str, home: impl Fn(&str) -> String) -> Vec<String> {
    let named = table.split('`').skip(1).step_by(2).filter_map(|name| {
        let (module, test) = name.rsplit_once("::")?;
        Some((name, module, test))
    });
    let is_there = |text: &str, test: &str| {
        text.contains(&format!("fn {test}(")) || rows_of_the_matrix(text).contains(&test)
    };
    let missing = named.filter(|(_, module, test)| !is_there(&home(module), test));
    missing.map(|(name, ..)| format!("there is no test {name}")).collect()
}

fn adr_name(name: &str) -> Vec<String> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let good = digits == 4 && name.as_bytes().get(4) == Some(&b'-');
    if good { vec![] } else { vec![format!("`{name}`: the name's form is NNNN-title.md")] }
}

fn adr(text: &str) -> Vec<String> {
    let bare = |line: &str| line.trim_start_matches(['#', '*', '-', ' ']).to_owned();
    let lines: Vec<String> = text.lines().map(bare).collect();
    let missing = ADR_HEADINGS.iter().filter(|h| !lines.iter().any(|line| line.starts_with(**h)));
    missing.map(|h| format!("no `{h}` heading")).collect()
}

/// First words of every `portcullis …` line in the fenced blocks.
fn readme_commands(text: &str) -> BTreeSet<String> {
    let fenced = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let command = |line: &str| {
        let mut words = line.trim_start_matches("$ ").split_whitespace();
        let ours = match words.next()? {
            "cargo" => words.any(|word| word == "--"),
            program => program == "portcullis" || program.ends_with("/portcullis"),
        };
        words.next().filter(|word| ours && !word.starts_with('-')).map(str::to_owned)
    };
    fenced.filter_map(command).collect()
}

#[expect(clippy::disallowed_methods, reason = "asks the built binary, outside any runtime")]
fn has_command(name: &str) -> bool {
    let program = env!("CARGO_BIN_EXE_portcullis");
    let output = std::process::Command::new(program).args([name, "--help"]).output();
    output.expect("the binary starts").status.success()
}

// The tree.

fn hold(root: &str, rule: impl Fn(&Path, &str) -> Vec<String>) {
    let complain = |path: &PathBuf| {
        let found = rule(path, &read(path.to_str().unwrap()));
        found.into_iter().map(|what| format!("{}: {what}", path.display())).collect::<Vec<_>>()
    };
    let complaints: Vec<String> = rust_files(root).iter().flat_map(complain).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[track_caller]
fn bites(complaints: Vec<String>, want: &str) {
    assert!(complaints.iter().any(|c| c.contains(want)), "no `{want}` among {complaints:?}");
}

#[track_caller]
fn passes(complaints: Vec<String>) {
    assert_eq!(complaints, Vec::<String>::new());
}

fn room_of(path: &Path) -> Option<String> {
    let inner = path.strip_prefix("src").ok()?;
    let folder = inner.parent()?.components().next()?;
    Some(folder.as_os_str().to_str()?.to_owned())
}

fn rust_files(root: &str) -> Vec<PathBuf> {
    let found = files(root, "rs");
    assert!(!found.is_empty(), "no Rust under {root}");
    found
}

fn files(root: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(at(&folder)).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.extend((entry.file_name() != "target").then_some(path));
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(at(Path::new(path))).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn at(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
