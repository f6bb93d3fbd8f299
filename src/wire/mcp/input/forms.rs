//! Forms as clients before 2025-11-25 know them.
//!
//! That revision brought options with titles, and fields that take several options. Older clients
//! know a list of options with a list of names beside it, which means the same and has the same
//! answers. For a field that takes several they have nothing, so such a form is not put to them:
//! without it the answer would be another. Whatever else is newer they pass over. Pure.

use bytes::Bytes;

use crate::wire::{
    WireError,
    json::{Edit, Object, elements},
};

const NO_SUCH_FORM: WireError =
    WireError::Params { rule: "clients before 2025-11-25 have no such form" };

/// What such a client is asked; none if it is asked the same.
pub(super) fn for_older_clients(params: &Object) -> Result<Option<Object>, WireError> {
    let Some(schema) = params.object("requestedSchema") else { return Ok(None) };
    let Some(fields) = schema.object("properties") else { return Ok(None) };
    let mut edit: Option<Edit> = None;
    for (name, field) in fields.members() {
        let field = Object::parse(field).map_err(|_| NO_SUCH_FORM)?;
        if field.peek("type") == Some(b"\"array\"") {
            return Err(NO_SUCH_FORM);
        }
        if let Some(options) = field.get("oneOf") {
            let named = named(&field, options).ok_or(NO_SUCH_FORM)?;
            let so_far = edit.unwrap_or_else(|| fields.edit());
            edit = Some(so_far.set_edited(name.into_owned(), named));
        }
    }
    let Some(fields) = edit else { return Ok(None) };
    let schema = schema.edit().set_edited("properties", fields);
    let asked = params.edit().set_edited("requestedSchema", schema);
    Object::parse(asked.finish().into_bytes()).map(Some)
}

/// The same options, and their titles in a list of their own.
fn named(field: &Object, options: Bytes) -> Option<Edit> {
    let (mut values, mut titles) = (Vec::new(), Vec::new());
    let n_max = options.len();
    for option in elements(options, n_max).ok()? {
        let option = Object::parse(option).ok()?;
        let text = |key| option.get(key).filter(|value| value.starts_with(b"\""));
        values.push(text("const")?);
        titles.push(text("title")?);
    }
    Some(field.edit().remove("oneOf").set("enum", list(&values)).set("enumNames", list(&titles)))
}

fn list(values: &[Bytes]) -> Vec<u8> {
    [b"[".as_slice(), &values.join(b",".as_slice()), b"]"].concat()
}

#[cfg(test)]
mod tests {
    use super::{Object, for_older_clients};

    /// Of a form with this field beside a plain one: its field for older clients.
    #[track_caller]
    fn check(field: &str, want: Result<Option<&str>, ()>) {
        let form = |field: &str| {
            format!(
                r#"{{"message":"?","requestedSchema":{{"type":"object","properties":{{"a":{{"type":"string"}},"b":{field}}},"required":["b"]}}}}"#
            )
        };
        let asked = Object::parse(form(field).into()).unwrap();
        let got = for_older_clients(&asked).map_err(|_| ());
        let got = got.map(|asked| asked.map(|asked| String::from_utf8(asked.raw().to_vec())));
        assert_eq!(got, want.map(|field| field.map(|field| Ok(form(field)))), "{field}");
    }

    #[test]
    fn options_with_titles_become_options_and_names() {
        check(
            r#"{"type":"string","title":"B","oneOf":[{"const":"x","title":"\u0058"},{"title":"Y","const":"y"}],"default":"y"}"#,
            Ok(Some(
                r#"{"type":"string","title":"B","default":"y","enum":["x","y"],"enumNames":["\u0058","Y"]}"#,
            )),
        );
    }

    #[test]
    fn forms_that_older_clients_know_stay_as_they_are() {
        for field in [
            r#"{"type":"string","enum":["x"],"enumNames":["X"],"default":"x"}"#,
            r#"{"type":"number","default":1.5}"#,
            r#"{"type":"boolean","default":true}"#,
        ] {
            check(field, Ok(None));
        }
    }

    #[test]
    fn forms_that_cannot_be_said_in_their_words_are_refused() {
        for field in [
            r#"{"type":"array","items":{"type":"string","enum":["x"]}}"#,
            r#"{"type":"array","items":{"anyOf":[{"const":"x","title":"X"}]}}"#,
            r#"{"type":"string","oneOf":[{"const":"x","title":"X"},{"const":1,"title":"One"}]}"#,
            r#"{"type":"string","oneOf":[{"const":"x"}]}"#,
            r#"{"type":"string","oneOf":{}}"#,
            "true",
        ] {
            check(field, Err(()));
        }
    }
}
