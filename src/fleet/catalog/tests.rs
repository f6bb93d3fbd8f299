//! What a merged catalog lists, and whom a name leads to.

use std::sync::Arc;

use bytes::Bytes;

use super::{Catalog, Headers, Lists, Reading, Shelf, Shelves};
use crate::{
    config::{HttpTarget, Names, ServerConfig, Target, ToolFilter},
    domain::{Era, Kind, ServerName},
    gate::{Definition, Origin, Rules, Whitelist},
    upstream::Runs,
    wire::{Item, List, Object, Tasks, parse_page},
};

fn server(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

fn items(list: List, names: &[&str]) -> Vec<Item> {
    let key = match list {
        List::Tools | List::Prompts => "name",
        List::Resources => "uri",
        List::Templates => "uriTemplate",
    };
    let item = |name: &&str| {
        let raw = format!(r#"{{"{key}":"{name}","inputSchema":{{}},"n":1.0}}"#);
        Item { name: (*name).to_owned(), raw: Object::parse(raw.into()).unwrap() }
    };
    names.iter().map(item).collect()
}

fn reading(resources: &[&str], templates: &[&str]) -> Lists {
    Lists {
        resources: items(List::Resources, resources),
        templates: items(List::Templates, templates),
        reading: Reading::Declared,
        ..Lists::default()
    }
}

fn shelf(names: Names, name: &str, lists: Lists) -> (ServerName, Arc<Shelf>) {
    let name = server(name);
    let shelf = stocked(names, &name, lists);
    (name, Arc::new(shelf))
}

fn stocked(names: Names, server: &ServerName, lists: Lists) -> Shelf {
    let url = "http://localhost/".parse().unwrap();
    let target = Target::Http(HttpTarget { url, headers: Vec::new() });
    let origin = Origin::of(&ServerConfig::new(server.clone(), target));
    Shelf::stock(names, &origin, lists, Headers::NotSent)
}

fn merge(shelves: Shelves, forward: Option<&str>) -> Catalog {
    let filter = ToolFilter::default();
    let filters = shelves.keys().map(|server| (server, &filter));
    let rules = Rules::of_whitelist(Whitelist::from_filters(filters));
    Catalog::merge(shelves, forward.map(server), &rules)
}

/// Three readers, of which the first two both list `x:shared` and the same template.
fn three() -> Catalog {
    let shelves = [
        ("b", reading(&["x:b", "x:shared", "x:c"], &["t://{id}", "t://b/{id}", "w://{b}"])),
        ("a", reading(&["x:shared", "x:a", "x:c"], &["t://{id}", "t://{+any}", "w://{a}"])),
        ("c", reading(&[], &["u://{+rest}"])),
    ];
    merge(shelves.into_iter().map(|(name, l)| shelf(Names::Prefixed, name, l)).collect(), None)
}

#[track_caller]
fn leads(catalog: &Catalog, kind: Kind, name: &str, want: Option<&str>) {
    let got = catalog.resolve(kind, name);
    let got = got.map(|found| format!("{} {}", found.server, found.subject.as_str()));
    assert_eq!(got.as_deref(), want, "{kind:?} {name}");
}

#[test]
fn a_uri_leads_to_its_first_owner() {
    let catalog = three();
    let resource = |uri, want| leads(&catalog, Kind::Resource, uri, want);
    resource("x:a", Some("a x:a"));
    resource("x:b", Some("b x:b"));
    resource("x:shared", Some("a x:shared"));
    resource("t://1", Some("a t://1"));
    // The template that says more is meant, whoever comes first.
    resource("t://b/1", Some("b t://b/1"));
    resource("u://any/thing?at=all", Some("c u://any/thing?at=all"));
    // Of two that say as much, the first server is meant.
    resource("w://1", Some("a w://1"));
    resource("x:nobody", None);
    let template = |uri, want| leads(&catalog, Kind::TemplateArgument, uri, want);
    template("t://{id}", Some("a t://{id}"));
    template("t://b/{id}", Some("b t://b/{id}"));
    template("x:b", Some("b x:b"));
    template("t://1", None);
}

/// The URIs of a list, in its order.
fn listed(catalog: &Catalog, list: List) -> Vec<String> {
    let page = catalog.everything().page(list, Era::Modern, None).unwrap().items;
    let page = format!(r#"{{"{}":[{}]}}"#, list.member(), String::from_utf8_lossy(&page));
    let page = parse_page(list, &Object::parse(page.into()).unwrap()).unwrap();
    page.items.into_iter().map(|item| item.name).collect()
}

#[test]
fn what_two_servers_have_has_a_prefix_at_the_later_one() {
    let catalog = three();
    let sentences: Vec<_> = catalog.clashes().iter().collect();
    let [(name, said)] = sentences.as_slice() else { panic!("{sentences:?}") };
    assert_eq!(name.as_str(), "b");
    let why = "have a prefix, because server `a` has them too; such as";
    assert_eq!(
        **said,
        [
            format!("2 of its resources {why} `via.b+x:shared`"),
            format!("1 of its resourceTemplates {why} `via.b+t://{{id}}`"),
        ]
    );
    let page = catalog.everything().page(List::Resources, Era::Modern, None).unwrap().items;
    let want = ["via.b+x:c", "via.b+x:shared", "x:a", "x:b", "x:c", "x:shared"]
        .map(|uri| format!(r#"{{"uri":"{uri}","inputSchema":{{}},"n":1.0}}"#));
    assert_eq!(page, Bytes::from(want.join(",")));
    let templates = listed(&catalog, List::Templates);
    let want = ["t://b/{id}", "t://{+any}", "t://{id}", "u://{+rest}", "via.b+t://{id}"];
    assert_eq!(templates[..5], want);
    assert_eq!(catalog.everything().len(List::Templates), 7);
}

#[test]
fn a_prefix_leads_to_its_server_and_to_what_that_has() {
    let catalog = three();
    let resource = |uri, want| leads(&catalog, Kind::Resource, uri, want);
    resource("via.b+x:shared", Some("b x:shared"));
    resource("via.b+t://1", Some("b t://1"));
    resource("via.c+u://1", Some("c u://1"));
    // Also where nobody else has it, so that what was listed once stays.
    resource("via.a+x:shared", Some("a x:shared"));
    resource("via.b+x:b", Some("b x:b"));
    // But not what the server does not have, and not at a server that is none.
    resource("via.b+x:a", None);
    resource("via.a+u://1", None);
    resource("via.d+x:a", None);
    resource("via.b+via.b+x:b", None);
    // Nor is it ever taken for a URI of somebody else, whatever a template matches.
    let greedy = [("a", reading(&[], &["{+all}"])), ("b", reading(&["x:b"], &[]))];
    let greedy = greedy.into_iter().map(|(name, l)| shelf(Names::Prefixed, name, l));
    let greedy = merge(greedy.collect(), None);
    leads(&greedy, Kind::Resource, "via.b+y:b", None);
    leads(&greedy, Kind::Resource, "y:b", Some("a y:b"));
    let template = |uri, want| leads(&catalog, Kind::TemplateArgument, uri, want);
    template("via.b+t://{id}", Some("b t://{id}"));
    template("via.a+t://{id}", Some("a t://{id}"));
    template("via.b+x:shared", Some("b x:shared"));
    template("via.c+t://{id}", None);
}

#[test]
fn what_begins_like_a_prefix_never_stands_for_another_server() {
    let long = format!("x:{}", "y".repeat(2043));
    let shelves = [
        ("a", reading(&["via.b+x:b", "via.zz+x:z", &long], &["via.b+{+any}"])),
        ("b", reading(&["x:b", &long], &[])),
    ];
    let shelves = shelves.into_iter().map(|(name, l)| shelf(Names::Prefixed, name, l));
    let catalog = merge(shelves.collect(), None);
    let resource = |uri, want| leads(&catalog, Kind::Resource, uri, want);
    resource("via.b+x:b", Some("b x:b"));
    resource("via.a+via.b+x:b", Some("a via.b+x:b"));
    resource("via.zz+x:z", None);
    resource("via.a+via.zz+x:z", Some("a via.zz+x:z"));
    resource(&long, Some(&format!("a {long}")));
    let want = ["via.a+via.b+x:b", "via.a+via.zz+x:z", "x:b", &long];
    assert_eq!(listed(&catalog, List::Resources), want);
    assert_eq!(listed(&catalog, List::Templates), ["via.a+via.b+{+any}"]);
    let said: Vec<_> = catalog.clashes().values().flatten().collect();
    let prefixed = "have a prefix, because they begin like one; such as";
    assert_eq!(
        said,
        [
            &format!("2 of its resources {prefixed} `via.a+via.b+x:b`"),
            &format!("1 of its resourceTemplates {prefixed} `via.a+via.b+{{+any}}`"),
            &format!(
                "1 of its resources are not offered: they are too long for a prefix; such as `{long}`"
            ),
        ]
    );
}

#[test]
fn an_unknown_uri_goes_to_the_only_server_that_could_know_it() {
    let none = Lists { tools: items(List::Tools, &["t"]), ..Lists::default() };
    let two =
        [shelf(Names::Prefixed, "a", none), shelf(Names::Prefixed, "b", reading(&["x:b"], &[]))];
    let catalog = merge(two.into(), None);
    leads(&catalog, Kind::Resource, "y:new", Some("b y:new"));
    let found = catalog.resolve(Kind::Resource, "y:new").unwrap();
    assert!(matches!(found.definition, Definition::Forwarded));
    let known = catalog.resolve(Kind::Resource, "x:b").unwrap();
    assert!(matches!(known.definition, Definition::Listed));
    leads(&catalog, Kind::Resource, "y:\n", None);
    leads(&catalog, Kind::Resource, "via.b+y:new", Some("b y:new"));
    leads(&catalog, Kind::Resource, "via.a+y:new", None);
    leads(&merge(Shelves::new(), None), Kind::Resource, "y:new", None);
}

#[test]
fn prompts_have_names_like_tools_and_a_namespace_of_their_own() {
    let lists = || Lists {
        tools: items(List::Tools, &["same"]),
        prompts: items(List::Prompts, &["same", "a/b", "same"]),
        ..Lists::default()
    };
    let (name, stocked) = shelf(Names::Prefixed, "s", lists());
    assert_eq!(stocked.problems, ["prompt `same` is listed twice"]);
    let catalog = merge([(name, stocked)].into(), None);
    leads(&catalog, Kind::Prompt, "s__same", Some("s same"));
    leads(&catalog, Kind::Prompt, "s__a_b", Some("s a/b"));
    leads(&catalog, Kind::PromptArgument, "s__a_b", Some("s a/b"));
    leads(&catalog, Kind::Prompt, "same", None);
    leads(&catalog, Kind::Tool, "s__a_b", None);
    let page = catalog.everything().page(List::Prompts, Era::Modern, None).unwrap().items;
    let want = ["s__a_b", "s__same"]
        .map(|name| format!(r#"{{"name":"{name}","inputSchema":{{}},"n":1.0}}"#));
    assert_eq!(page, Bytes::from(want.join(",")));

    let plain = merge([shelf(Names::Plain, "s", lists())].into(), Some("s"));
    leads(&plain, Kind::Prompt, "same", Some("s same"));
    leads(&plain, Kind::Prompt, "not listed", Some("s not listed"));
}

#[test]
fn a_change_of_one_list_is_a_change_of_that_list_only() {
    let before = merge([shelf(Names::Plain, "s", reading(&["x:a"], &[]))].into(), None);
    let after = merge([shelf(Names::Plain, "s", reading(&["x:a", "x:b"], &[]))].into(), None);
    let same: Vec<_> =
        List::ALL.map(|list| after.everything().lists_the_same(before.everything(), list)).into();
    assert_eq!(same, [true, true, false, true]);
}

#[test]
fn plain_mode_forwards_no_name_that_is_judged_or_refused_under_another() {
    let empty = merge(Shelves::new(), Some("one"));
    leads(&empty, Kind::Tool, "anything", None);
    let mut tools = items(List::Tools, &["fs/read", "log"]);
    let raw = r#"{"name":"a.b","inputSchema":{"$ref":"https://example.org/s"}}"#;
    tools.push(Item { name: "a.b".to_owned(), raw: Object::parse(raw.into()).unwrap() });
    let lists = Lists { tools, ..Lists::default() };
    let plain = merge([shelf(Names::Plain, "one", lists)].into_iter().collect(), Some("one"));
    leads(&plain, Kind::Tool, "fs_read", Some("one fs/read"));
    leads(&plain, Kind::Tool, "fs/read", None);
    leads(&plain, Kind::Tool, "a.b", None);
    leads(&plain, Kind::Tool, "a_b", None);
    leads(&plain, Kind::Tool, "unlisted", Some("one unlisted"));
}

#[test]
fn a_server_with_too_many_schemas_loses_the_rest_and_is_told_once() {
    let padding = "x".repeat(200 * 1024);
    let tool = |n: usize| {
        let schema = format!(r#"{{"type":"object","title":"{padding}"}}"#);
        let raw = format!(r#"{{"name":"t{n}","inputSchema":{schema}}}"#);
        Item { name: format!("t{n}"), raw: Object::parse(raw.into()).unwrap() }
    };
    let lists = Lists { tools: (0..50).map(tool).collect(), ..Lists::default() };
    let (name, shelf) = shelf(Names::Prefixed, "up", lists);
    let problems = shelf.problems.clone();
    let n = shelf.n_tools();
    let told =
        |why: &str| [format!("{} tools are not offered: the schemas of its server {why}", 50 - n)];
    // Beside much other work the other bound may be the first.
    let is_told = problems == told("are too large") || problems == told("take too long to compile");
    assert!(is_told && n < 50, "{n}: {problems:?}");
    let catalog = merge([(name, shelf)].into_iter().collect(), None);
    assert!(catalog.resolve(Kind::Tool, "up__t0").is_some());
    assert!(catalog.resolve(Kind::Tool, "up__t49").is_none(), "neither listed nor callable");
}

#[test]
fn a_tool_that_a_legacy_server_runs_only_as_a_task_is_offered_as_one_that_runs_plainly() {
    let tool = |name: &str, support: &str| {
        format!(
            r#"{{"name":"{name}","inputSchema":{{}},"execution":{{"taskSupport":"{support}"}}}}"#
        )
    };
    let all = [tool("a", "required"), tool("b", "optional"), tool("c", "forbidden")].join(",");
    let page = Object::parse(format!(r#"{{"tools":[{all}]}}"#).into()).unwrap();
    let tools = parse_page(List::Tools, &page).unwrap().items;
    let name = server("up");
    for (tasks, want) in [
        (Tasks::Legacy, [Runs::AsTask, Runs::Plainly, Runs::Plainly]),
        // Without that the word means nothing, or another thing.
        (Tasks::Unknown, [Runs::Plainly; 3]),
        (Tasks::Kept, [Runs::Plainly; 3]),
    ] {
        let lists = Lists { tools: tools.clone(), tasks, ..Lists::default() };
        let shelf = stocked(Names::Plain, &name, lists);
        assert_eq!(shelf.problems, [] as [String; 0]);
        let catalog = merge([(name.clone(), Arc::new(shelf))].into(), None);
        let runs = |tool| catalog.resolve(Kind::Tool, tool).unwrap().manner.runs;
        assert_eq!(["a", "b", "c"].map(runs), want, "{tasks:?}");
        let listed = catalog.everything().page(List::Tools, Era::Modern, None).unwrap();
        let text = String::from_utf8_lossy(&listed.items);
        assert_eq!(text.contains("required"), tasks != Tasks::Legacy, "{text}");
        assert!(text.contains("optional"), "{text}");
    }
}

#[test]
fn a_list_that_was_not_given_is_the_one_before_and_an_empty_one_is_empty() {
    let listed_bytes = |list: List, missing: &[List]| {
        let server = server("a");
        let stock = |lists| stocked(Names::Prefixed, &server, lists);
        let before = stock(Lists {
            prompts: items(List::Prompts, &["p"]),
            ..reading(&["x:a"], &["t://{id}"])
        });
        let mut now = stock(Lists { missing: missing.to_vec(), ..reading(&[], &[]) });
        now.keep_missing(&before);
        let shelves = Shelves::from([(server, Arc::new(now))]);
        let page = merge(shelves, None).everything().page(list, Era::Modern, None).unwrap();
        page.items.len()
    };
    let others = [List::Prompts, List::Resources, List::Templates];
    for list in others {
        assert_eq!(listed_bytes(list, &[]), 0, "{list:?}");
        assert_ne!(listed_bytes(list, &[list]), 0, "{list:?}");
        let rest: Vec<List> = others.into_iter().filter(|other| *other != list).collect();
        assert_eq!(listed_bytes(list, &rest), 0, "{list:?}");
    }
}

#[test]
fn tools_that_replicas_have_in_common_are_in_memory_once() {
    let stock = |names: &[&str]| {
        let lists = Lists { tools: items(List::Tools, names), ..Lists::default() };
        stocked(Names::Prefixed, &server("a"), lists)
    };
    let before = stock(&["one", "two", "three"]);
    let mut now = stock(&["one", "other", "three"]);
    now.share(&before);
    let shared = now.tools.iter().zip(&before.tools).map(|(now, then)| Arc::ptr_eq(now, then));
    assert_eq!(shared.collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(now.tools[1].subject.as_str(), "other");
}

#[test]
fn legacy_clients_read_another_list_only_where_a_definition_would_break_theirs() {
    let tools = |output: &str| {
        let raw = format!(r#"{{"name":"t","inputSchema":{{}},"outputSchema":{output}}}"#);
        let tool = Item { name: "t".to_owned(), raw: Object::parse(raw.into()).unwrap() };
        let tools = [items(List::Tools, &["a"]), vec![tool]].concat();
        let shelf = shelf(Names::Prefixed, "s", Lists { tools, ..Lists::default() });
        let catalog = merge([shelf].into_iter().collect(), None);
        let page = |era| catalog.everything().page(List::Tools, era, None).unwrap().items;
        (page(Era::Modern), page(Era::Legacy))
    };
    let (modern, legacy) = tools(r#"{"type":"object"}"#);
    assert_eq!(modern.as_ptr(), legacy.as_ptr(), "one text for both");
    let (modern, legacy) = tools(r#"{"type":"array"}"#);
    let all = r#"{"name":"s__a","inputSchema":{},"n":1.0},{"name":"s__t","inputSchema":{},"outputSchema":{"type":"array"}}"#;
    assert_eq!(modern, all);
    assert_eq!(legacy, all.replace(r#","outputSchema":{"type":"array"}"#, ""));
}
