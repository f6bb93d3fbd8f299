//! `tools` and `call`: the gateway as an application sees it, here or far away.

use serde_json::{Map, Value, json};

use http::Method;

use super::{
    ConfigArg, Ending, Failure,
    client::{Client, FarArgs},
    complain, find_gateway, say, wait_for,
};

#[derive(Debug, clap::Args)]
pub(super) struct ToolsArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    far: FarArgs,
    /// Print the definitions as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    far: FarArgs,
    /// The tool, as `portcullis tools` lists it.
    tool: String,
    /// Arguments: `key=text`, or `key:=JSON` for numbers, lists and objects. `key=5` becomes a
    /// number when the tool's schema wants one.
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// All arguments as one JSON object, instead of KEY=VALUE.
    #[arg(long, value_name = "JSON", conflicts_with = "arguments")]
    args: Option<String>,
    /// Print the whole result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn tools(args: &ToolsArgs) -> Result<Ending, Failure> {
    let (tools, starting) = wait_for(async {
        let mut client = Client::endpoint(&args.far, &args.config).await?;
        let tools = list(&mut client).await?;
        Ok((tools, if args.far.is_here() { starting(&args.config).await } else { Vec::new() }))
    })?;
    if args.json {
        say(&json!({ "tools": tools, "starting": starting }).to_string());
        return Ok(Ending::Fine);
    }
    let name = |tool: &Value| text(tool, "name").to_owned();
    let width = tools.iter().map(|tool| name(tool).len()).max().unwrap_or_default();
    for tool in &tools {
        let about = text(tool, "description").lines().next().unwrap_or_default();
        let about: String = about.chars().filter(|c| !c.is_control()).take(100).collect();
        say(format!("{:width$}  {about}", name(tool)).trim_end());
    }
    if !starting.is_empty() {
        let servers = starting.join(", ");
        complain(&format!("still starting, so its tools are not listed yet: {servers}"));
    } else if tools.is_empty() {
        say(
            "no tools: `portcullis status` tells how the servers are, `portcullis policy show` what is allowed",
        );
    }
    Ok(Ending::Fine)
}

pub(super) fn call(args: &CallArgs) -> Result<Ending, Failure> {
    let result = wait_for(async {
        let mut client = Client::endpoint(&args.far, &args.config).await?;
        let arguments = match &args.args {
            Some(text) => whole(text)?,
            None if args.arguments.is_empty() => Map::new(),
            None => {
                let tools = list(&mut client).await?;
                let tool = tools.iter().find(|tool| text(tool, "name") == args.tool);
                let schema = tool.and_then(|tool| tool.pointer("/inputSchema/properties"));
                pairs(&args.arguments, schema)?
            }
        };
        client.mcp("tools/call", json!({ "name": args.tool, "arguments": arguments })).await
    })?;
    let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
    if args.json {
        say(&result.to_string());
    } else {
        show(&result);
    }
    Ok(if is_error { Ending::SaidNo } else { Ending::Fine })
}

/// The servers whose tools are not listed yet, as far as we may know.
async fn starting(config: &ConfigArg) -> Vec<String> {
    let asked = async {
        let mut admin = Client::operator(&find_gateway(config)?).await?;
        admin.ask(Method::GET, "/admin/status", None).await
    };
    let Ok((_, status)) = asked.await else { return Vec::new() };
    let servers = status.get("servers").and_then(Value::as_array);
    let starting = servers.into_iter().flatten().filter(|s| text(s, "state") == "starting");
    starting.map(|server| text(server, "name").to_owned()).collect()
}

async fn list(client: &mut Client) -> Result<Vec<Value>, Failure> {
    let (mut tools, mut cursor) = (Vec::new(), None);
    loop {
        let params = match cursor {
            None => json!({}),
            Some(cursor) => json!({ "cursor": cursor }),
        };
        let mut page = client.mcp("tools/list", params).await?;
        if let Some(Value::Array(more)) = page.get_mut("tools").map(Value::take) {
            tools.extend(more);
        }
        cursor = page.get_mut("nextCursor").map(Value::take);
        if cursor.is_none() {
            return Ok(tools);
        }
    }
}

fn whole(text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(Ending::Usage, format!("--args is not a JSON object: {error}"))
    })
}

/// `key=text` and `key:=json`, guided by the schema's types.
fn pairs(pairs: &[String], schema: Option<&Value>) -> Result<Map<String, Value>, Failure> {
    let mut arguments = Map::new();
    for pair in pairs {
        let usage = |why: &str| {
            Failure::new(Ending::Usage, format!("`{pair}`: {why}; write key=text or key:=json"))
        };
        let (key, value) = pair.split_once('=').ok_or_else(|| usage("there is no `=`"))?;
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => (key, serde_json::from_str(value).map_err(|_| usage("not JSON"))?),
            None => (key, typed(value, schema.and_then(|schema| schema.get(key)))),
        };
        arguments.insert(key.to_owned(), value);
    }
    Ok(arguments)
}

/// Text, unless the schema asks for something else and the text is that.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    let wants = schema.and_then(|schema| schema.get("type")).and_then(Value::as_str);
    match wants {
        Some("integer" | "number" | "boolean" | "array" | "object") => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Some(_) | None => text.into(),
    }
}

fn show(result: &Value) {
    let content = result.get("content").and_then(Value::as_array);
    let texts: Vec<&str> =
        content.into_iter().flatten().filter_map(|item| item.get("text")?.as_str()).collect();
    match (texts.is_empty(), result.get("structuredContent")) {
        (false, _) => texts.into_iter().for_each(say),
        (true, Some(structured)) => say(&format!("{structured:#}")),
        (true, None) => say(&format!("{result:#}")),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::pairs;

    #[test]
    fn values_are_text_unless_the_schema_or_the_writer_says_otherwise() {
        let schema = json!({ "n": { "type": "integer" }, "s": { "type": "string" } });
        let given = ["n=5", "s=5", "other=x=y", "list:=[1]", "n=five"].map(str::to_owned);
        let got = pairs(&given[..4], Some(&schema)).unwrap();
        let want = json!({ "n": 5, "s": "5", "other": "x=y", "list": [1] });
        assert_eq!(Value::from(got), want);
        assert_eq!(pairs(&given[4..], Some(&schema)).unwrap()["n"], "five");
        assert!(pairs(&["odd".to_owned()], None).is_err());
    }
}
