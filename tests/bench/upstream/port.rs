//! Where a gateway that was just started listens, as its log says.

use std::{
    io::{BufRead, BufReader, Read},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// Reads the log until it says where the endpoint is, and then for ever.
pub(crate) fn port_in(log: impl Read + Send + 'static) -> u16 {
    let (found, endpoint) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(url) = event["endpoint"].as_str() {
                found.send(url.to_owned()).unwrap_or_default();
            }
        }
    });
    let url = endpoint.recv_timeout(SOON).unwrap();
    url.rsplit(':').next().unwrap().trim_end_matches("/mcp").parse().unwrap()
}

const SOON: Duration = Duration::from_secs(60);
