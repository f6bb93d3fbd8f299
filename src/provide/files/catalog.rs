//! The tools' definitions: what `tools/list` answers, always the same.
//!
//! The schemas are draft 2020-12 and closed (`additionalProperties: false`); they say exactly what
//! `tools` accepts. No `anyOf` at their top, because some hosts refuse the whole list for it. The
//! figures in them are those of `domain::limits`.

use serde_json::{Value, json};

use crate::domain::limits::{
    FILES_LIST_ENTRIES_MAX, FILES_PATH_BYTES_MAX, FILES_PATTERN_BYTES_MAX,
    FILES_READ_BYTES_DEFAULT, FILES_READ_BYTES_MAX, FILES_SEARCH_RESULTS_DEFAULT,
    FILES_SEARCH_RESULTS_MAX,
};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// In the order of their names.
pub(super) fn definitions() -> Vec<Value> {
    vec![file_info(), list_directory(), read_file(), search_files()]
}

fn file_info() -> Value {
    json!({
        "name": "file_info",
        "title": "File information",
        "description": "Kind, size in bytes and time of last change of one file or directory.",
        "inputSchema": schema(json!({ "path": path("The file or directory") }), &["path"]),
        "outputSchema": schema(json!({
            "path": { "type": "string" },
            "kind": kind(),
            "size": count("Bytes"),
            "modified": { "type": "string", "description": "RFC 3339, UTC" },
            "mimeType": { "type": "string" },
        }), &["path", "kind", "size", "modified"]),
        "annotations": annotations("File information"),
    })
}

fn list_directory() -> Value {
    let entry = object(
        json!({
            "name": { "type": "string" },
            "kind": kind(),
            "size": count("Bytes, of a file"),
            "uri": { "type": "string", "description": "Given when the name is not UTF-8" },
        }),
        &["name", "kind"],
    );
    json!({
        "name": "list_directory",
        "title": "List a directory",
        "description": "The entries of one directory, sorted by name, hidden ones included. \
            Symbolic links are shown as such; they can be read when they lead to a place beneath \
            the root.",
        "inputSchema": schema(json!({
            "path": with_default(path("The directory; the root when left out"), json!("")),
            "offset": with_default(count("Entries to pass over"), json!(0)),
            "limit": bounded("Entries to show", FILES_LIST_ENTRIES_MAX, FILES_LIST_ENTRIES_MAX),
        }), &[]),
        "outputSchema": schema(json!({
            "path": { "type": "string" },
            "entries": { "type": "array", "items": entry },
            "total": count("Entries in the directory"),
            "truncated": {
                "type": "boolean",
                "description": "The directory has even more entries than are counted",
            },
            "nextOffset": count("Where to go on; absent at the end"),
        }), &["path", "entries", "total", "truncated"]),
        "annotations": annotations("List a directory"),
    })
}

fn read_file() -> Value {
    json!({
        "name": "read_file",
        "title": "Read a file",
        "description": "A file's content: text when it is UTF-8, otherwise base64. When not all of \
            it is given, a second block says which bytes these are and where to read on.",
        "inputSchema": schema(json!({
            "path": path("The file"),
            "offset": with_default(count("Bytes to pass over"), json!(0)),
            "limit": bounded("Bytes to read", FILES_READ_BYTES_MAX, FILES_READ_BYTES_DEFAULT),
        }), &["path"]),
        "annotations": annotations("Read a file"),
    })
}

fn search_files() -> Value {
    let found = object(
        json!({
            "path": { "type": "string" },
            "kind": kind(),
            "uri": { "type": "string", "description": "Given when the path is not UTF-8" },
            "line": count("Line number from 1, when text was searched for"),
            "text": { "type": "string", "description": "That line, or of a long one the part around the match" },
        }),
        &["path", "kind"],
    );
    json!({
        "name": "search_files",
        "title": "Search files",
        "description": "Finds files by name, by text in them, or both. Symbolic links are not \
            followed and binary files not searched for text.",
        "inputSchema": schema(json!({
            "path": with_default(path("Where to search; the root when left out"), json!("")),
            "name": pattern("`*` and `?` within one name, `**` across directories; with a `/` it \
                is held against the path below the searched directory, else against the name"),
            "text": pattern("Literal text that a line contains; with it only files are found"),
            "ignore_case": {
                "type": "boolean",
                "description": "Whether ASCII letters match in either case",
                "default": false,
            },
            "limit": bounded(
                "Matches to return", FILES_SEARCH_RESULTS_MAX, FILES_SEARCH_RESULTS_DEFAULT),
        }), &[]),
        "outputSchema": schema(json!({
            "matches": { "type": "array", "items": found },
            "truncated": { "type": "boolean" },
            "truncatedBy": { "enum": ["results", "bytes", "entries", "time"] },
            "skipped": count("Files and directories that could not be searched to their end"),
        }), &["matches", "truncated", "skipped"]),
        "annotations": annotations("Search files"),
    })
}

fn schema(properties: Value, required: &[&str]) -> Value {
    let mut schema = object(properties, required);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!(DIALECT));
    }
    schema
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn path(what: &str) -> Value {
    let description = format!("{what}, relative to the root, without `..`");
    json!({ "type": "string", "maxLength": FILES_PATH_BYTES_MAX, "description": description })
}

fn pattern(description: &str) -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": FILES_PATTERN_BYTES_MAX,
        "description": description,
    })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn bounded(description: &str, maximum: usize, default: usize) -> Value {
    json!({
        "type": "integer",
        "minimum": 1,
        "maximum": maximum,
        "default": default,
        "description": description,
    })
}

fn with_default(mut schema: Value, default: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("default".to_owned(), default);
    }
    schema
}

fn kind() -> Value {
    json!({ "enum": ["file", "directory", "symlink", "other"] })
}

fn annotations(title: &str) -> Value {
    json!({
        "title": title,
        "readOnlyHint": true,
        "destructiveHint": false,
        "idempotentHint": true,
        "openWorldHint": false,
    })
}
