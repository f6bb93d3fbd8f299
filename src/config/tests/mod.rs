//! The claims of this room, on an imagined machine unless a test says otherwise.

use std::path::Path;

#[test]
fn the_shipped_sample_loads_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = super::load(&root.join("servers.toml")).unwrap();
    assert_eq!(config.servers.len(), 1);
    assert_eq!(config.servers[0].name.as_str(), "files");
    assert_eq!(config.warnings.len(), 0);
}
