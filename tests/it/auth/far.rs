//! The command line at a gateway that is reached by TLS.

use std::fs;

use rcgen::SanType;

use super::{
    add_key,
    tls::{Authority, client, gateway, is_ready},
};
use crate::harness::PORTCULLIS;

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_comes_by_tls_and_believes_nobody_else() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let modes = "[auth]\nmodes = [\"keys\", \"mtls\"]\n";
    let gateway = gateway(&authority.server(), Some(&clients.pem()), modes);
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, other) = (put("ca.pem", &authority.pem()), put("other.pem", &others.pem()));
    let agent = clients.issue(vec![SanType::DnsName("agent.example".try_into().unwrap())]);
    let (cert, key) = (put("agent.pem", &agent.0), put("agent.key", &agent.1));
    is_ready(gateway.port, &client(&authority, Some(&agent), &[])).await;
    let url = format!("https://localhost:{}/mcp", gateway.port);
    let by = |words: &[&str], api_key: Option<&str>| {
        let mut command = std::process::Command::new(PORTCULLIS);
        command.args(words).env_remove("PORTCULLIS_KEY").current_dir(dir.path());
        let output = command.envs(api_key.map(|key| ("PORTCULLIS_KEY", key))).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let call = ["call", "up__echo", "text=x", "--url", &url, "--ca", &ca];
    let mine = [&call[..], &["--cert", &cert, "--key", &key]].concat();
    assert_eq!(by(&mine, None), (0, "x\n".to_owned(), String::new()));
    let (_, api_key) = add_key(&gateway, &["ann"]);
    assert_eq!(by(&call, Some(&api_key)).1, "x\n");
    let listed = by(&["tools", "--url", &url, "--ca", &ca], Some(&api_key)).1;
    assert!(listed.contains("up__echo "), "{listed}");
    let (code, _, told) = by(&call, None);
    assert!(code == 1 && told.contains("PORTCULLIS_KEY"), "{told}");
    // Neither somebody whom another authority vouches for, nor by another name.
    let near = format!("https://127.0.0.1:{}/mcp", gateway.port);
    for (url, ca) in [(&url, &other), (&near, &ca)] {
        let (code, _, told) = by(&["tools", "--url", url, "--ca", ca], Some(&api_key));
        assert!(code == 3 && told.contains("certificate"), "{told}");
    }
    let (code, _, told) = by(&["tools", "--url", &near.replace("https", "http")], None);
    assert!(code == 2 && told.contains("https://HOST:PORT/mcp"), "{told}");
    let told = gateway.cli(&["tools"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8(told.stderr).unwrap().contains("--url https://HOST:PORT/mcp"));
}
