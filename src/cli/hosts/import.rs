//! `import`: what `servers.toml` would say in place of another program's file, or says from now on.
//!
//! Starts nothing and asks nobody. Writes only on request: whole, with a backup, and only what
//! passes the check of the whole file. Words what `config` found out; judges no key itself.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    cli::{Common, Ending, Failure, complain, mistaken, say},
    config::{
        self, Dialect, Foreign, ForeignServer, Remark, Surroundings, free_name, read_foreign,
    },
    domain::{ServerName, limits::IMPORT_BYTES_MAX},
    gate::Rules,
    sys,
};

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  portcullis import ~/.cursor/mcp.json              what would be added, and what becomes of each key
  portcullis import ~/.claude.json github --write   add this one to servers.toml
  portcullis import mcp.json --rename git=git-2     under another name

Nothing is started. The other program keeps its servers: take them out of its file, and point it
here with `portcullis export`.";

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    common: Common,
    /// The other program's file; `-` reads standard input.
    file: PathBuf,
    /// Only these servers, by the names that the file has.
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    /// Whose file it is; found out by default.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Call a server otherwise here.
    #[arg(long, value_name = "OLD=NEW")]
    rename: Vec<String>,
    /// Add the servers to the configuration file, and keep a backup of it.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// `mcpServers` in JSON.
    #[value(
        alias = "claude-desktop",
        alias = "claude-code",
        alias = "cursor",
        alias = "windsurf",
        alias = "lm-studio",
        alias = "gemini",
        alias = "kiro",
        alias = "inspector",
        alias = "mcpo"
    )]
    McpServers,
    /// `servers` and `inputs` in JSON.
    Vscode,
    /// `[mcp_servers.NAME]` in TOML.
    Codex,
    /// `context_servers` in JSON.
    Zed,
    /// `mcp` in JSON.
    Opencode,
    /// `extensions` in YAML.
    Goose,
}

impl Format {
    fn dialect(self) -> Dialect {
        match self {
            Self::McpServers => Dialect::McpServers,
            Self::Vscode => Dialect::VsCode,
            Self::Codex => Dialect::Codex,
            Self::Zed => Dialect::Zed,
            Self::Opencode => Dialect::Opencode,
            Self::Goose => Dialect::Goose,
        }
    }
}

pub(in crate::cli) fn import(args: &ImportArgs) -> Result<Ending, Failure> {
    let into = &args.common.config.config;
    let absolute = std::path::absolute(into).map_err(|e| Failure::of(Ending::Usage, &e))?;
    let text = read(&args.file).map_err(|error| {
        let told = format!("cannot read `{}`\n  because: {error}", args.file.display());
        Failure::new(Ending::Usage, told)
    })?;
    let around = Surroundings::of_this_process();
    let foreign = read_foreign(&text, args.format.map(Format::dialect), (&absolute, &around));
    let mut foreign = foreign.map_err(|error| {
        Failure::new(Ending::Usage, format!("{}: {error}", args.file.display()))
    })?;
    narrow(&mut foreign, &args.only)?;
    rename(&mut foreign, &args.rename)?;
    refuse_clashes(&foreign, into)?;
    let blocks: Vec<String> = foreign.servers.iter().filter_map(block_of).collect();
    let backup = if args.write && !blocks.is_empty() {
        let heading = format!("# Imported from {}.", args.file.display());
        Some(add(into, &format!("{heading}\n{}", blocks.join("\n")))?)
    } else {
        None
    };
    show(args, &foreign, backup.as_deref());
    if blocks.is_empty() {
        return Err(Failure::new(Ending::SaidNo, "nothing of this file can be imported"));
    }
    Ok(Ending::Fine)
}

fn block_of(server: &ForeignServer) -> Option<String> {
    server.block.as_ref().map(|block| block.to_toml(&server.name))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path)?),
    };
    let n_bytes = source.take(IMPORT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(n_bytes).is_ok_and(|n| n <= IMPORT_BYTES_MAX) {
        return Ok(text);
    }
    Err(io::Error::other(format!("it has more than {IMPORT_BYTES_MAX} bytes")))
}

fn narrow(foreign: &mut Foreign, only: &[String]) -> Result<(), Failure> {
    let known = |name: &String| foreign.servers.iter().any(|server| server.written == *name);
    if let Some(name) = only.iter().find(|name| !known(name)) {
        let names: Vec<_> = foreign.servers.iter().map(|s| s.written.escape_debug()).collect();
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let told = format!("no server `{name}` in the file; there is: {names}");
        return Err(Failure::new(Ending::Usage, told));
    }
    foreign.servers.retain(|server| only.is_empty() || only.contains(&server.written));
    Ok(())
}

fn rename(foreign: &mut Foreign, renames: &[String]) -> Result<(), Failure> {
    for rename in renames {
        let usage = |told: String| Failure::new(Ending::Usage, told);
        let (old, new) =
            rename.split_once('=').ok_or_else(|| usage(format!("`{rename}` is not OLD=NEW")))?;
        let name = ServerName::parse(new).map_err(|error| usage(error.to_string()))?;
        let servers = foreign.servers.iter_mut();
        let mut named = servers.filter(|server| server.written == old || server.name == old);
        let server = named.next().ok_or_else(|| usage(format!("no server `{old}` in the file")))?;
        server.name = name.as_str().to_owned();
    }
    Ok(())
}

/// Two servers of one name: the file cannot say which is meant, and neither can we.
fn refuse_clashes(foreign: &Foreign, into: &Path) -> Result<(), Failure> {
    let mut taken = servers_in(into);
    let mut told = Vec::new();
    for server in foreign.servers.iter().filter(|server| server.block.is_some()) {
        if taken.insert(server.name.clone()) {
            continue;
        }
        let free = free_name(&server.name, &taken);
        told.push(format!(
            "there is a server `{}` already\n  call it otherwise: --rename {:?}, or name only the \
             servers that you want",
            server.name,
            format!("{}={free}", server.written),
        ));
        taken.insert(free);
    }
    if told.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Ending::SaidNo, told.join("\n")))
}

/// As far as the file can be read: whether it is right is checked when it is written.
fn servers_in(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let tree: toml::Table = toml::from_str(&text).unwrap_or_default();
    let servers = tree.get("servers").and_then(toml::Value::as_table);
    servers.into_iter().flat_map(|servers| servers.keys().cloned()).collect()
}

/// Adds the blocks at the end of the file and gives the path of what it was before.
fn add(path: &Path, blocks: &str) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| {
        let told = format!("cannot change `{}`\n  because: {error}", path.display());
        Failure::new(Ending::Usage, told)
    };
    // A link stays a link.
    let path = fs::canonicalize(path).map_err(failed)?;
    let old = fs::read_to_string(&path).map_err(failed)?;
    let new = format!("{}\n\n{blocks}", old.trim_end());
    let checked = config::check_text(&path, &new);
    let checked = checked.and_then(|config| Rules::compile(&config).map(|_| ()));
    checked.map_err(|errors| {
        let Failure { ending, told } = mistaken(&errors);
        Failure::new(ending, format!("{told}\nnothing was written: it would not pass the check"))
    })?;
    let backup = backup_of(&path, &old).map_err(failed)?;
    if fs::read_to_string(&path).map_err(failed)? != old {
        let told = "the file was changed by somebody else in this moment: try again";
        return Err(Failure::new(Ending::SaidNo, told));
    }
    sys::rewrite_file(&path, new.as_bytes()).map_err(failed)?;
    Ok(backup)
}

/// For its owner alone: it may hold secrets.
fn backup_of(path: &Path, old: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = |n: usize| path.with_file_name(format!("{name}.before-import-{n}"));
    let free = (1..).map(numbered).find(|path| !path.exists()).unwrap_or_default();
    sys::replace_file(&free, old.as_bytes())?;
    Ok(free)
}

fn show(args: &ImportArgs, foreign: &Foreign, backup: Option<&Path>) {
    if args.common.json {
        say(&to_json(foreign, backup).to_string());
        return;
    }
    foreign.remarks.iter().for_each(|remark| complain(&told(remark)));
    for server in &foreign.servers {
        let fate = if server.block.is_some() { "" } else { ": NOT IMPORTED" };
        complain(&format!("{}{fate}", server.written.escape_debug()));
        server.remarks.iter().for_each(|remark| complain(&told(remark)));
    }
    let blocks: Vec<_> = foreign.servers.iter().filter_map(block_of).collect();
    match backup {
        None => say(blocks.join("\n").trim_end()),
        Some(backup) => {
            let added = foreign.servers.iter().filter(|server| server.block.is_some());
            let names: Vec<_> = added.map(|server| server.name.as_str()).collect();
            let into = args.common.config.config.display();
            say(&format!("added to {into}: {}", names.join(", ")));
            say(&format!("what it was before: {}", backup.display()));
            say("who may call them is for policies/ to say; until then nobody sees them");
        }
    }
}

fn told(remark: &Remark) -> String {
    let Remark { what, key, why } = remark;
    let key = if key.is_empty() { String::new() } else { format!(" {key}") };
    format!("  {}{key}: {why}", what.as_str())
}

fn to_json(foreign: &Foreign, backup: Option<&Path>) -> Value {
    let remarks = |remarks: &[Remark]| {
        let one = |r: &Remark| json!({ "what": r.what.as_str(), "key": r.key, "why": r.why });
        remarks.iter().map(one).collect::<Vec<_>>()
    };
    let one = |server: &ForeignServer| {
        json!({
            "written": server.written,
            "name": server.name,
            "enabled": server.block.as_ref().is_some_and(|block| block.is_enabled()),
            "toml": block_of(server),
            "remarks": remarks(&server.remarks),
        })
    };
    json!({
        "format": foreign.dialect.as_str(),
        "servers": foreign.servers.iter().map(one).collect::<Vec<_>>(),
        "remarks": remarks(&foreign.remarks),
        "written": backup.is_some(),
        "backup": backup.map(|path| path.display().to_string()),
    })
}
