//! Media types by the ending of a name: a hint for hosts, never a decision.

use crate::provide::tree::RelPath;

pub(super) const UNKNOWN: &str = "application/octet-stream";

pub(super) fn by_name(path: &RelPath) -> Option<&'static str> {
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
    let dot = memchr::memrchr(b'.', name).filter(|dot| *dot > 0)?;
    let ending = name.get(dot + 1..)?.to_ascii_lowercase();
    Some(match ending.as_slice() {
        b"txt" | b"log" | b"conf" | b"ini" | b"rst" => "text/plain",
        b"md" => "text/markdown",
        b"html" | b"htm" => "text/html",
        b"css" => "text/css",
        b"csv" => "text/csv",
        b"xml" => "text/xml",
        b"js" | b"mjs" => "text/javascript",
        b"rs" => "text/x-rust",
        b"py" => "text/x-python",
        b"c" | b"h" => "text/x-c",
        b"sh" => "text/x-shellscript",
        b"json" => "application/json",
        b"toml" => "application/toml",
        b"yaml" | b"yml" => "application/yaml",
        b"pdf" => "application/pdf",
        b"zip" => "application/zip",
        b"gz" => "application/gzip",
        b"wasm" => "application/wasm",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"svg" => "image/svg+xml",
        b"mp3" => "audio/mpeg",
        b"wav" => "audio/wav",
        _ => return None,
    })
}
