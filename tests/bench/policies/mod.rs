//! Rules as an operator with many tools has them: a thousand policies over a hundred tools.

use std::fs;

use bytes::Bytes;
use portcullis::{
    config,
    domain::{Kind, ServerName, Subject},
    gate::{Offer, Rules},
};

/// Ten policies for each tool: who may call it with which paths, and some that say no. One for all.
fn cedar(n_tools: usize, n_policies: usize) -> String {
    let mut text = String::from(
        "permit(principal, action in Gw::Action::\"tools\", resource)\n\
         when { context.annotations.readOnlyHint && context.risk < 45 };\n",
    );
    for n in 1..n_policies {
        let (tool, of) = (n % n_tools, n / n_tools);
        let head = format!("principal, action == Gw::Action::\"files/t{tool}\", resource");
        text += &match of % 3 {
            0 => format!("permit({head}) when {{ context.input.path like \"docs/{of}/*\" }};\n"),
            1 => format!(
                "permit({head}) when {{ context.paths has path && context.paths.path like \"docs/*\" }};\n"
            ),
            _ => format!("forbid({head}) when {{ context.tainted && context.risk > {of} }};\n"),
        };
    }
    text
}

/// Bound to tools `t0` and so on of a server `files`, each with a path and a number.
pub(crate) fn rules(n_tools: usize, n_policies: usize) -> Rules {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies")).unwrap();
    fs::write(dir.path().join("policies/a.cedar"), cedar(n_tools, n_policies)).unwrap();
    let file = dir.path().join("servers.toml");
    // Its tools do nothing but read: one call after the other goes through.
    let text = "[gateway]\nstate_dir = \"s\"\n[servers.files]\ncommand = \"@self\"\n\
                [servers.files.risk]\ndefault = []\n";
    fs::write(&file, text).unwrap();
    let rules = Rules::compile(&config::load(&file).unwrap()).unwrap();
    let server = ServerName::parse("files").unwrap();
    let subject = |n| Subject::parse(Kind::Tool, &format!("t{n}")).unwrap();
    let tools: Vec<_> = (0..n_tools).map(subject).collect();
    let definition = Bytes::from_static(
        br#"{"inputSchema":{"type":"object","properties":{"path":{"type":"string"},
            "head":{"type":"integer"}},"required":["path"]}}"#,
    );
    let listed = tools.iter().map(|tool| (tool, &definition)).collect();
    let (rules, mistakes) =
        rules.bind(&[Offer { server: &server, listed: Some(listed), odd: None }]);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    rules
}
