//! A server that is a program of this machine.
//!
//! Decides which file will be executed, with which arguments, environment and directory: all of
//! it here, so that what starts a child has nothing left to guess. A child gets a minimal part
//! of our environment and what is declared, never the rest.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{
    super::{Code, Program, Secret, StdioTarget, secret::is_variable_name},
    Check, Lookup, Note, Section, holds_known_key, literal_in_the_open, secrets,
};

/// What of our environment every child is given, if we have it.
const PASSED_VARIABLES: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Where programs are looked for when we have no PATH.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn read(
    section: &Section<'_>,
    lookup: Lookup,
    check: &mut Check<'_>,
) -> Option<StdioTarget> {
    let program = program(section, lookup, check);
    let args = args(section, check);
    let env = env(section, lookup, check);
    let cwd = cwd(section, lookup, check);
    Some(StdioTarget { program: program?, args, env, cwd: Some(cwd) })
}

fn program(section: &Section<'_>, lookup: Lookup, check: &mut Check<'_>) -> Option<Program> {
    let command = section.text("command", &mut check.notes)?;
    if command.value == "@self" {
        return Some(Program::SelfExe);
    }
    let shown = command.value.escape_debug();
    let refuse = |message: String, help: &str| {
        Note::new(Code::NoProgram, command.span.clone(), message).label("cannot run").help(help)
    };
    if command.value.is_empty() || command.value.contains('\0') || command.value.starts_with('@') {
        let message = format!("`{shown}` is not a command");
        let help = "write a program's name or path, or \"@self\" for portcullis itself";
        check.notes.push(refuse(message, help));
        return None;
    }
    if lookup == Lookup::SpellingOnly {
        return Some(Program::Path(check.base.join(command.value)));
    }
    let path_list = check.around.variable("PATH").unwrap_or(STANDARD_PATH);
    let found = match find(command.value, check.base, path_list, &|p| check.around.is_program(p)) {
        Ok(path) => return Some(Program::Path(path)),
        Err(error) => error,
    };
    let note = match found {
        Missing::NotInPath if command.value.contains(char::is_whitespace) => refuse(
            format!("program `{shown}` is not in PATH"),
            "write the program alone in `command`, and its arguments in `args`",
        ),
        Missing::NotInPath => refuse(
            format!("program `{shown}` is not in PATH"),
            "install it, or write its path; a name without `/` is looked up in PATH",
        ),
        Missing::Unusable(path, error) => refuse(
            format!("program `{}` cannot be run: {error}", path.display()),
            "a path is relative to this file's directory; the file must be executable",
        ),
    };
    check.notes.push(note);
    None
}

enum Missing {
    NotInPath,
    Unusable(PathBuf, io::Error),
}

/// A name with `/` is a path from `base`; any other is the first match in `path_list`.
fn find(
    command: &str,
    base: &Path,
    path_list: &str,
    is_program: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<PathBuf, Missing> {
    if command.contains('/') {
        let path = base.join(command);
        return match is_program(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(Missing::Unusable(path, error)),
        };
    }
    // A relative entry of PATH would mean another program in every directory.
    path_list
        .split(':')
        .map(Path::new)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(command))
        .find(|path| is_program(path).is_ok())
        .ok_or(Missing::NotInPath)
}

fn args(section: &Section<'_>, check: &mut Check<'_>) -> Vec<String> {
    let list = section.texts("args", &mut check.notes).unwrap_or_default();
    for arg in &list {
        if arg.value.contains('\0') {
            let note = Note::new(Code::BadVariable, arg.span.clone(), "an argument contains NUL");
            check.notes.push(note.label("cannot be passed").help("remove the NUL character"));
        }
        if holds_known_key(arg.value) {
            literal_in_the_open("args", arg.span.clone(), &mut check.notes);
        }
    }
    list.into_iter().map(|arg| arg.value.to_owned()).collect()
}

fn env(section: &Section<'_>, lookup: Lookup, check: &mut Check<'_>) -> BTreeMap<String, Secret> {
    let mut env: BTreeMap<_, _> = PASSED_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), Secret::new(check.around.variable(name)?))))
        .collect();
    let table = section.section("env", "env", &mut check.notes);
    for (name, value) in secrets(&table, lookup, check) {
        if !is_variable_name(name.value) {
            let shown = name.value.escape_debug();
            let message = format!("`{shown}` is not the name of an environment variable");
            let note = Note::new(Code::BadVariable, name.span, message).label("not a name");
            check.notes.push(note.help("use letters, digits and `_`"));
        } else if value.value.expose().contains('\0') {
            let message = format!("the value of `{}` contains NUL", name.value);
            let note = Note::new(Code::BadVariable, value.span, message).label("cannot be passed");
            check.notes.push(note.help("remove the NUL character"));
        } else {
            env.insert(name.value.to_owned(), value.value);
        }
    }
    env
}

/// The declared directory, else the one of the file: never the one we happen to run in.
fn cwd(section: &Section<'_>, lookup: Lookup, check: &mut Check<'_>) -> PathBuf {
    let Some(text) = section.text("cwd", &mut check.notes) else {
        return check.base.to_owned();
    };
    let path = check.base.join(text.value);
    let usable = !text.value.contains('\0')
        && (lookup == Lookup::SpellingOnly || check.around.is_directory(&path));
    if !usable {
        let message = format!("`{}` is not a directory", path.display().to_string().escape_debug());
        let note = Note::new(Code::NoDirectory, text.span, message).label("no such directory");
        check.notes.push(note.help("create it; a path is relative to this file's directory"));
    }
    path
}
