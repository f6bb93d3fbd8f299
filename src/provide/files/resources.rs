//! The files as resources: every regular file beneath the root under its `file:///` URI.
//!
//! Lists are pages of a walk; the cursor is the last path seen, so that nothing is remembered
//! between requests and a page never shows a file twice. Links are left out of lists, because the
//! file they lead to is in them under its own name; reading through a link works. A resource is
//! given whole or refused with the way to read it in parts.

use serde_json::{Value, json};

use super::mime;
use crate::{
    domain::limits::FILES_RESOURCES_PAGE_MAX,
    provide::tree::{
        Budget, Content, FileError, Kind, Last, RelPath, Root, Walk, decode, encode, read_whole,
    },
};

/// Why a page cannot be given.
#[derive(Debug)]
pub(super) enum PageError {
    Cursor,
    File(FileError),
}

pub(super) fn list(
    root: &Root,
    cursor: Option<&str>,
    budget: Budget<'_>,
) -> Result<Value, PageError> {
    let mut walk = Walk::new(root, &RelPath::root(), budget).map_err(PageError::File)?;
    if let Some(cursor) = cursor {
        walk = walk.after(&place(cursor).ok_or(PageError::Cursor)?);
    }
    let mut resources = Vec::new();
    let mut last = None;
    while resources.len() < FILES_RESOURCES_PAGE_MAX {
        let Some(step) = walk.next().map_err(PageError::File)? else { break };
        if step.kind == Kind::File {
            resources.extend(resource(root, &step.path));
        }
        last = Some(step.path);
    }
    let more = resources.len() == FILES_RESOURCES_PAGE_MAX || walk.spent.is_some();
    let mut page = json!({ "resources": resources });
    if let (true, Some(last), Some(page)) = (more, last, page.as_object_mut()) {
        page.insert("nextCursor".to_owned(), mark(&last).into());
    }
    Ok(page)
}

pub(super) fn templates() -> Value {
    json!({ "resourceTemplates": [{
        "uriTemplate": "file:///{+path}",
        "name": "file",
        "title": "A file beneath the root",
        "description": "`path` is relative to the served root, percent-encoded.",
    }] })
}

pub(super) fn read(root: &Root, uri: &str) -> Result<Value, FileError> {
    let path = RelPath::from_uri(uri)?;
    let mut contents = match read_whole(root, &path)? {
        Content::Text(text) => json!({ "uri": uri, "text": text }),
        Content::Blob(blob) => json!({ "uri": uri, "blob": blob }),
    };
    let guess = match contents.get("text") {
        Some(_) => "text/plain",
        None => mime::UNKNOWN,
    };
    if let Some(contents) = contents.as_object_mut() {
        let mime = mime::by_name(&path).unwrap_or(guess);
        contents.insert("mimeType".to_owned(), mime.into());
    }
    Ok(json!({ "contents": [contents] }))
}

/// `None` when the file vanished meanwhile.
fn resource(root: &Root, path: &RelPath) -> Option<Value> {
    let info = root.info(path, Last::Show).ok()?;
    let mut resource = json!({ "uri": path.to_uri(), "name": path.to_string(), "size": info.size });
    if let (Some(mime), Some(resource)) = (mime::by_name(path), resource.as_object_mut()) {
        resource.insert("mimeType".to_owned(), mime.into());
    }
    Some(resource)
}

/// The cursor carries a mark of its form, so that a later form can tell old ones apart.
const CURSOR: &str = "after:";

fn mark(last: &RelPath) -> String {
    format!("{CURSOR}{}", encode(last.as_bytes()))
}

/// A cursor is compared with names and never opened, so a forged one leads nowhere.
fn place(cursor: &str) -> Option<RelPath> {
    RelPath::parse(&decode(cursor.strip_prefix(CURSOR)?)?).ok()
}
