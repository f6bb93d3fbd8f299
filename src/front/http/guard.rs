//! The first look at an HTTP request: is it from a place that may speak to us at all?
//!
//! `Host` and `Origin` are allow-lists, always on, before anything of the request is read: our own
//! names on any port, and what the operator lists. So a web page that was let in by DNS rebinding
//! is turned away. Pure.

use http::{HeaderMap, Uri, header};

/// The names that this endpoint answers to.
#[derive(Clone, Debug)]
pub(in crate::front) struct Doors {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request is turned away with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Foreign {
    Host,
    Origin,
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Doors {
    /// Loopback names always; what the operator added besides.
    pub(in crate::front) fn new(hosts: &[String], origins: &[String]) -> Self {
        let own = LOOPBACK.iter().map(|host| (*host).to_owned());
        let hosts = own.chain(hosts.iter().map(|host| host.to_ascii_lowercase())).collect();
        Self { hosts, origins: origins.to_vec() }
    }

    pub(in crate::front) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Foreign> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), uri.authority()) {
            (Some(host), _) => host.to_str().ok(),
            (None, Some(authority)) => Some(authority.as_str()),
            (None, None) => None,
        };
        if hosts.next().is_some() || !host.is_some_and(|host| self.knows(host)) {
            return Err(Foreign::Host);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) if origin.to_str().is_ok_and(|o| self.trusts(o)) => Ok(()),
            (Some(_), _) => Err(Foreign::Origin),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts.iter().any(|known| *known == host || *known == without_port(&host))
    }

    /// An origin is trusted when it is listed, or is http(s) on a host of ours.
    fn trusts(&self, origin: &str) -> bool {
        let listed = self.origins.iter().any(|known| known == origin);
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        listed || rest.is_some_and(|host| self.knows(host))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Uri, header};

    use super::{Doors, Foreign};

    #[track_caller]
    fn check(host: Option<&str>, origin: Option<&str>, want: Result<(), Foreign>) {
        let doors = Doors::new(&["mcp.example.org".into()], &["https://app.example.org".into()]);
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        headers.extend(host.map(|host| (header::HOST, value(host))));
        headers.extend(origin.map(|origin| (header::ORIGIN, value(origin))));
        let got = doors.check(&headers, &Uri::from_static("/mcp"));
        assert_eq!(got, want, "host {host:?} origin {origin:?}");
    }

    #[test]
    fn only_known_hosts_and_origins_come_in() {
        check(Some("localhost:7411"), None, Ok(()));
        check(Some("127.0.0.1"), Some("http://localhost:3000"), Ok(()));
        check(Some("[::1]:7411"), None, Ok(()));
        check(Some("MCP.example.org"), Some("https://app.example.org"), Ok(()));
        check(None, None, Err(Foreign::Host));
        check(Some("evil.example"), None, Err(Foreign::Host));
        check(Some("localhost.evil.example"), None, Err(Foreign::Host));
        check(Some("localhost:80@evil.example"), None, Err(Foreign::Host));
        check(Some("localhost"), Some("null"), Err(Foreign::Origin));
        check(Some("localhost"), Some("http://evil.example"), Err(Foreign::Origin));
        check(Some("localhost"), Some("http://localhost.evil.example"), Err(Foreign::Origin));
        check(Some("localhost"), Some("file://localhost"), Err(Foreign::Origin));
    }

    #[test]
    fn two_host_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        let doors = Doors::new(&[], &[]);
        assert_eq!(doors.check(&headers, &Uri::from_static("/mcp")), Err(Foreign::Host));
    }
}
