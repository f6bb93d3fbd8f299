//! What is measured: a name, an address, and how its tools are called there.
//!
//! Parses `NAME=URL` and `NAME=stdio:COMMAND ARG …` and the options that belong to a name. Opens
//! no connection.

use std::collections::BTreeMap;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::{Result, message::Wire};

#[derive(Clone, Debug)]
pub(crate) enum Address {
    Http(Uri),
    /// One child, shared by all sessions.
    Stdio(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) address: Address,
    /// What stands before a tool's own name here: `server__` at a gateway.
    pub(crate) prefix: String,
    pub(crate) headers: HeaderMap,
    /// Its process, for CPU time and memory.
    pub(crate) pid: Option<u32>,
}

/// Where the calls go, and in which era.
#[derive(Debug, Args)]
pub(crate) struct Road {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[arg(long, value_enum, default_value_t = Wire::Modern)]
    pub(crate) wire: Wire,
}

/// Every option is `NAME=VALUE`, where NAME is that of a `--target`.
#[derive(Debug, Args)]
pub(crate) struct Targets {
    /// NAME=http://HOST:PORT/PATH or NAME=stdio:COMMAND ARG …; may be repeated.
    #[arg(long = "target", required = true, value_name = "NAME=ADDRESS")]
    addresses: Vec<String>,
    /// What stands before the tools' names at this target, such as `up__`.
    #[arg(long = "prefix", value_name = "NAME=PREFIX")]
    prefixes: Vec<String>,
    /// A header for every request to this target.
    #[arg(long = "header", value_name = "NAME=KEY: VALUE")]
    headers: Vec<String>,
    /// The process whose CPU time and memory count for this target.
    #[arg(long = "pid", value_name = "NAME=PID")]
    pids: Vec<String>,
}

impl Targets {
    pub(crate) fn read(&self) -> Result<Vec<Target>> {
        let prefixes = by_name(&self.prefixes)?;
        let pids = by_name(&self.pids)?;
        let mut targets = Vec::new();
        for text in &self.addresses {
            let (name, address) = split(text)?;
            let pid = pids.get(name).map(|pid| pid.parse()).transpose()?;
            targets.push(Target {
                name: name.to_owned(),
                address: parse_address(address)?,
                prefix: prefixes.get(name).copied().unwrap_or_default().to_owned(),
                headers: self.headers_of(name)?,
                pid,
            });
        }
        Ok(targets)
    }

    fn headers_of(&self, target: &str) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for text in &self.headers {
            let (name, header) = split(text)?;
            let (key, value) =
                header.split_once(':').ok_or_else(|| format!("`{header}` has no `:`"))?;
            if name == target {
                let key: HeaderName = key.trim().parse()?;
                headers.append(key, HeaderValue::from_str(value.trim())?);
            }
        }
        Ok(headers)
    }
}

fn by_name(options: &[String]) -> Result<BTreeMap<&str, &str>> {
    options.iter().map(|text| split(text)).collect()
}

fn split(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE").into())
}

fn parse_address(text: &str) -> Result<Address> {
    match text.strip_prefix("stdio:") {
        Some(command) => {
            Ok(Address::Stdio(command.split_whitespace().map(str::to_owned).collect()))
        }
        None => {
            let uri: Uri = text.parse()?;
            if uri.scheme_str() != Some("http") || uri.authority().is_none() {
                return Err(format!("`{text}` is neither http://… nor stdio:…").into());
            }
            Ok(Address::Http(uri))
        }
    }
}
