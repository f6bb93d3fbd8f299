//! Claims of the schema check: what fits, what is said, and that no schema can harm us.

use std::{fmt::Write as _, time::Duration};

use super::{Schema, SchemaBudget, SchemaError};
use crate::domain::limits;

#[track_caller]
fn check(schema: &str, arguments: &str, want: Result<(), &str>) {
    let schema = Schema::compile(schema.as_bytes()).unwrap();
    assert_eq!(schema.check(arguments.as_bytes()), want.map_err(str::to_owned));
}

#[track_caller]
fn refused(schema: &str, want: &str) {
    let error = Schema::compile(schema.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), want);
}

#[test]
fn arguments_are_held_against_the_schema() {
    let tool = r#"{"type":"object","properties":{"path":{"type":"string","minLength":2},
        "n":{"type":"integer"}},"required":["path"],"additionalProperties":false}"#;
    check(tool, r#"{"path":"ab","n":3}"#, Ok(()));
    check(tool, "{}", Err("the arguments do not satisfy `required` of the tool's schema"));
    let short = "argument `/path` does not satisfy `minLength` of the tool's schema";
    check(tool, r#"{"path":"a"}"#, Err(short));
    let odd = "argument `/n` does not satisfy `type` of the tool's schema";
    check(tool, r#"{"path":"ab","n":"secret"}"#, Err(odd));
    let more = "the arguments do not satisfy `additionalProperties` of the tool's schema";
    check(tool, r#"{"path":"ab","m":1}"#, Err(more));
    check("true", r#"{"a":1}"#, Ok(()));
    check("{}", r#"{"a":1}"#, Ok(()));
}

#[test]
fn a_sentence_never_carries_values_nor_raw_keys() {
    let schema = Schema::compile(br#"{"additionalProperties":{"type":"integer"}}"#).unwrap();
    let key = format!("\\u001b[31m{}", "k".repeat(500));
    let told = schema.check(format!(r#"{{"{key}":"secret"}}"#).as_bytes()).unwrap_err();
    assert!(!told.contains("secret") && !told.contains('\u{1b}') && told.len() < 160, "{told}");
}

#[test]
fn the_dialect_decides() {
    let tuple =
        |d: &str| format!(r#"{{{d}"properties":{{"a":{{"items":[{{"type":"string"}}]}}}}}}"#);
    let seven = tuple(r#""$schema":"http://json-schema.org/draft-07/schema#","#);
    let odd = "argument `/a/0` does not satisfy `type` of the tool's schema";
    check(&seven, r#"{"a":[1]}"#, Err(odd));
    assert!(Schema::compile(tuple("").as_bytes()).is_err(), "no tuples in 2020-12");
    let prefix = r#"{"properties":{"a":{"prefixItems":[{"type":"string"}]}}}"#;
    check(prefix, r#"{"a":[1]}"#, Err(odd));
    let unknown = r#"{"$schema":"https://example.com/mine","type":"object"}"#;
    assert!(matches!(Schema::compile(unknown.as_bytes()), Err(SchemaError::Dialect { .. })));
}

#[test]
fn nothing_outside_the_schema_is_ever_fetched() {
    let out = "the schema has a reference that leads out of it";
    refused(r#"{"$ref":"https://example.com/schema.json"}"#, out);
    refused(r#"{"properties":{"a":{"$ref":"file:///etc/passwd"}}}"#, out);
    refused(r##"{"$ref":"#/$defs/none"}"##, out);
    refused(r##"{"$dynamicRef":"#none"}"##, out);
    let inside = r##"{"$ref":"#/$defs/a%20b","$defs":{"a b":{"required":["x"]}}}"##;
    check(inside, r#"{"x":1}"#, Ok(()));
    let anchor = r##"{"$ref":"#here","$defs":{"a":{"$anchor":"here","required":["x"]}}}"##;
    check(anchor, r#"{"x":1}"#, Ok(()));
}

#[test]
fn look_around_works_and_is_bounded() {
    let email = r#"{"properties":{"to":{"pattern":"^(?!\\.)[a-z.]+@[a-z]+$"}}}"#;
    check(email, r#"{"to":"a.b@c"}"#, Ok(()));
    let odd = "argument `/to` does not satisfy `pattern` of the tool's schema";
    check(email, r#"{"to":".b@c"}"#, Err(odd));
    let slow = r#"{"properties":{"a":{"pattern":"^(?=a)(a|a)*(?<!x)b$"}}}"#;
    let text = format!(r#"{{"a":"{}"}}"#, "a".repeat(5000));
    within(move || Schema::compile(slow.as_bytes()).unwrap().check(text.as_bytes()).is_err());
    let huge = r#"{"properties":{"a":{"pattern":"((a{0,99}){0,99}){0,99}"}}}"#;
    assert!(Schema::compile(huge.as_bytes()).is_err());
}

#[test]
fn patterns_of_a_schema_share_one_bound() {
    let with = |n: usize, pattern: &str| {
        let one = |i| format!(r#""p{i}":{{"pattern":"{pattern}"}}"#);
        let all: Vec<String> = (0..n).map(one).collect();
        Schema::compile(format!(r#"{{"properties":{{{}}}}}"#, all.join(",")).as_bytes())
    };
    assert!(with(1, r"^[\\w-]{1,8}$").is_ok());
    assert!(with(200, "^[a-z0-9_-]{1,64}$").is_ok(), "ordinary ones fit together");
    assert!(with(1, "[a-z]{4000}").is_ok());
    assert!(with(200, "[a-z]{4000}").is_err(), "large ones do not");
    assert!(with(257, "a").is_err());
}

#[test]
fn numbers_and_long_lists_are_checked_in_reasonable_time() {
    let unique = r#"{"properties":{"a":{"uniqueItems":true}}}"#;
    let items: Vec<String> = (0..20_000).map(|n| format!(r#"{{"k":{n}}}"#)).collect();
    let text = format!(r#"{{"a":[{}]}}"#, items.join(","));
    within(move || Schema::compile(unique.as_bytes()).unwrap().check(text.as_bytes()).is_ok());
    let odd = r#"{"properties":{"a":{"multipleOf":1e-300}}}"#;
    within(move || {
        let schema = Schema::compile(odd.as_bytes()).unwrap();
        // The verdict on such a number is a matter of rounding; only the time counts here.
        drop(schema.check(br#"{"a":1e300}"#));
        true
    });
    let twin = r#"{"properties":{"a":{"const":9007199254740993}}}"#;
    check(twin, r#"{"a":9007199254740993}"#, Ok(()));
}

/// Runs on a stack as small as a runtime thread's and gives it ten seconds.
#[track_caller]
fn within(claim: impl FnOnce() -> bool + Send + 'static) {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let run = move || tell.send(claim()).unwrap();
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true));
}

/// `n` definitions, each `{body}` with NEXT naming the following one; the last is `end`.
fn chain(n: usize, body: &str, end: &str) -> String {
    let mut text = String::from(r##"{"$ref":"#/$defs/d0","$defs":{"##);
    for i in 0..n {
        let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, i + 1);
        write!(text, r#""d{i}":{},"#, body.replace("NEXT", &next)).unwrap();
    }
    text + &format!(r#""d{n}":{end}}}}}"#)
}

#[test]
fn schemas_that_blow_up_never_run() {
    let laughs = chain(40, r#"{"allOf":[NEXT,NEXT]}"#, "{\"type\":\"object\"}");
    within(move || Schema::compile(laughs.as_bytes()).unwrap().check(b"{}").is_err());
    let long = chain(4000, "NEXT", "{}");
    within(move || Schema::compile(long.as_bytes()).is_err());
    let descending = chain(4000, r#"{"properties":{"x":NEXT}}"#, "{}");
    within(move || {
        let schema = Schema::compile(descending.as_bytes()).unwrap();
        let deep = r#"{"x":"#.repeat(60) + "1" + &"}".repeat(60);
        schema.check(deep.as_bytes()).is_ok()
    });
    let itself = "the schema refers to itself without descending";
    refused(r##"{"$ref":"#"}"##, itself);
    refused(r##"{"anyOf":[{"type":"string"},{"not":{"$ref":"#"}}]}"##, itself);
}

#[test]
fn recursion_that_doubles_is_bounded_by_the_arguments() {
    let both =
        r##"{"allOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}}]}"##;
    within(move || {
        let schema = Schema::compile(both.as_bytes()).unwrap();
        let deep = |n: usize| r#"{"x":"#.repeat(n) + "1" + &"}".repeat(n);
        schema.check(deep(4).as_bytes()).is_ok() && schema.check(deep(60).as_bytes()).is_err()
    });
}

#[test]
fn ordinary_recursive_schemas_stay_callable() {
    let deep = |open: &str, close: &str| open.repeat(15) + "{}" + &close.repeat(15);
    let tree = r##"{"type":"object","properties":{"l":{"$ref":"#"},"r":{"$ref":"#"}}}"##;
    check(tree, &deep(r#"{"l":"#, "}"), Ok(()));
    let filter = r##"{"anyOf":[{"properties":{"and":{"items":{"$ref":"#"}}}},
        {"properties":{"or":{"items":{"$ref":"#"}}}},{"properties":{"not":{"$ref":"#"}}}]}"##;
    check(filter, &deep(r#"{"and":["#, "]}"), Ok(()));
    let json = r##"{"properties":{"v":{"$ref":"#/$defs/json"}},"$defs":{"json":{"anyOf":[
        {"type":["string","number","boolean","null"]},{"type":"array","items":
        {"$ref":"#/$defs/json"}},{"type":"object","additionalProperties":
        {"$ref":"#/$defs/json"}}]}}}"##;
    check(json, &format!(r#"{{"v":{}}}"#, deep(r#"{"k":"#, "}")), Ok(()));
    let long = format!(r#"{{"v":[{}0]}}"#, "0,".repeat(200_000));
    check(json, &long, Ok(()));
}

#[test]
fn judging_a_schema_is_bounded_itself() {
    let mut heavy = String::from(r##"{"$defs":{"h":{"properties":{"##);
    for n in 0..5000 {
        write!(heavy, r#""p{n}":{{}},"#).unwrap();
    }
    heavy += r##""p":{}}}},"allOf":["##;
    heavy += &r##"{"$ref":"#/$defs/h"},"##.repeat(4000);
    heavy += "true]}";
    within(move || Schema::compile(heavy.as_bytes()).is_err());
}

#[test]
fn a_schema_beyond_the_bound_is_not_read() {
    let big = format!(r#"{{"title":"{}"}}"#, "x".repeat(limits::SCHEMA_BYTES_MAX));
    assert!(matches!(Schema::compile(big.as_bytes()), Err(SchemaError::TooBig { .. })));
    let nested = r#"{"not":"#.repeat(200) + "{}" + &"}".repeat(200);
    assert!(Schema::compile(nested.as_bytes()).is_err());
}

#[test]
fn one_server_cannot_have_more_compiled_than_its_budget() {
    let over = |error: Option<SchemaError>| matches!(error, Some(SchemaError::Budget { .. }));
    let padded = format!(r#"{{"title":"{}","type":"object"}}"#, "x".repeat(200 * 1024));
    let mut budget = SchemaBudget::open();
    let compile = |text: &str, budget: &mut SchemaBudget| {
        Schema::compile_within(text.as_bytes(), budget).err()
    };
    let n = (0..100).take_while(|_| compile(&padded, &mut budget).is_none()).count();
    assert_eq!(n, limits::SCHEMAS_BYTES_MAX / padded.len());
    assert!(over(compile(&padded, &mut budget)));

    // A large pattern is compiled, and costs much more than a usual one.
    let patterns = |pattern: &str| format!(r#"{{"properties":{{"a":{{"pattern":"{pattern}"}}}}}}"#);
    let count = |schema: &str| {
        let mut budget = SchemaBudget::open();
        (0..5000).take_while(|_| compile(schema, &mut budget).is_none()).count()
    };
    let each = limits::SCHEMA_REGEX_BYTES_MAX + limits::SCHEMA_REGEX_BYTES_USUAL;
    assert_eq!(count(&patterns("[a-z]{4000}")), limits::SCHEMAS_PATTERN_BYTES_MAX / each);
    let usual = limits::SCHEMAS_PATTERN_BYTES_MAX / limits::SCHEMA_REGEX_BYTES_USUAL;
    assert_eq!(count(&patterns("^[a-z]+$")), usual);
}
