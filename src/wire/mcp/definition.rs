//! A tool's definition as clients of legacy revisions can read it.
//!
//! No revision closes an object, so a member that is newer than a client is one that it passes
//! over. What breaks a strict client is a schema of a form that its revision excludes: then it
//! reads no list at all, not even the tools of other servers. Only that is changed, and only so
//! far that it means the same. Pure.

use bytes::Bytes;

use crate::wire::json::{Edit, Object};

/// The definition for legacy clients; none if it is the same for them.
pub fn for_legacy_clients(tool: &Object) -> Option<Object> {
    let mut edit = None;
    let input = tool.object("inputSchema");
    if let Some(properties) = input.as_ref().and_then(without_booleans) {
        let schema = input.as_ref().map(|input| input.edit().set("properties", properties));
        edit = schema.map(|schema| tool.edit().set_edited("inputSchema", schema));
    }
    let output = tool.object("outputSchema");
    let known = output.as_ref().filter(|output| output.text("type").as_deref() == Some("object"));
    match known {
        None if tool.contains("outputSchema") => {
            edit = Some(edit.unwrap_or_else(|| tool.edit()).remove("outputSchema"));
        }
        Some(output) => {
            if let Some(properties) = without_booleans(output) {
                let schema = output.edit().set("properties", properties);
                let so_far = edit.unwrap_or_else(|| tool.edit());
                edit = Some(so_far.set_edited("outputSchema", schema));
            }
        }
        None => {}
    }
    Object::parse(edit?.finish().into_bytes()).ok()
}

/// The `properties` of a schema with an object for each `true` and `false`; none if it has neither.
fn without_booleans(schema: &Object) -> Option<Bytes> {
    let properties = schema.object("properties")?;
    let edit: Option<Edit> = properties.members().fold(None, |edit, (key, value)| {
        let same = match value.as_ref() {
            b"true" => "{}",
            b"false" => r#"{"not":{}}"#,
            _ => return edit,
        };
        Some(edit.unwrap_or_else(|| properties.edit()).set(key.into_owned(), same))
    });
    edit.map(|edit| edit.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Object, for_legacy_clients};

    #[track_caller]
    fn check(tool: &str, want: Option<&str>) {
        let tool = Object::parse(tool.to_owned().into()).unwrap();
        let got =
            for_legacy_clients(&tool).map(|tool| String::from_utf8(tool.raw().to_vec()).unwrap());
        assert_eq!(got.as_deref(), want);
    }

    #[test]
    fn a_definition_that_every_revision_allows_stays_as_it_is() {
        for tool in [
            r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            r#"{"name":"a","icons":[],"title":"A","execution":{},"annotations":{},
               "inputSchema":{"type":"object","properties":{"a":{"items":true}},"oneOf":[true]},
               "outputSchema":{"type":"\u006fbject","$defs":{"a":true},"properties":{"a":{}}}}"#,
        ] {
            check(tool, None);
        }
    }

    #[test]
    fn an_output_schema_that_is_not_of_objects_is_left_out() {
        let of = |output: &str| {
            format!(r#"{{"name":"a"{output},"inputSchema":{{ "type":"object" }},"x":1.0}}"#)
        };
        let without = of("");
        for output in [
            r#"{"type":"array","items":{"type":"string"}}"#,
            r#"{"type":["object","null"]}"#,
            r##"{"$ref":"#/$defs/a"}"##,
            "true",
            "null",
        ] {
            check(&of(&format!(r#","outputSchema":{output}"#)), Some(&without));
        }
    }

    #[test]
    fn a_property_of_any_form_or_of_none_is_said_with_an_object() {
        let of = |a: &str, b: &str| {
            let schema = format!(
                r#"{{"type":"object","properties":{{"a":{a},"c":{{"x":1.0}},"\u0062":{b}}}}}"#
            );
            format!(r#"{{"inputSchema":{schema},"name":"a","outputSchema":{schema}}}"#)
        };
        check(&of("true", "false"), Some(&of("{}", r#"{"not":{}}"#)));
    }
}
