//! `export`: the piece of another program's file that points it at this gateway.
//!
//! Prints and writes nothing: whose file it is knows best what else stands in it.

use std::{net::SocketAddr, path::Path};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    cli::{
        Common, ConfigArg, Ending, Failure, client::endpoint_of, complain, find_gateway, read, say,
        wait_for,
    },
    config::{AuthMode, Gateway, Listen},
};

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  portcullis export --client cursor          the entry for ~/.cursor/mcp.json
  portcullis export --client claude-desktop  which starts the gateway itself, over stdio
  portcullis export --client codex --json    with the place of the file, for programs";

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    common: Common,
    /// The program that is to use the gateway.
    #[arg(long, value_enum)]
    client: Client,
    /// How the gateway is called there.
    #[arg(long, default_value = "portcullis")]
    name: String,
    /// Have the program start a gateway of its own, instead of using the one that listens.
    #[arg(long)]
    stdio: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    Vscode,
    Windsurf,
    LmStudio,
    Gemini,
    Kiro,
    Codex,
    Zed,
    Opencode,
    Goose,
    Mcpo,
    Inspector,
}

/// How a program reaches the gateway.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Http(String),
    Stdio { command: String, args: Vec<String> },
}

impl Client {
    /// Where its file usually is.
    fn place(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => {
                "claude_desktop_config.json (Linux ~/.config/Claude, macOS ~/Library/Application \
                 Support/Claude, Windows %APPDATA%\\Claude)"
            }
            Self::ClaudeCode => ".mcp.json in the project, or ~/.claude.json",
            Self::Cursor => "~/.cursor/mcp.json, or .cursor/mcp.json in the project",
            Self::Vscode => ".vscode/mcp.json in the workspace, or `MCP: Open User Configuration`",
            Self::Windsurf => "~/.codeium/windsurf/mcp_config.json",
            Self::LmStudio => "~/.lmstudio/mcp.json",
            Self::Gemini => "~/.gemini/settings.json",
            Self::Kiro => "~/.kiro/settings/mcp.json, or .kiro/settings/mcp.json in the workspace",
            Self::Codex => "~/.codex/config.toml",
            Self::Zed => "~/.config/zed/settings.json",
            Self::Opencode => "opencode.json in the project, or ~/.config/opencode/opencode.json",
            Self::Goose => "~/.config/goose/config.yaml",
            Self::Mcpo => "the file that mcpo is given with --config",
            Self::Inspector => "the file that the inspector is given with --config",
        }
    }

    /// Whether its file can name a URL.
    fn dials(self) -> bool {
        self != Self::ClaudeDesktop
    }
}

pub(in crate::cli) fn export(args: &ExportArgs) -> Result<Ending, Failure> {
    let gateway = find_gateway(&args.common.config)?;
    let mut remarks = Vec::new();
    let dials = args.client.dials() && !args.stdio;
    let way = match (&gateway.listen, dials) {
        (Listen::Tcp(_), true) => match wait_for(endpoint_of(&gateway))? {
            Listen::Tcp(address) => {
                remarks.extend(proofs(&args.common.config));
                Way::Http(url(&gateway, address))
            }
            Listen::Unix(_) => own_gateway(&args.common.config.config)?,
        },
        (Listen::Unix(path), true) => {
            let path = path.display();
            remarks.push(format!("no client dials unix:{path}, so it starts a gateway of its own"));
            own_gateway(&args.common.config.config)?
        }
        (_, false) => own_gateway(&args.common.config.config)?,
    };
    if matches!(way, Way::Stdio { .. }) {
        remarks.push("two gateways cannot share a state directory: end the one that runs".into());
    }
    let text = snippet(args.client, &args.name, &way);
    let place = args.client.place();
    if args.common.json {
        let told = json!({
            "client": args.client.to_possible_value().map(|value| value.get_name().to_owned()),
            "place": place,
            "transport": if matches!(way, Way::Http(_)) { "http" } else { "stdio" },
            "snippet": text,
            "remarks": remarks,
        });
        say(&told.to_string());
    } else {
        complain(&format!("# into {place}"));
        remarks.iter().for_each(|remark| complain(&format!("# {remark}")));
        say(text.trim_end());
    }
    Ok(Ending::Fine)
}

/// As others call the gateway: by a name that its certificate has, as far as we know one.
fn url(gateway: &Gateway, address: SocketAddr) -> String {
    let scheme = if gateway.tls.is_some() { "https" } else { "http" };
    let port = address.port();
    let host = match gateway.hosts.first().filter(|_| gateway.tls.is_some()) {
        Some(host) if host.contains(':') => host.clone(),
        Some(host) => format!("{host}:{port}"),
        None => address.to_string(),
    };
    format!("{scheme}://{host}/mcp")
}

/// What the program has to bring besides; one of them is enough.
fn proofs(config: &ConfigArg) -> Vec<String> {
    let Ok((config, _)) = read(config) else { return Vec::new() };
    let told = |mode| match mode {
        AuthMode::Keys => {
            "it needs a key: make one with `portcullis keys add NAME`, and have the program send \
             the header `Authorization: Bearer KEY`, best from a variable such as PORTCULLIS_KEY"
        }
        AuthMode::Jwt => "it takes access tokens: a program that speaks OAuth finds its way alone",
        AuthMode::Mtls => "it takes client certificates: give the program one that client_ca made",
        AuthMode::None | AuthMode::Peer => "",
    };
    let told = config.auth.modes.iter().map(|mode| told(*mode).to_owned());
    told.filter(|text| !text.is_empty()).collect()
}

fn own_gateway(config: &Path) -> Result<Way, Failure> {
    let failed = |error: std::io::Error| Failure::of(Ending::Usage, &error);
    let command = std::env::current_exe().map_err(failed)?.display().to_string();
    let config = std::path::absolute(config).map_err(failed)?.display().to_string();
    let args = ["serve", "--stdio", "--config"].map(str::to_owned);
    Ok(Way::Stdio { command, args: [&args[..], &[config]].concat() })
}

/// In the language of the program's file.
pub(super) fn snippet(client: Client, name: &str, way: &Way) -> String {
    match client {
        Client::Codex => codex(name, way),
        Client::Goose => goose(name, way),
        Client::Vscode => pretty(&json!({ "servers": { name: typed(way, "http") } })),
        Client::Zed => pretty(&json!({ "context_servers": { name: plain(way, "url") } })),
        Client::Opencode => pretty(&json!({ "mcp": { name: opencode(way) } })),
        Client::ClaudeCode => pretty(&json!({ "mcpServers": { name: typed(way, "http") } })),
        Client::Mcpo | Client::Inspector => {
            pretty(&json!({ "mcpServers": { name: typed(way, "streamable-http") } }))
        }
        Client::Windsurf => pretty(&json!({ "mcpServers": { name: plain(way, "serverUrl") } })),
        Client::Gemini => pretty(&json!({ "mcpServers": { name: plain(way, "httpUrl") } })),
        Client::ClaudeDesktop | Client::Cursor | Client::LmStudio | Client::Kiro => {
            pretty(&json!({ "mcpServers": { name: plain(way, "url") } }))
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn plain(way: &Way, url_key: &str) -> Value {
    match way {
        Way::Http(url) => json!({ url_key: url }),
        Way::Stdio { command, args } => json!({ "command": command, "args": args }),
    }
}

fn typed(way: &Way, http: &str) -> Value {
    match way {
        Way::Http(url) => json!({ "type": http, "url": url }),
        Way::Stdio { command, args } => {
            json!({ "type": "stdio", "command": command, "args": args })
        }
    }
}

fn opencode(way: &Way) -> Value {
    match way {
        Way::Http(url) => json!({ "type": "remote", "url": url, "enabled": true }),
        Way::Stdio { command, args } => {
            let words = [std::slice::from_ref(command), args].concat();
            json!({ "type": "local", "command": words, "enabled": true })
        }
    }
}

/// Strings of JSON are strings of TOML and of YAML.
fn codex(name: &str, way: &Way) -> String {
    let name = Value::from(name);
    match way {
        Way::Http(url) => format!("[mcp_servers.{name}]\nurl = {}\n", Value::from(url.as_str())),
        Way::Stdio { command, args } => format!(
            "[mcp_servers.{name}]\ncommand = {}\nargs = {}\n",
            Value::from(command.as_str()),
            json!(args)
        ),
    }
}

fn goose(name: &str, way: &Way) -> String {
    let reached = match way {
        Way::Http(url) => {
            format!("    type: streamable_http\n    uri: {}\n", Value::from(url.as_str()))
        }
        Way::Stdio { command, args } => format!(
            "    type: stdio\n    cmd: {}\n    args: {}\n",
            Value::from(command.as_str()),
            json!(args)
        ),
    };
    let name = Value::from(name);
    format!(
        "extensions:\n  {name}:\n    enabled: true\n    name: {name}\n    timeout: 300\n{reached}"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::ValueEnum;

    use super::{Client, Way, snippet};
    use crate::config::{
        Config, HttpTarget, Program, StdioTarget, Surroundings, Target, read_foreign,
    };

    /// The target that comes back out of a client's snippet.
    #[track_caller]
    fn back(client: Client, way: &Way) -> Target {
        let text = snippet(client, "gate \"1\"", way);
        let into = Path::new("/etc/portcullis/servers.toml");
        let around = Surroundings::imagined(&[("HOME", "/home/op"), ("PATH", "/bin")]);
        let foreign = read_foreign(&text, None, (into, &around)).unwrap();
        let [server] = &foreign.servers[..] else { panic!("{text}") };
        assert_eq!((&*server.written, &*server.name), ("gate \"1\"", "gate-1"), "{text}");
        let block = server.block.as_ref().unwrap().to_toml(&server.name);
        assert!(server.remarks.len() <= 2, "{client:?}: {:?}", server.remarks);
        let config = Config::from_str_at(&block, into, &around).unwrap();
        config.servers[0].replicas[0].target.clone()
    }

    #[test]
    fn every_snippet_imports_back_as_the_gateway() {
        let url = "http://127.0.0.1:7411/mcp";
        let args = ["serve", "--stdio", "--config", "/srv/a b/servers.toml"].map(str::to_owned);
        let stdio = Way::Stdio { command: "/bin/portcullis".into(), args: args.clone().into() };
        for client in Client::value_variants() {
            match back(*client, &Way::Http(url.into())) {
                Target::Http(HttpTarget { url: found, .. }) => assert_eq!(found.to_string(), url),
                Target::Stdio(target) => panic!("{client:?}: {target:?}"),
            }
            match back(*client, &stdio) {
                Target::Stdio(StdioTarget { program, args: found, .. }) => {
                    assert_eq!(program, Program::Path("/bin/portcullis".into()));
                    assert_eq!(found, args);
                }
                Target::Http(target) => panic!("{client:?}: {target:?}"),
            }
        }
    }
}
