//! How the gateway notices that its file is another one, or is told to look.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use super::{generation, pid, server};
use crate::harness::{Gateway, PORTCULLIS, stdio_server, wait_until, write_config};

fn wait_generation(gateway: &Gateway, wanted: u64) {
    let reached = || (generation(gateway) == wanted).then_some(());
    wait_until("the next generation", reached, || gateway.log());
}

#[test]
fn a_file_that_is_written_renamed_over_or_replaced_is_taken() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let dir = gateway.dir.path();
    write_config(dir, &format!("# written\n{up}"));
    wait_generation(&gateway, 2);

    let aside = tempfile::tempdir_in(dir).unwrap();
    let other = write_config(aside.path(), &format!("# renamed\n{up}"));
    let text = fs::read_to_string(other).unwrap();
    let inside = |text: &str| text.replace(aside.path().to_str().unwrap(), dir.to_str().unwrap());
    fs::write(dir.join(".servers.toml.swp"), inside(&text)).unwrap();
    fs::rename(dir.join(".servers.toml.swp"), gateway.config()).unwrap();
    wait_generation(&gateway, 3);

    fs::remove_file(gateway.config()).unwrap();
    let refused = || {
        let last = gateway.status_of(aside.path())["config"]["last_reload"].clone();
        (last["errors"][0]["code"] == "C001").then_some(())
    };
    write_config(aside.path(), &up);
    let moved = inside(&fs::read_to_string(aside.path().join("servers.toml")).unwrap());
    fs::write(aside.path().join("servers.toml"), moved).unwrap();
    wait_until("the missing file to be said", refused, || gateway.log());
    write_config(dir, &format!("# again\n{up}"));
    wait_generation(&gateway, 4);
}

/// As Kubernetes mounts a ConfigMap: `servers.toml` → `..data/servers.toml`, and `..data` → a
/// directory.
#[test]
fn a_link_that_is_swapped_is_another_file() {
    let up = stdio_server("up", &[]);
    let dir = tempfile::tempdir().unwrap();
    let release = |name: &str, remark: &str| {
        let text = fs::read_to_string(write_config(dir.path(), &format!("# {remark}\n{up}")));
        fs::remove_file(dir.path().join("servers.toml")).unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("servers.toml"), text.unwrap()).unwrap();
    };
    release("..1", "one");
    release("..2", "two");
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink(Path::new("..data/servers.toml"), dir.path().join("servers.toml")).unwrap();
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--config"]).arg(dir.path().join("servers.toml"));
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();
    let before = pid(&gateway, "up");
    symlink("..2", gateway.dir.path().join("..tmp")).unwrap();
    fs::rename(gateway.dir.path().join("..tmp"), gateway.dir.path().join("..data")).unwrap();
    wait_generation(&gateway, 2);
    assert_eq!(pid(&gateway, "up"), before);
}

#[test]
fn sighup_reads_again_even_if_only_a_secret_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let key = secrets.path().join("key");
    fs::write(&key, "one").unwrap();
    let tables =
        format!("{}env = {{ K = \"${{file:{}}}\" }}\n", stdio_server("up", &[]), key.display());
    let gateway = Gateway::start_in(dir, &tables);
    let before = pid(&gateway, "up");
    fs::write(&key, "two").unwrap();
    gateway.signal("HUP");
    wait_generation(&gateway, 2);
    let last = gateway.status()["config"]["last_reload"].clone();
    assert_eq!(
        (last["who"].as_str(), &last["changed"][0]["keys"][0]),
        (Some("SIGHUP"), &"env".into())
    );
    let replaced = || (server(&gateway, "up")["state"] == "ready").then_some(());
    wait_until("the new process", replaced, || gateway.log());
    assert_ne!(pid(&gateway, "up"), before);
    assert!(
        !gateway.log().contains("\"two\"") && !gateway.status().to_string().contains("\"two\"")
    );
}

#[test]
fn many_who_ask_at_once_are_all_answered() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    write_config(gateway.dir.path(), &format!("{up}{}", stdio_server("new", &[])));
    let ask = || {
        let mut command = Command::new(PORTCULLIS);
        command.args(["reload", "--config"]).arg(gateway.config()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let all: Vec<_> = (0..16).map(|_| ask()).collect();
    for mut child in all {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(generation(&gateway), 2, "one reload was enough for all");
}
