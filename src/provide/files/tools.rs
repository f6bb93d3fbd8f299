//! The four tools as a caller sees them: names, schemas, and what each answers.
//!
//! Definitions never change while the process lives. Mistakes of a caller (a missing file, a bad
//! argument) are results with `isError` and one sentence, so that a model can correct itself; only
//! an unknown tool is a protocol error. Lists come as structured content and as the same JSON in a
//! text block; file text comes as text alone, because some hosts show a model only the former.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    glob::{Case, Glob},
    mime,
    search::{Found, Query, search},
};
use crate::{
    domain::limits::{
        FILES_LIST_ENTRIES_MAX, FILES_PATTERN_BYTES_MAX, FILES_READ_BYTES_DEFAULT,
        FILES_READ_BYTES_MAX, FILES_SEARCH_RESULTS_DEFAULT, FILES_SEARCH_RESULTS_MAX,
    },
    provide::tree::{Budget, Content, FileError, Kind, Last, Part, RelPath, Root, Span, read_part},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    FileInfo,
    ListDirectory,
    ReadFile,
    SearchFiles,
}

impl Tool {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "file_info" => Some(Self::FileInfo),
            "list_directory" => Some(Self::ListDirectory),
            "read_file" => Some(Self::ReadFile),
            "search_files" => Some(Self::SearchFiles),
            _ => None,
        }
    }

    /// The `tools/call` result. Fails only when cancelled: then nobody waits for an answer.
    pub(super) fn call(
        self,
        root: &Root,
        arguments: &[u8],
        budget: Budget<'_>,
    ) -> Result<Value, Cancelled> {
        let result = match self {
            Self::FileInfo => parse(arguments).and_then(|a| file_info(root, &a)),
            Self::ListDirectory => parse(arguments).and_then(|a| list_directory(root, &a)),
            Self::ReadFile => parse(arguments).and_then(|a| read_file(root, &a)),
            Self::SearchFiles => parse(arguments).and_then(|a| search_files(root, &a, budget)),
        };
        match result {
            Ok(result) => Ok(result),
            Err(Mistake::File(FileError::Cancelled)) => Err(Cancelled),
            Err(Mistake::File(error)) => Ok(failed(error.told())),
            Err(Mistake::Arguments(text)) => Ok(failed(text)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Cancelled;

enum Mistake {
    Arguments(String),
    File(FileError),
}

impl From<FileError> for Mistake {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InfoArguments {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    #[serde(default)]
    path: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    path: String,
    #[serde(default)]
    offset: u64,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    #[serde(default)]
    path: String,
    name: Option<String>,
    text: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    limit: Option<usize>,
}

fn parse<T: DeserializeOwned>(arguments: &[u8]) -> Result<T, Mistake> {
    serde_json::from_slice(arguments)
        .map_err(|error| Mistake::Arguments(format!("the arguments do not fit: {error}")))
}

fn within(limit: usize, max: usize) -> Result<usize, Mistake> {
    if limit == 0 || limit > max {
        return Err(Mistake::Arguments(format!("`limit` is {limit}; allowed are 1 to {max}")));
    }
    Ok(limit)
}

fn file_info(root: &Root, arguments: &InfoArguments) -> Result<Value, Mistake> {
    let path = RelPath::parse(arguments.path.as_bytes())?;
    let info = root.info(&path, Last::Follow)?;
    let mut answer = json!({
        "path": path.to_string(),
        "kind": info.kind.as_str(),
        "size": info.size,
        "modified": rfc3339(info.modified_unix_s),
    });
    if info.kind == Kind::File {
        add(&mut answer, "mimeType", mime::by_name(&path));
    }
    Ok(structured(answer))
}

fn list_directory(root: &Root, arguments: &ListArguments) -> Result<Value, Mistake> {
    let path = RelPath::parse(arguments.path.as_bytes())?;
    let limit = within(arguments.limit.unwrap_or(FILES_LIST_ENTRIES_MAX), FILES_LIST_ENTRIES_MAX)?;
    let entries = root.entries(&path)?;
    let total = entries.list.len();
    let page = entries.list.iter().skip(arguments.offset).take(limit);
    let shown = page.map(|entry| {
        let here = path.join(&entry.name);
        let name = String::from_utf8_lossy(&entry.name);
        let mut answer = json!({ "name": name, "kind": entry.kind.as_str() });
        if entry.kind == Kind::File {
            add(&mut answer, "size", root.info(&here, Last::Show).ok().map(|info| info.size));
        }
        // Only a URI can name it then.
        if std::str::from_utf8(&entry.name).is_err() {
            add(&mut answer, "uri", Some(here.to_uri()));
        }
        answer
    });
    let mut answer = json!({
        "path": path.to_string(),
        "entries": shown.collect::<Vec<_>>(),
        "total": total,
        "truncated": entries.truncated,
    });
    let next = arguments.offset.saturating_add(limit);
    add(&mut answer, "nextOffset", (next < total).then_some(next));
    Ok(structured(answer))
}

fn read_file(root: &Root, arguments: &ReadArguments) -> Result<Value, Mistake> {
    let path = RelPath::parse(arguments.path.as_bytes())?;
    let limit = within(arguments.limit.unwrap_or(FILES_READ_BYTES_DEFAULT), FILES_READ_BYTES_MAX)?;
    let part = read_part(root, &path, Span { offset: arguments.offset, limit })?;
    let notice = notice(&part);
    let first = match part.content {
        Content::Text(text) => json!({ "type": "text", "text": text }),
        Content::Blob(blob) => {
            let mime = mime::by_name(&path).unwrap_or(mime::UNKNOWN);
            let resource = json!({ "uri": path.to_uri(), "mimeType": mime, "blob": blob });
            json!({ "type": "resource", "resource": resource })
        }
    };
    let blocks = std::iter::once(first)
        .chain(notice.map(|notice| json!({ "type": "text", "text": notice })))
        .collect::<Vec<_>>();
    Ok(json!({ "content": blocks }))
}

/// Says that a part is a part, in a block of its own that no file content can imitate.
fn notice(part: &Part) -> Option<String> {
    let Part { start, end, size, .. } = part;
    if *start == 0 && end >= size {
        return None;
    }
    let next = match end < size {
        true => format!("; read on with offset {end}"),
        false => "; this is the end of the file".to_owned(),
    };
    Some(format!("[bytes {start} to {end} of {size} shown{next}]"))
}

fn search_files(
    root: &Root,
    arguments: &SearchArguments,
    budget: Budget<'_>,
) -> Result<Value, Mistake> {
    for pattern in [&arguments.name, &arguments.text].into_iter().flatten() {
        if pattern.is_empty() || pattern.len() > FILES_PATTERN_BYTES_MAX {
            let rule = format!("`name` and `text` take 1 to {FILES_PATTERN_BYTES_MAX} bytes");
            return Err(Mistake::Arguments(rule));
        }
    }
    let limit = arguments.limit.unwrap_or(FILES_SEARCH_RESULTS_DEFAULT);
    let case = if arguments.ignore_case { Case::Ignored } else { Case::Exact };
    let query = Query {
        start: RelPath::parse(arguments.path.as_bytes())?,
        name: arguments.name.as_deref().map(|pattern| Glob::new(pattern, case)),
        text: arguments.text.clone(),
        case,
        results_max: within(limit, FILES_SEARCH_RESULTS_MAX)?,
    };
    Ok(structured(search_answer(search(root, &query, budget)?)))
}

fn search_answer(found: Found) -> Value {
    let matches = found.matches.into_iter().map(|found| {
        let mut answer = json!({ "path": found.path.to_string(), "kind": found.kind.as_str() });
        if std::str::from_utf8(found.path.as_bytes()).is_err() {
            add(&mut answer, "uri", Some(found.path.to_uri()));
        }
        if let Some((line, text)) = found.line {
            add(&mut answer, "line", Some(line));
            add(&mut answer, "text", Some(text));
        }
        answer
    });
    let mut answer = json!({
        "matches": matches.collect::<Vec<_>>(),
        "truncated": found.cut.is_some(),
        "skipped": found.skipped,
    });
    add(&mut answer, "truncatedBy", found.cut);
    answer
}

fn add(object: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The same twice, as the specification advises for hosts that know only text.
fn structured(answer: Value) -> Value {
    let text = json!({ "type": "text", "text": answer.to_string() });
    json!({ "content": [text], "structuredContent": answer })
}

fn failed(text: String) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": true })
}

/// Days since 1970 to a date, after Howard Hinnant's `civil_from_days`.
fn rfc3339(unix_s: i64) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(rfc3339(1_795_219_200), "2026-11-21T00:00:00Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }
}
