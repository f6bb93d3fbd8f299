//! Children and what becomes of them: real processes through the built binary as the helper.

use std::{ffi::OsString, path::Path, time::Duration};

use portcullis::{
    domain::ServerName,
    jail::{Child, ChildSpec, Exit, Jail, JailError},
};
use tokio::{io::AsyncReadExt, time::timeout};

const SOON: Duration = Duration::from_secs(10);

fn jail() -> Jail {
    Jail::start_with(Path::new(env!("CARGO_BIN_EXE_portcullis"))).unwrap()
}

fn sh(script: &str) -> ChildSpec {
    ChildSpec {
        server: ServerName::parse("subject").unwrap(),
        program: "/bin/sh".into(),
        args: vec![OsString::from("-c"), script.into()],
        env: Vec::new(),
        cwd: None,
    }
}

async fn output(child: &mut Child) -> String {
    let mut text = String::new();
    timeout(SOON, child.stdout.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn environment_is_exactly_what_was_declared() {
    let mut spec = sh("exec /usr/bin/env");
    spec.program = "/usr/bin/env".into();
    spec.args.clear();
    spec.env = vec![("ONE".into(), "1".into()), ("TWO".into(), "".into())];
    let mut child = jail().spawn(spec).await.unwrap();
    let mut lines: Vec<String> = output(&mut child).await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["ONE=1", "TWO="]);
    assert_eq!(timeout(SOON, child.life.exited()).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn missing_program_is_named_at_once() {
    let mut spec = sh("");
    spec.program = "/no/such/program".into();
    let error = jail().spawn(spec).await.unwrap_err();
    assert!(matches!(error, JailError::Spawn { .. }));
    assert_eq!(
        error.to_string(),
        "cannot start server `subject`: running the program for `/no/such/program` failed"
    );
}
