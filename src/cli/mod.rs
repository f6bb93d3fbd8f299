//! The command line: one file a sub-command, thin over the rooms below.
//!
//! The only room that writes to standard output. Exit codes are a contract: 0 fine, 1 it said no,
//! 2 usage or configuration, 3 could not reach the service, 4 stopped.

mod audit;
mod client;
mod doctor;
mod gate;
mod hosts;
mod inspect;
mod papers;
mod policy;
mod reload;
mod serve;
mod service;
mod status;
mod tools;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    config::{self, Colour, Config},
    gate::Rules,
};

/// One MCP endpoint in front of many MCP servers: every call passes the gates, on record, before
/// it is sent.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  portcullis check                           is servers.toml right? all mistakes at once
  portcullis serve                           run the gateway until SIGTERM or Ctrl-C
  portcullis tools                           what applications can call
  portcullis call files__read_file path=README.md
  portcullis why 01HF7YAT00000001R000000001
  portcullis policy explain files/read_file path=/etc/passwd
  portcullis reload                          take the changes in servers.toml; calls go on
  portcullis stop --reason 'odd calls'       nothing is sent any more, until reset and resume

Exit codes: 0 fine, 1 it said no, 2 usage or configuration, 3 could not reach the service, 4 stopped.
The log goes to standard error; PORTCULLIS_LOG=debug says more.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Args),
    /// Check servers.toml: every mistake at once, by line and column.
    Check(inspect::CheckArgs),
    /// List the tools that applications see.
    Tools(tools::ToolsArgs),
    /// Call one tool through the running gateway.
    Call(tools::CallArgs),
    /// How the gateway and each of its servers are.
    Status(status::Args),
    /// Have the running gateway take what servers.toml says now; waits for the result.
    Reload(reload::Args),
    /// What a reload would change. Changes nothing.
    Diff(reload::Args),
    /// Engage the emergency stop (same as `estop engage`).
    Stop(service::EngageArgs),
    /// Which definitions of servers are approved; approve what is held back.
    Pins {
        #[command(subcommand)]
        action: gate::pins::Pins,
    },
    /// Calls that wait for somebody; let them through or refuse them.
    Approvals {
        #[command(subcommand)]
        action: gate::approvals::Approvals,
    },
    /// API keys by which applications and operators prove who they are.
    Keys {
        #[command(subcommand)]
        action: gate::keys::Keys,
    },
    /// The emergency stop: engage, reset, resume, status.
    Estop {
        #[command(subcommand)]
        action: service::Estop,
    },
    /// Why a call was let through or refused, gate by gate, from the audit alone.
    Why(audit::why::Args),
    /// What the policies allow, and why.
    Policy {
        #[command(subcommand)]
        action: policy::Policy,
    },
    /// The audit log: begin, verify, follow, export, prove.
    Audit {
        #[command(subcommand)]
        action: audit::Action,
    },
    /// Take over servers from another program's file: Claude, Cursor, VS Code, Codex, Zed …
    #[command(after_help = hosts::import::EXAMPLES)]
    Import(hosts::import::ImportArgs),
    /// What another program's file has to say to use this gateway.
    #[command(after_help = hosts::export::EXAMPLES)]
    Export(hosts::export::ExportArgs),
    /// What may keep the gateway from its work on this machine, and what to do about it.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// The JSON Schema of servers.toml, with which editors complete and check it.
    Schema(papers::SchemaArgs),
    /// A script with which a shell completes commands and options.
    Completions(papers::CompletionsArgs),
    /// Manual pages: the first on standard output, or all of them into a directory.
    Man(papers::ManArgs),
    /// Built-in MCP servers, to be named in servers.toml as `command = "@self"`.
    Provide {
        #[command(subcommand)]
        server: serve::Provide,
    },
}

/// Which configuration a command is about.
#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "servers.toml", global = false)]
    config: PathBuf,
}

/// What nearly every command takes.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How a command ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Ending {
    Fine = 0,
    SaidNo = 1,
    Usage = 2,
    Unreachable = 3,
    Stopped = 4,
}

/// What a command failed with: how to end, and what to say.
#[derive(Debug)]
struct Failure {
    ending: Ending,
    told: String,
}

impl Failure {
    fn new(ending: Ending, told: impl Into<String>) -> Self {
        Self { ending, told: told.into() }
    }

    /// An error with its causes, each on a line of its own.
    fn of(ending: Ending, error: &dyn std::error::Error) -> Self {
        let mut told = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            told.push_str("\n  because: ");
            told.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { ending, told }
    }
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let commands = papers::taught(Cli::command());
    let parsed = Cli::from_arg_matches(&commands.clone().get_matches());
    let ended = match parsed.unwrap_or_else(|error| error.exit()).command {
        Command::Serve(args) => serve::serve(&args),
        Command::Check(args) => inspect::check(&args),
        Command::Tools(args) => tools::tools(&args),
        Command::Call(args) => tools::call(&args),
        Command::Status(args) => status::status(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Diff(args) => reload::diff(&args),
        Command::Stop(args) => service::engage(&args),
        Command::Estop { action } => service::estop(action),
        Command::Why(args) => audit::why::why(&args),
        Command::Policy { action } => policy::policy(action),
        Command::Pins { action } => gate::pins::pins(action),
        Command::Approvals { action } => gate::approvals::approvals(action),
        Command::Keys { action } => gate::keys::keys(action),
        Command::Audit { action } => audit::audit(action),
        Command::Import(args) => hosts::import::import(&args),
        Command::Export(args) => hosts::export::export(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Schema(args) => papers::schema(&args),
        Command::Completions(args) => Ok(papers::completions(&args, commands)),
        Command::Man(args) => papers::man(&args, commands),
        Command::Provide { server } => serve::provide(server),
    };
    let ending = ended.unwrap_or_else(|failure| {
        complain(&failure.told);
        failure.ending
    });
    ExitCode::from(ending as u8)
}

/// Loads the configuration; its mistakes go to standard error, rendered.
fn load(arg: &ConfigArg) -> Result<(Config, Rules), Failure> {
    read(arg).map_err(|errors| mistaken(&errors))
}

/// Everything that can be checked without starting a server.
fn read(arg: &ConfigArg) -> Result<(Config, Rules), config::ConfigErrors> {
    let config = config::load(&arg.config)?;
    let rules = Rules::compile(&config)?;
    Ok((config, rules))
}

/// Where the running gateway is, without the secrets that only it needs.
fn find_gateway(arg: &ConfigArg) -> Result<config::Gateway, Failure> {
    config::load_gateway(&arg.config).map_err(|errors| mistaken(&errors))
}

fn mistaken(errors: &config::ConfigErrors) -> Failure {
    let colour = Colour::detect(&io::stderr());
    Failure::new(Ending::Usage, errors.render(colour).trim_end())
}

/// A reader that went away is no failure of ours.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}"));
}

fn complain(text: &str) {
    let mut out = io::stderr().lock();
    drop(writeln!(out, "{text}"));
}

/// A small runtime for commands that ask a running gateway.
fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure::of(Ending::Unreachable, &error)),
    }
}
