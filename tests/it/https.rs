//! TLS towards others: servers whose certificates fit are served, others hear nothing.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use rcgen::SanType;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    auth::tls::Authority,
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, PORTCULLIS, journal, wait_until, write_config},
};

/// A port that speaks TLS before one that does not.
pub(crate) struct Tunnel {
    pub(crate) port: u16,
}

impl Tunnel {
    /// For as long as the test runs, with this chain and key.
    pub(crate) fn before(to: u16, (chain, key): &(String, String)) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let (told, port) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap().port()).unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(config));
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(carry(acceptor.clone(), stream, to));
                }
            });
        });
        Self { port: port.recv().unwrap() }
    }
}

async fn carry(acceptor: TlsAcceptor, stream: TcpStream, to: u16) {
    // Who does not trust us hangs up.
    let Ok(mut secured) = acceptor.accept(stream).await else { return };
    let mut plain = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    // However it ends, both are closed then.
    drop(tokio::io::copy_bidirectional(&mut secured, &mut plain).await);
}

/// A gateway on a machine that trusts this authority and no other.
pub(crate) fn trusting(authority: &Authority, tables: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), tables);
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--config"]).arg(config);
    trust(&mut command, authority, dir.path());
    Gateway::spawn(dir, command)
}

pub(crate) fn trust(command: &mut Command, authority: &Authority, dir: &Path) {
    let ca = dir.join("machine.pem");
    fs::write(&ca, authority.pem()).unwrap();
    command.env("SSL_CERT_FILE", ca).env_remove("SSL_CERT_DIR");
}

fn port_of(url: &str) -> u16 {
    url.trim_end_matches("/mcp").rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_tls_is_served_if_the_machine_trusts_it() {
    let authority = Authority::new();
    for era in ["modern", "legacy"] {
        let fixture = HttpFixture::start(&["--era", era]);
        let tunnel = Tunnel::before(port_of(&fixture.url), &authority.server());
        let url = format!("https://localhost:{}/mcp", tunnel.port);
        let gateway = trusting(&authority, &format!("[servers.up]\nurl = {url:?}\n"));
        gateway.wait_ready();
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        for n in 0..3 {
            let text = format!("{era} {n}");
            assert_eq!(client.text("up__echo", json!({ "text": text })).await, text);
        }
    }
}

#[test]
fn a_server_whose_certificate_does_not_fit_hears_nothing_and_the_status_says_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let local = || vec![SanType::DnsName("localhost".try_into().unwrap())];
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    // Two authorities of one name.
    for (shown, host, why) in [
        (other.server(), "localhost", "BadSignature"),
        (authority.server(), "127.0.0.1", "not valid for name"),
        (authority.issue_until(local(), yesterday), "localhost", "expired"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let heard = dir.path().join("journal");
        let fixture = HttpFixture::start(&["--journal", heard.to_str().unwrap()]);
        let tunnel = Tunnel::before(port_of(&fixture.url), &shown);
        let url = format!("https://{host}:{}/mcp", tunnel.port);
        let gateway = trusting(&authority, &format!("[servers.up]\nurl = {url:?}\n"));
        let told = || gateway.status()["servers"][0]["why"].as_str().map(str::to_owned);
        let says = || told().filter(|told| told.contains(why));
        wait_until(why, says, || format!("{:?}\n{}", told(), gateway.log()));
        assert!(journal(&heard).is_empty(), "{why}");
    }
}
