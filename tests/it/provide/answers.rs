//! What the tools and resources answer.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use serde_json::{Value, json};

use super::{Client, Tree, names, text};

#[test]
fn directories_are_listed_in_order_hidden_entries_and_strange_names_included() {
    let tree = Tree::new();
    tree.link("hello.md", "zlink");
    fs::write(tree.root().join(OsStr::from_bytes(b"odd-\xff")), "odd").unwrap();
    let mut client = Client::modern(&tree);
    let all = client.call("list_directory", json!({}));
    assert_eq!(names(&all), [".hidden", "empty", "hello.md", "odd-\u{fffd}", "sub", "zlink"]);
    assert_eq!(serde_json::from_str::<Value>(&text(&all)).unwrap(), all["structuredContent"]);
    let entries = &all["structuredContent"]["entries"];
    assert_eq!(entries[2], json!({ "name": "hello.md", "kind": "file", "size": 20 }));
    assert_eq!(entries[5], json!({ "name": "zlink", "kind": "symlink" }));
    let odd = client.request("resources/read", json!({ "uri": entries[3]["uri"] }));
    assert_eq!(odd["result"]["contents"][0]["text"], "odd");
    let page = client.call("list_directory", json!({ "offset": 1, "limit": 2 }));
    assert_eq!(names(&page), ["empty", "hello.md"]);
    assert_eq!(page["structuredContent"]["nextOffset"], 3);
    let empty = client.call("list_directory", json!({ "path": "empty" }));
    assert_eq!(empty["structuredContent"]["entries"], json!([]));
    assert_eq!(empty["structuredContent"]["total"], 0);
}

#[test]
fn a_big_file_comes_in_parts_that_say_so_and_join() {
    let tree = Tree::new();
    let content = "zwölf Bäume €uro 😀\n".repeat(50_000);
    tree.write("big", &content);
    let mut client = Client::modern(&tree);
    let (mut joined, mut offset) = (String::new(), 0);
    loop {
        let part = client.call("read_file", json!({ "path": "big", "offset": offset }));
        joined += &text(&part);
        let notice = part["content"][1]["text"].as_str().unwrap();
        let Some((_, next)) = notice.split_once("offset ") else {
            assert!(notice.contains("end of the file"), "{notice}");
            break;
        };
        offset = next.trim_end_matches(']').parse::<u64>().unwrap();
    }
    assert!(joined == content);
    let whole = client.request("resources/read", json!({ "uri": "file:///big" }));
    let told = whole["error"]["message"].as_str().unwrap();
    assert!(told.contains("use the tool `read_file`"), "{told}");
}

#[test]
fn a_binary_file_is_base64_with_its_type() {
    let tree = Tree::new();
    tree.write("pixel.png", b"\x89PNG\0\xff");
    let mut client = Client::modern(&tree);
    let resource =
        json!({ "uri": "file:///pixel.png", "mimeType": "image/png", "blob": "iVBORwD/" });
    let read = client.call("read_file", json!({ "path": "pixel.png" }));
    assert_eq!(read["content"], json!([{ "type": "resource", "resource": resource }]));
    let read = client.request("resources/read", json!({ "uri": "file:///pixel.png" }));
    assert_eq!(read["result"]["contents"], json!([resource]));
}

#[test]
fn a_search_finds_names_and_lines_and_says_when_it_stopped() {
    let tree = Tree::new();
    tree.write("sub/more.txt", "one\ntwo Needle\nthree needle\n");
    tree.write("sub/binary", b"needle\0");
    tree.link("..", "sub/loop");
    let mut client = Client::modern(&tree);
    let mut found =
        |arguments: Value| client.call("search_files", arguments)["structuredContent"].clone();
    let paths = |answer: &Value| {
        let all = answer["matches"].as_array().unwrap().iter();
        all.map(|one| one["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let by_name = found(json!({ "name": "*.txt" }));
    assert_eq!(paths(&by_name), ["sub/inner.txt", "sub/more.txt"]);
    let by_text = found(json!({ "text": "needle" }));
    assert_eq!(
        by_text,
        json!({
            "matches": [
                { "path": "sub/more.txt", "kind": "file", "line": 3, "text": "three needle" },
            ],
            "truncated": false,
            "skipped": 1,
        })
    );
    let any_case = found(json!({ "text": "NEEDLE", "ignore_case": true, "path": "sub" }));
    assert_eq!(paths(&any_case), ["sub/more.txt", "sub/more.txt"]);
    let first = found(json!({ "limit": 1 }));
    assert_eq!(paths(&first), [".hidden"]);
    assert_eq!((&first["truncated"], &first["truncatedBy"]), (&json!(true), &json!("results")));
    assert_eq!(paths(&found(json!({ "name": "none*" }))), [""; 0]);
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let tree = Tree::new();
    let mut client = Client::modern(&tree);
    let told = client.mistake("read_file", json!({ "path": "nope" }));
    assert_eq!(told, "`nope` does not exist");
    let told = client.mistake("read_file", json!({ "path": "sub" }));
    assert_eq!(told, "`sub` is a directory, not a file");
    let told = client.mistake("list_directory", json!({ "path": "hello.md" }));
    assert_eq!(told, "`hello.md` is a file, not a directory");
    let told = client.mistake("read_file", json!({ "path": "hello.md", "limit": 0 }));
    assert_eq!(told, "`limit` is 0; allowed are 1 to 1048576");
    for arguments in [json!({}), json!({ "path": 7 }), json!({ "path": "a", "mode": "w" })] {
        let told = client.mistake("read_file", arguments);
        assert!(told.starts_with("the arguments do not fit: "), "{told}");
    }
}

#[test]
fn every_answer_fits_the_schema_it_was_promised_in() {
    let tree = Tree::new();
    fs::write(tree.root().join(OsStr::from_bytes(b"odd-\xff")), "odd").unwrap();
    let mut client = Client::modern(&tree);
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    let calls = [
        ("file_info", json!({ "path": "hello.md" })),
        ("file_info", json!({ "path": "sub" })),
        ("list_directory", json!({})),
        ("list_directory", json!({ "path": "", "offset": 1, "limit": 1 })),
        ("read_file", json!({ "path": "hello.md", "offset": 2, "limit": 3 })),
        ("search_files", json!({})),
        ("search_files", json!({ "limit": 1, "name": "**/*", "path": "sub" })),
        ("search_files", json!({ "text": "o", "ignore_case": true })),
    ];
    for tool in tools.as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        assert!(jsonschema::meta::is_valid(&tool["inputSchema"]), "{name}");
        let input = jsonschema::validator_for(&tool["inputSchema"]).unwrap();
        assert!(!input.is_valid(&json!({ "path": "hello.md", "other": 1 })), "{name} is closed");
        let output = tool.get("outputSchema").map(|s| jsonschema::validator_for(s).unwrap());
        for (_, arguments) in calls.iter().filter(|(of, _)| *of == name) {
            assert!(input.is_valid(arguments), "{name} {arguments}");
            let result = client.call(name, arguments.clone());
            let Some(output) = &output else { continue };
            let answer = &result["structuredContent"];
            assert!(output.is_valid(answer), "{name} {:?}", output.validate(answer).err());
        }
    }
}

#[test]
fn resources_are_paged_without_gaps_and_repeats() {
    let tree = Tree::new();
    fs::create_dir(tree.root().join("many")).unwrap();
    for n in 0..450 {
        tree.write(&format!("many/{n:03} ä.txt"), "x");
    }
    let mut client = Client::modern(&tree);
    let (mut uris, mut params, mut pages) = (Vec::new(), json!({}), 0);
    loop {
        let page = client.request("resources/list", params)["result"].clone();
        assert_eq!((&page["ttlMs"], &page["cacheScope"]), (&json!(0), &json!("private")));
        let listed = page["resources"].as_array().unwrap();
        uris.extend(listed.iter().map(|one| one["uri"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(cursor) = page.get("nextCursor") else { break };
        params = json!({ "cursor": cursor });
    }
    assert_eq!((pages, uris.len()), (3, 453));
    assert!(uris.contains(&"file:///many/007%20%C3%A4.txt".to_owned()));
    uris.sort();
    uris.dedup();
    assert_eq!(uris.len(), 453);
    let templates = client.request("resources/templates/list", json!({}))["result"].clone();
    assert_eq!(templates["resourceTemplates"][0]["uriTemplate"], "file:///{+path}");
}
