//! `import` and `export`: the files of applications that use MCP servers, both ways.
//!
//! What their files mean is known to `config`; here stands what is read, printed and written.

pub(super) mod export;
pub(super) mod import;
