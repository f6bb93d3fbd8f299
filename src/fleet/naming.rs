//! How the tools of many servers get names that every application accepts: a pure rule.
//!
//! `server__tool` (or `tool` alone in plain mode) with foreign characters replaced by `_`. A name
//! that had to be changed or cut carries a digest of its origin whenever it would meet another,
//! so the outcome does not depend on which server answered first.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::{
    config::Names,
    domain::{ExposedName, NameError, ServerName, ToolName, limits::EXPOSED_NAME_BYTES_MAX},
};

/// Names the tools of one server, in the order given. Tools of one server never share a name.
pub(super) fn expose(
    names: Names,
    server: &ServerName,
    tools: &[ToolName],
) -> Vec<Result<ExposedName, NameError>> {
    let wished: Vec<String> = tools.iter().map(|tool| wish(names, server, tool)).collect();
    let mut takers: HashMap<&str, usize> = HashMap::new();
    for (name, tool) in wished.iter().zip(tools) {
        // A name that needed no change has the better right to it.
        let weight = if name.ends_with(tool.as_str()) { 0 } else { 1 };
        *takers.entry(name).or_default() += 1 + weight;
    }
    wished
        .iter()
        .zip(tools)
        .map(|(name, tool)| {
            let pure = name.ends_with(tool.as_str());
            let alone = takers.get(name.as_str()).is_none_or(|n| *n <= 1 + usize::from(!pure));
            let fits = name.len() <= EXPOSED_NAME_BYTES_MAX;
            let chosen =
                if fits && (pure || alone) { name.clone() } else { marked(name, server, tool) };
            ExposedName::parse(&chosen)
        })
        .collect()
}

fn wish(names: Names, server: &ServerName, tool: &ToolName) -> String {
    let plain = tool.as_str().chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    });
    match names {
        Names::Plain => plain.collect(),
        Names::Prefixed => server.as_str().chars().chain("__".chars()).chain(plain).collect(),
    }
}

/// Cut to fit, with eight hex digits of the origin's digest behind.
fn marked(name: &str, server: &ServerName, tool: &ToolName) -> String {
    const MARK_BYTES: usize = 9;
    let mut digest = Sha256::new();
    digest.update(server.as_str());
    digest.update([0]);
    digest.update(tool.as_str());
    let head: String = name.chars().take(EXPOSED_NAME_BYTES_MAX - MARK_BYTES).collect();
    let mark: String = digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{head}_{mark}")
}

#[cfg(test)]
mod tests {
    use super::expose;
    use crate::{
        config::Names,
        domain::{ServerName, ToolName},
    };

    #[track_caller]
    fn check(names: Names, tools: &[&str], want: &[&str]) {
        let server = ServerName::parse("git").unwrap();
        let tools: Vec<_> = tools.iter().map(|t| ToolName::parse(t).unwrap()).collect();
        let got: Vec<_> = expose(names, &server, &tools)
            .into_iter()
            .map(|name| name.unwrap().as_str().to_owned())
            .collect();
        assert_eq!(got, want);
        let mut unique = got.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), tools.len(), "two tools share a name");
    }

    #[test]
    fn names_fit_every_host_and_never_collide() {
        check(Names::Prefixed, &["log", "diff"], &["git__log", "git__diff"]);
        check(Names::Plain, &["log"], &["log"]);
        check(Names::Prefixed, &["fs/read"], &["git__fs_read"]);
        check(Names::Prefixed, &["fs/read", "fs_read"], &["git__fs_read_ddee144f", "git__fs_read"]);
        check(Names::Plain, &["a.b", "a/b"], &["a_b_7e516e15", "a_b_325cdb7a"]);
        let long = "x".repeat(100);
        let cut = format!("git__{}_", "x".repeat(50));
        let server = ServerName::parse("git").unwrap();
        let got = expose(Names::Prefixed, &server, &[ToolName::parse(&long).unwrap()]);
        let got = got[0].as_ref().unwrap().as_str();
        assert!(got.starts_with(&cut));
        assert_eq!(got.len(), 64);
    }
}
