//! TLS at the port: what is spoken, which certificate is shown, and who a client's one stands for.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Gateway, PORTCULLIS, stdio_server, wait_until, within},
    keys::tool_call,
};

/// A certificate authority of a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// Chain and key in PEM.
    pub(super) fn issue(&self, names: Vec<SanType>) -> (String, String) {
        self.issue_until(names, SystemTime::now() + Duration::from_secs(86_400 * 90))
    }

    pub(crate) fn issue_until(&self, names: Vec<SanType>, ends: SystemTime) -> (String, String) {
        let mut params = CertificateParams::default();
        params.not_after = ends.into();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let certificate = params.signed_by(&key, issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn server(&self) -> (String, String) {
        self.issue(vec![SanType::DnsName("localhost".try_into().unwrap())])
    }
}

fn put(dir: &Path, (chain, key): &(String, String)) {
    for (name, text) in [("c.pem", chain), ("k.pem", key)] {
        let new = dir.join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, dir.join(name)).unwrap();
    }
}

/// A gateway with these certificates, ready for nobody in particular.
pub(super) fn gateway(ours: &(String, String), client_ca: Option<&str>, more: &str) -> Gateway {
    gateway_with(ours, client_ca, ("", more))
}

/// The same with more in the table of TLS.
fn gateway_with(
    ours: &(String, String),
    client_ca: Option<&str>,
    (in_tls, more): (&str, &str),
) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), ours);
    let ca = client_ca.map_or("", |ca| {
        let path = dir.path().join("ca.pem");
        fs::write(&path, ca).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        ", client_ca = \"ca.pem\""
    });
    let tls = format!("[gateway]\ntls = {{ cert = \"c.pem\", key = \"k.pem\"{ca}{in_tls} }}\n");
    Gateway::launch(dir, &format!("{tls}{more}{}", stdio_server("up", &[])))
}

/// A client that trusts that authority, shows that certificate and speaks those protocols.
pub(super) fn client(
    trusts: &Authority,
    shows: Option<&(String, String)>,
    alpn: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.0.as_ref().der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
    config
}

pub(super) async fn connect(port: u16, config: &ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config.clone())).connect(name, stream).await
}

/// One request, answered whole; an error if TLS was refused, at once or afterwards.
pub(super) async fn ask(port: u16, config: &ClientConfig, request: &str) -> io::Result<String> {
    let mut stream = connect(port, config).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let read = within("an answer", stream.read_to_end(&mut bytes)).await;
    if bytes.is_empty() {
        read?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8(bytes).unwrap())
}

pub(super) const HEALTH: &str =
    "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

pub(super) async fn is_ready(port: u16, config: &ClientConfig) {
    let ready = HEALTH.replace("/health", "/ready");
    within("the gateway to be ready", async {
        while !ask(port, config, &ready).await.is_ok_and(|told| told.starts_with("HTTP/1.1 200")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_speaks_http_1_over_tls_and_nothing_else() {
    let authority = Authority::new();
    let gateway = gateway(&authority.server(), None, "");
    for alpn in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let told = ask(gateway.port, &client(&authority, None, alpn), HEALTH).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }
    assert!(ask(gateway.port, &client(&authority, None, &["h2"]), HEALTH).await.is_err());
    assert!(ask(gateway.port, &client(&Authority::new(), None, &[]), HEALTH).await.is_err());
    let mut plain = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    plain.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within("the end", plain.read_to_end(&mut bytes)).await.unwrap_or_default();
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP/1.1"), "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_at_once_and_a_broken_one_never() {
    let authority = Authority::new();
    let (first, second) = (authority.server(), authority.server());
    let gateway = gateway(&first, None, "");
    let trusting = client(&authority, None, &[]);
    let shown = async || {
        let stream = connect(gateway.port, &trusting).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let der = |(chain, _): &(String, String)| {
        CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec()
    };
    let mut open = connect(gateway.port, &trusting).await.unwrap();
    // Who says nothing at all does not stay.
    let told = said(&mut open, &HEALTH.replace("Connection: close\r\n", "")).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert_eq!(shown().await, der(&first));
    let trouble = || gateway.status()["tls"]["trouble"].clone();
    assert_eq!(trouble(), json!(null));
    put(gateway.dir.path(), &second);
    within("the new certificate", async {
        while shown().await != der(&second) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // A chain whose key is another one, then no PEM at all.
    for broken in [(first.0.clone(), second.1.clone()), ("x".to_owned(), "y".to_owned())] {
        put(gateway.dir.path(), &broken);
        wait_until("the trouble", || trouble().is_string().then_some(()), || gateway.log());
        assert_eq!(shown().await, der(&second));
        assert!(gateway.log().contains("The old certificate stays"));
        put(gateway.dir.path(), &second);
        wait_until("the end of it", || trouble().is_null().then_some(()), || gateway.log());
    }
    // Who was there is served as before.
    open.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut told = String::new();
    within("an answer", open.read_to_string(&mut told)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_says_who_it_is_and_without_one_nobody_is_served() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let gateway = gateway(&authority.server(), Some(&clients.pem()), "");
    let uri = || vec![SanType::URI("spiffe://mesh/agent".try_into().unwrap())];
    let (good, foreign) = (clients.issue(uri()), Authority::new().issue(uri()));
    let nameless = clients.issue(vec![SanType::IpAddress([127, 0, 0, 1].into())]);
    let call = tool_call("up__echo", json!({ "text": "x" }));
    let with = |shows| client(&authority, shows, &[]);
    is_ready(gateway.port, &with(Some(&good))).await;
    let told = ask(gateway.port, &with(Some(&good)), &call).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"text\":\"x\""), "{told}");
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(intent["principal"], "cert:uri:spiffe://mesh/agent");
    let told = ask(gateway.port, &with(Some(&nameless)), &call).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
    // There is no handshake with these.
    for shows in [None, Some(&foreign)] {
        assert!(ask(gateway.port, &with(shows), &call).await.is_err());
    }
    let intents = gateway.audit().into_iter().filter(|record| record["kind"] == "intent");
    assert_eq!(intents.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_over_says_nothing_any_more_on_a_connection_that_is_open() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let gateway = gateway(&authority.server(), Some(&clients.pem()), "");
    let ends = SystemTime::now() + Duration::from_secs(5);
    let short = clients.issue_until(vec![SanType::DnsName("a.example".try_into().unwrap())], ends);
    let mut open = connect(gateway.port, &client(&authority, Some(&short), &[])).await.unwrap();
    let call = tool_call("up__nothing", json!({})).replace("Connection: close\r\n", "");
    let told = said(&mut open, &call).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    is_turned_away(&mut open, &call).await;
    assert!(SystemTime::now() + Duration::from_secs(1) > ends);
}

async fn said(open: &mut TlsStream<TcpStream>, call: &str) -> String {
    open.write_all(call.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 16384];
    let n = within("an answer", open.read(&mut bytes)).await.unwrap();
    String::from_utf8(bytes[..n].to_vec()).unwrap()
}

/// Sooner or later, on the connection that is open, which ends then.
async fn is_turned_away(open: &mut TlsStream<TcpStream>, call: &str) {
    let told = within("the end", async {
        loop {
            let told = said(open, call).await;
            if !told.starts_with("HTTP/1.1 200") {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(told.starts_with("HTTP/1.1 401") && told.contains("connection: close"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_taken_out_ends_what_its_certificates_opened() {
    let (authority, theirs, ours) = (Authority::new(), Authority::new(), Authority::new());
    let both = theirs.pem() + &ours.pem();
    let gateway = gateway(&authority.server(), Some(&both), "");
    let agent = || vec![SanType::DnsName("a.example".try_into().unwrap())];
    let (gone, stays) = (theirs.issue(agent()), ours.issue(agent()));
    let mut open = connect(gateway.port, &client(&authority, Some(&gone), &[])).await.unwrap();
    let call = tool_call("up__nothing", json!({})).replace("Connection: close\r\n", "");
    let told = said(&mut open, &call).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    fs::write(gateway.dir.path().join("ca.pem"), ours.pem()).unwrap();
    is_turned_away(&mut open, &call).await;
    // Who stays comes again.
    let mut again = connect(gateway.port, &client(&authority, Some(&stays), &[])).await.unwrap();
    let told = said(&mut again, &call).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let refused = ask(gateway.port, &client(&authority, Some(&gone), &[]), &call).await;
    assert!(refused.is_err(), "{refused:?}");
}

fn fails_to_start(dir: &Path) -> String {
    let config = dir.join("servers.toml");
    let mut serve = std::process::Command::new("timeout");
    let serve = serve.args(["20", PORTCULLIS, "serve", "--config"]).arg(config).output().unwrap();
    assert!(matches!(serve.status.code(), Some(1 | 2)), "{serve:?}");
    String::from_utf8(serve.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_that_everybody_can_read_is_not_taken() {
    let authority = Authority::new();
    let gateway = gateway(&authority.server(), None, "");
    let key = gateway.dir.path().join("k.pem");
    let check = || {
        let output = gateway.cli(&["check", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), told["errors"][0]["message"].to_string())
    };
    assert_eq!(check().0, 0);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let trouble = || gateway.status()["tls"]["trouble"].clone();
    let is_told = || trouble().as_str().is_some_and(|why| why.contains("chmod 600")).then_some(());
    wait_until("the trouble", is_told, || gateway.log());
    assert!(connect(gateway.port, &client(&authority, None, &[])).await.is_ok());
    let (code, told) = check();
    assert!(code == 2 && told.contains("k.pem"), "{told}");
    let shown = gateway.cli(&["status"]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("tls: the old certificate stays"));
    let doctor = gateway.cli(&["doctor", "--no-servers"]).stdout;
    assert!(String::from_utf8(doctor).unwrap().contains("fail TLS: everybody"));
    let (_, dir) = gateway.end();
    let told = fails_to_start(dir.path());
    assert!(told.contains("k.pem") && told.contains("chmod 600"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_certificates_count_a_handshake_without_one_fails() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let good = clients.issue(vec![SanType::DnsName("agent.example".try_into().unwrap())]);
    // By a unix socket the kernel knows its peer; by TCP nobody does.
    for (modes, is_needed) in [
        ("", true),
        ("[auth]\nmodes = [\"mtls\"]\n", true),
        ("[auth]\nmodes = [\"peer\", \"mtls\"]\n", true),
        ("[auth]\nmodes = [\"keys\", \"peer\", \"mtls\"]\n", false),
    ] {
        let gateway = gateway(&authority.server(), Some(&clients.pem()), modes);
        let without = ask(gateway.port, &client(&authority, None, &[]), HEALTH).await;
        assert_eq!(without.is_err(), is_needed, "{modes} {without:?}");
        let told = ask(gateway.port, &client(&authority, Some(&good), &[]), HEALTH).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{modes} {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_kinds_of_names_that_count_name_anybody() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let more = (", client_names = [\"dns\"]", "");
    let gateway = gateway_with(&authority.server(), Some(&clients.pem()), more);
    let uri = || SanType::URI("spiffe://mesh/agent".try_into().unwrap());
    let dns = || SanType::DnsName("agent.example".try_into().unwrap());
    let (both, other) = (clients.issue(vec![uri(), dns()]), clients.issue(vec![uri()]));
    let call = tool_call("up__echo", json!({ "text": "x" }));
    is_ready(gateway.port, &client(&authority, Some(&both), &[])).await;
    let told = ask(gateway.port, &client(&authority, Some(&other), &[]), &call).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
    let told = ask(gateway.port, &client(&authority, Some(&both), &[]), &call).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(intent["principal"], "cert:dns:agent.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_others_could_write_changes_nothing_and_stops_a_start() {
    let (authority, clients, eves) = (Authority::new(), Authority::new(), Authority::new());
    let gateway = gateway(&authority.server(), Some(&clients.pem()), "");
    let agent = || vec![SanType::DnsName("agent.example".try_into().unwrap())];
    let (good, eve) = (clients.issue(agent()), eves.issue(agent()));
    let ca = gateway.dir.path().join("ca.pem");
    let new = gateway.dir.path().join("ca.pem.new");
    fs::write(&new, clients.pem() + &eves.pem()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o666)).unwrap();
    fs::rename(new, &ca).unwrap();
    let trouble = || gateway.status()["tls"]["trouble"].clone();
    let is_told = || trouble().as_str().is_some_and(|why| why.contains("chmod go-w")).then_some(());
    wait_until("the trouble", is_told, || gateway.log());
    let told = ask(gateway.port, &client(&authority, Some(&good), &[]), HEALTH).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(ask(gateway.port, &client(&authority, Some(&eve), &[]), HEALTH).await.is_err());
    let check = gateway.cli(&["check", "--json"]);
    let told: Value = serde_json::from_slice(&check.stdout).unwrap();
    let why = told["errors"][0]["message"].as_str().unwrap();
    assert_eq!(check.status.code(), Some(2));
    assert!(why.contains("everybody can write") && why.contains("ca.pem"), "{told}");
    let doctor = String::from_utf8(gateway.cli(&["doctor", "--no-servers"]).stdout).unwrap();
    assert!(doctor.contains("fail trust: everybody can write"), "{doctor}");
    assert!(doctor.contains("do: chmod go-w "), "{doctor}");
    assert_eq!(gateway.log().matches("The old certificate stays").count(), 1, "told once");
    let (_, dir) = gateway.end();
    let told = fails_to_start(dir.path());
    assert!(told.contains("ca.pem") && told.contains("chmod go-w"), "{told}");
    // The same of a directory in which it could be replaced.
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let told = fails_to_start(dir.path());
    assert!(told.contains("mode 777") && told.contains("chmod go-w"), "{told}");
}
