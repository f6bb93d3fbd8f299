//! What an operator may do by which key, at an admin listener that others can reach.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::add_key;
use crate::harness::{Gateway, SOON};

/// The status of one request, head and body as they come.
fn ask(port: u16, request: &str, key: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let bearer = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer}\
         Content-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// Request, and the least that may do it: 0 nobody, 1 viewer, 2 operator, 3 admin.
const ROUTES: [(&str, usize); 15] = [
    ("GET /health", 0),
    ("GET /admin/status", 0),
    ("GET /admin/estop", 0),
    ("GET /admin/diff", 0),
    ("GET /metrics", 0),
    ("GET /admin/keys", 2),
    ("GET /admin/approvals", 2),
    ("POST /admin/estop", 2),
    ("POST /admin/reload", 2),
    ("POST /admin/approvals/allow", 2),
    ("POST /admin/estop/heartbeat", 2),
    ("POST /admin/estop/reset", 3),
    ("POST /admin/estop/resume", 3),
    ("POST /admin/pins/approve", 3),
    ("POST /admin/keys/refresh", 3),
];

#[test]
fn each_role_may_do_what_it_may_and_nothing_else() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let gateway = Gateway::start(&format!("[gateway]\nadmin = \"127.0.0.1:{port}\"\n"));
    let key = |role: &str| add_key(&gateway, &["op", "--role", role]).1;
    let (_, plain) = add_key(&gateway, &["app"]);
    let keys = [plain, key("viewer"), key("operator"), key("admin")];
    for (request, least) in ROUTES {
        for (level, key) in keys.iter().enumerate() {
            let (status, text) = ask(port, request, Some(key));
            // What it takes is not said here, so what may be done mostly fails for another reason.
            let is_refused = status == 403 || status == 401;
            assert_eq!(is_refused, level < least, "{request} {level}: {text}");
            assert_eq!(status == 401, level == 0 && least > 0, "{request} {level}: {text}");
        }
        let (status, text) = ask(port, request, None);
        assert_eq!(status == 401, least > 0, "{request}: {text}");
        let (status, _) = ask(port, request, Some("portcullis_0_0"));
        assert_eq!(status, 401, "{request}: who shows something wrong is told so");
    }
    let record = gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    assert_eq!(record["who"], "key:op");
}
