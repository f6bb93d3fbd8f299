//! Where a reference inside a schema points to. Pure; nothing outside the schema exists.
//!
//! Finds every candidate rather than the one that the dialect's scoping rules would pick:
//! whoever asks wants an upper bound. A reference without a candidate leads out of the schema,
//! and that is refused, so that nothing is ever fetched.

use serde_json::Value;

#[derive(Debug)]
pub(super) struct Refs<'s> {
    root: &'s Value,
    /// Schemas with an `$id` of their own.
    resources: Vec<(&'s str, &'s Value)>,
    /// Schemas with a plain name.
    anchors: Vec<(&'s str, &'s Value)>,
}

impl<'s> Refs<'s> {
    pub(super) fn of(root: &'s Value) -> Self {
        let mut refs = Self { root, resources: Vec::new(), anchors: Vec::new() };
        refs.collect(root);
        refs
    }

    fn collect(&mut self, value: &'s Value) {
        match value {
            Value::Object(members) => {
                for key in ["$id", "id", "$anchor", "$dynamicAnchor"] {
                    match (key, members.get(key).and_then(Value::as_str)) {
                        ("$id" | "id", Some(id)) => match id.split_once('#') {
                            Some(("", anchor)) => self.anchors.push((anchor, value)),
                            Some((base, _)) => self.resources.push((base, value)),
                            None => self.resources.push((id, value)),
                        },
                        (_, Some(anchor)) => self.anchors.push((anchor, value)),
                        (_, None) => {}
                    }
                }
                members.values().for_each(|member| self.collect(member));
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Every schema that the reference may mean.
    pub(super) fn resolve(&self, reference: &Value) -> Result<Vec<&'s Value>, &'static str> {
        let text = reference.as_str().ok_or("has a reference that is not a string")?;
        let (base, fragment) = text.split_once('#').unwrap_or((text, ""));
        let here = (base.is_empty()).then_some(self.root);
        let same = |id: &str| base.is_empty() || id == base || tail(id) == tail(base);
        let named = self.resources.iter().filter(|(id, _)| same(id)).map(|(_, value)| *value);
        let bases = here.into_iter().chain(named);
        let found: Vec<&'s Value> = if fragment.is_empty() {
            bases.collect()
        } else if fragment.starts_with('/') {
            let pointer = percent_decoded(fragment);
            bases.filter_map(|value| value.pointer(&pointer)).collect()
        } else {
            let same = |(anchor, _): &&(&str, _)| *anchor == fragment;
            self.anchors.iter().filter(same).map(|(_, value)| *value).collect()
        };
        if found.is_empty() { Err("has a reference that leads out of it") } else { Ok(found) }
    }
}

/// The last segment of a URI: what a relative reference is mostly written as.
fn tail(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or(uri)
}

/// `%XX` as bytes; what is not valid stays as it is and then points nowhere.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|_| first == b'%');
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).unwrap_or_default()
}
