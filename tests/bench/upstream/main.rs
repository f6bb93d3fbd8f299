//! `bench-upstream`: the fastest MCP server that we can write, so that it is never what is
//! measured.
//!
//! Speaks both eras over HTTP (`--http ADDRESS`) or over stdio (`--stdio`). Tools: `echo {text}`
//! and `sleep {ms, text}`; the text goes back undecoded. Reads a message in one pass and checks
//! next to nothing: what is right and wrong is the business of the fixture server.

mod answer;
mod http;
mod stdio;

use std::{error::Error, net::SocketAddr};

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(about = "A fast MCP server for benchmarks")]
struct Options {
    /// Serve http://ADDRESS/mcp.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "stdio")]
    http: Option<SocketAddr>,
    /// Serve on standard input and output.
    #[arg(long, conflicts_with = "http")]
    stdio: bool,
    /// Whether to know `server/discover`, or to be a server of the older era.
    #[arg(long, value_enum, default_value_t = answer::Eras::Both)]
    eras: answer::Eras,
    /// How many tools to list.
    #[arg(long, default_value_t = 2)]
    tools: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let face = answer::Face::new(options.eras, options.tools);
    match options.http {
        Some(address) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(http::serve(address, face))
        }
        None => stdio::serve(&face),
    }
}
