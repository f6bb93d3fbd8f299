//! The gateway is killed with -9 while a stop acts and is on no disk.

use std::{fs, path::Path, process::Command, time::UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, PORTCULLIS, stdio_server, wait_until, write_config},
};

/// Where a service's runtime directory is, if it has one.
fn command(word: &str, dir: &Path, runtime: Option<&Path>) -> Command {
    let config = write_config(dir, &stdio_server("up", &[]));
    let mut command = Command::new(PORTCULLIS);
    command.args([word, "--config"]).arg(config).env_remove("RUNTIME_DIRECTORY");
    if let Some(runtime) = runtime {
        command.env("RUNTIME_DIRECTORY", runtime);
    }
    command
}

fn start(dir: TempDir, runtime: Option<&Path>) -> Gateway {
    let command = command("serve", dir.path(), runtime);
    Gateway::spawn(dir, command)
}

/// The stop's own directory is away, so that nothing of it comes to disk, while everything else
/// goes on: the refusal has its record.
async fn killed_before_the_stop_is_on_disk(runtime: Option<&Path>, marks: &Path) {
    let gateway = start(tempfile::tempdir().unwrap(), runtime);
    gateway.wait_ready();
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let (own, aside) = (gateway.dir.path().join("state/estop"), gateway.dir.path().join("aside"));
    fs::rename(&own, &aside).unwrap();
    gateway.signal("USR1");
    let not_saved = || gateway.log().contains("could not be saved").then_some(());
    wait_until("the stop to act and not to be saved", not_saved, || gateway.log());
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert!(is_marked(marks, &aside), "in {}", marks.display());

    gateway.signal("KILL");
    let dir = gateway.ended();
    fs::rename(&aside, &own).unwrap();
    assert!(!own.join("stops.json").exists(), "it never came to disk");
    let told = command("doctor", dir.path(), runtime).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("the emergency stop is engaged: none is started"), "{told}");
    let gateway = start(dir, runtime);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert_eq!(gateway.status()["stop"]["who"], "signal");
    let wiped = || (own.join("stops.json").exists() && !is_marked(marks, &own)).then_some(());
    wait_until("the stop on disk, and no mark", wiped, || gateway.log());
    gateway.reset();
    wait_until(
        "calls after the reset",
        || gateway.cli(&["call", "up__echo", "text=x"]).status.success().then_some(()),
        || gateway.log(),
    );
}

fn is_marked(marks: &Path, own: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = fs::metadata(own).unwrap();
    let born = own.created().map_or(0, |at| at.duration_since(UNIX_EPOCH).unwrap().as_nanos());
    marks.join(format!("portcullis-stop-{:x}-{:x}-{born:x}", own.dev(), own.ino())).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_stop_is_on_disk_it_is_stopped_at_the_next_start() {
    killed_before_the_stop_is_on_disk(None, Path::new("/dev/shm")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_stop_is_marked_in_its_runtime_directory() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    killed_before_the_stop_is_on_disk(Some(runtime.path()), runtime.path()).await;
}
