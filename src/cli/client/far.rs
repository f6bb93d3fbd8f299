//! A gateway that is named by its URL: reached by TLS, wherever it is.
//!
//! Owns the handshake from our side: whose certificates count, and the one that we show. Promises
//! that nothing is said to whoever has not proved to be the host of the URL.

use std::{path::PathBuf, sync::Arc};

use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::cli::{Ending, Failure};

/// A gateway that is reached as applications on other machines reach it.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct FarArgs {
    /// Ask the gateway at this URL, such as `https://gate.example.org:7411/mcp`, as its clients do;
    /// without it, the one that servers.toml describes.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Uri>,
    /// Whose certificate the gateway must show, in PEM; without it, the machine's authorities.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Our own certificate in PEM, for a gateway that asks for one.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// What the URL says.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
    port: u16,
    /// As a request repeats it.
    pub(super) authority: String,
    pub(super) path: String,
}

impl Place {
    pub(super) fn of(url: &Uri) -> Result<Self, Failure> {
        const HTTPS: u16 = 443;
        let wrong = || {
            let told = format!("--url {url}: write https://HOST:PORT/mcp");
            Failure::new(Ending::Usage, told)
        };
        let authority = url.authority().filter(|_| url.scheme_str() == Some("https"));
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = if url.path() == "/" { "/mcp" } else { url.path() };
        let port = authority.port_u16().unwrap_or(HTTPS);
        Ok(Self { name, port, authority: authority.to_string(), path: path.to_owned() })
    }
}

impl FarArgs {
    /// Whether it is the one that servers.toml describes.
    pub(in crate::cli) fn is_here(&self) -> bool {
        self.url.is_none()
    }

    pub(super) async fn dial(&self, place: &Place) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(place.name.clone()).map_err(|e| e.to_string())?;
        let config = Arc::new(self.config()?);
        let address = (place.name.as_str(), place.port);
        let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        shaken.map_err(|error| match &self.ca {
            Some(_) => error.to_string(),
            None => format!("{error}; --ca FILE names an authority of your own"),
        })
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for one in certificates(path)? {
                    roots.add(one).map_err(|error| unusable(path, &error))?;
                }
            }
            None => {
                _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let own = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
                let shown = builder.with_client_auth_cert(certificates(cert)?, own);
                shown.map_err(|error| unusable(cert, &error))?
            }
            (_, _) => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| unusable(path, &error))?;
    if all.is_empty() { Err(unusable(path, &"it has no certificate")) } else { Ok(all) }
}

fn unusable(path: &std::path::Path, why: &dyn std::fmt::Display) -> String {
    format!("`{}` cannot be used: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_url_says_whom_to_ask_and_that_it_is_by_tls() {
        for (url, want) in [
            ("https://gate.example/mcp", Some(("gate.example", 443, "gate.example", "/mcp"))),
            (
                "https://gate.example:7411",
                Some(("gate.example", 7411, "gate.example:7411", "/mcp")),
            ),
            ("https://[::1]:1/a/mcp", Some(("::1", 1, "[::1]:1", "/a/mcp"))),
            ("http://gate.example/mcp", None),
            ("https://me:pw@gate.example/mcp", None),
            ("/mcp", None),
        ] {
            let place = Place::of(&url.parse().unwrap()).ok();
            let got = place.as_ref().map(|p| (&*p.name, p.port, &*p.authority, &*p.path));
            assert_eq!(got, want, "{url}");
        }
    }
}
