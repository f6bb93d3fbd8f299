//! No way out of the root: paths, links, races, special files, kernel files.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use portcullis::provide::{FilesOptions, serve_files};
use rustix::fs::{CWD, Mode, RenameFlags};
use serde_json::{Value, json};

use super::{Client, SECRET, Tree, text, triple};

#[test]
fn no_path_leads_out_of_the_root() {
    let tree = Tree::new();
    let outside = tree.dir.path().join("outside");
    tree.link("../outside/secret", "out");
    tree.link("../outside", "outdir");
    tree.link(outside.join("secret").to_str().unwrap(), "absolute");
    tree.link("sub/../../outside/secret", "sneaky");
    tree.link("sneaky", "chain");
    tree.link("/proc/self/root/etc/passwd", "magic");
    tree.link("/proc/self/cwd", "cwd");
    tree.link("circle", "circle");
    let long = "a/".repeat(5000);
    let absolute = outside.join("secret").to_str().unwrap().to_owned();
    let mut client = Client::modern(&tree);
    for path in [
        "../outside/secret",
        "sub/../../outside/secret",
        "sub/../hello.md",
        "./../outside/secret",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "//etc/passwd",
        &absolute,
        "out",
        "outdir/secret",
        "absolute",
        "sneaky",
        "chain",
        "magic",
        "cwd/Cargo.toml",
        "circle",
        "..",
        "%2e%2e/outside/secret",
        "..%2foutside/secret",
        "..\\outside\\secret",
        "hello.md\0",
        "\0",
        &long,
        &"x".repeat(300),
    ] {
        for tool in ["read_file", "list_directory", "file_info", "search_files"] {
            let result = client.call(tool, json!({ "path": path }));
            assert_eq!(result["isError"], true, "{tool} {path}: {result}");
            assert!(!result.to_string().contains(SECRET));
        }
    }
    for uri in [
        "file:///../outside/secret",
        "file:///%2e%2e/outside/secret",
        "file:///..%2foutside/secret",
        "file:///out",
        "file:///chain",
        "file:////etc/passwd",
        "file://evil.example/etc/passwd",
        "file:///etc/passwd",
        "file:///hello.md%00",
        "file:///magic",
        "http://localhost/hello.md",
        "hello.md",
    ] {
        let answer = client.request("resources/read", json!({ "uri": uri }));
        assert_eq!(answer["error"]["code"], -32602, "{uri}: {answer}");
    }
    // A link that stays inside works, so the table above does not pass for want of links.
    tree.link("sub/inner.txt", "in");
    tree.link("../hello.md", "sub/up");
    assert_eq!(text(&client.call("read_file", json!({ "path": "in" }))), "inner text\n");
    let up = client.call("read_file", json!({ "path": "sub/up" }));
    assert_eq!(text(&up), "# Hello\nsecond line\n");
}

#[test]
fn a_race_of_links_against_directories_never_shows_a_byte_from_outside() {
    let tree = Tree::new();
    fs::create_dir(tree.root().join("swap")).unwrap();
    tree.write("swap/secret", "inside");
    tree.link("../outside", "trap");
    let (swap, trap) = (tree.root().join("swap"), tree.root().join("trap"));
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let attacker = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            rustix::fs::renameat_with(CWD, &swap, CWD, &trap, RenameFlags::EXCHANGE).unwrap();
        }
    });
    let mut client = Client::modern(&tree);
    let (mut inside, mut refused) = (0, 0);
    // Goes on until both sides of the race were met often, so that it cannot pass by luck alone.
    for round in 0_u32.. {
        let answers = [
            client.call("read_file", json!({ "path": "swap/secret" })),
            client.call("list_directory", json!({ "path": "swap" })),
            client.call("search_files", json!({ "path": "swap", "text": "s" })),
            client.request("resources/read", json!({ "uri": "file:///swap/secret" })),
        ];
        for answer in &answers {
            assert!(!answer.to_string().contains(SECRET), "{answer}");
        }
        match answers[0]["isError"].as_bool() {
            Some(true) => refused += 1,
            _ => inside += 1,
        }
        if round >= 1000 && inside >= 100 && refused >= 100 {
            break;
        }
    }
    done.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
}

#[test]
fn fifos_and_devices_are_shown_and_never_opened() {
    let tree = Tree::new();
    let fifo = tree.root().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
    let mut client = Client::modern(&tree);
    for path in ["fifo", "socket"] {
        let told = client.mistake("read_file", json!({ "path": path }));
        assert_eq!(told, format!("`{path}` is a device, fifo or socket, not a file"));
        let info = client.call("file_info", json!({ "path": path }));
        assert_eq!(info["structuredContent"]["kind"], "other");
    }
    let found = client.call("search_files", json!({ "text": "inner" }));
    assert_eq!(found["structuredContent"]["matches"].as_array().unwrap().len(), 1);
}

#[test]
fn kernel_file_systems_and_non_directories_are_not_served() {
    let refused = |root: &str| {
        let options = FilesOptions { root: PathBuf::from(root) };
        serve_files(&options, &b""[..], Vec::new()).unwrap_err().to_string()
    };
    assert_eq!(refused("/proc"), "`/proc` is a kernel file system, which is not served");
    assert_eq!(
        refused("/nowhere"),
        "cannot serve files from `/nowhere`; `--root` must name a directory"
    );
    let options = FilesOptions { root: PathBuf::from("/") };
    let params = json!({ "name": "read_file", "arguments": { "path": "proc/self/environ" },
        "_meta": triple("2026-07-28") });
    let line = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let mut output = Vec::new();
    serve_files(&options, line.to_string().as_bytes(), &mut output).unwrap();
    let answer = serde_json::from_slice::<Value>(&output).unwrap();
    let told = "`proc/self/environ` lies in a kernel file system, which is not served";
    assert_eq!(text(&answer["result"]), told);
}
