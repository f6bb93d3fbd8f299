//! The server of `talker.py` once more, made with rmcp: the same names, the same answers, and the
//! SDK's own runtime for tasks.
//!
//! On its pipes, or with a port over Streamable HTTP; both eras. Judges nothing.

#![expect(deprecated, reason = "legacy clients are asked by what 2026-07-28 removed")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        CompleteRequestParams, CompleteResult, ContentBlock, CreateTaskResult,
        GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult, InputRequest,
        InputRequests, InputRequiredResult, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
        ReadResourceRequestParams, ReadResourceResponse, ResourceUpdatedNotificationParam,
        ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
        UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
    task_manager::{TaskExit, TaskManager, TaskOptions},
    transport::{
        stdio,
        streamable_http_server::{
            StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
        },
    },
};
use serde_json::{Value, from_value, json, to_value};
use tokio::{net::TcpListener, sync::broadcast, time::sleep};

use crate::Result;

const NOTE: &str = "note://one";
const NOTES: &str = "note://number/";
const PLAIN: [&str; 10] =
    ["form", "page", "sample", "roots", "sleep", "log", "grow", "touch", "trace", "task"];

type Context = RequestContext<RoleServer>;
type Answer<T> = std::result::Result<T, ErrorData>;

pub async fn run(port: Option<&str>) -> Result<()> {
    let talker = Talker::new();
    let Some(port) = port else {
        talker.serve(stdio()).await?.waiting().await?;
        return Ok(());
    };
    // What lasts is one for all: a modern request is a session of its own.
    let service = StreamableHttpService::new(
        move || Ok(Talker { changes: Arc::default(), ..talker.clone() }),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum News {
    Tools,
    Note,
}

#[derive(Clone)]
struct Talker {
    grown: Arc<Mutex<Vec<String>>>,
    news: broadcast::Sender<News>,
    /// Of listens that are accepted and do not run yet: the SDK acknowledges in between.
    ears: Arc<Mutex<Vec<broadcast::Receiver<News>>>>,
    tasks: TaskManager,
    /// How often the roots of this session's client were others.
    changes: Arc<AtomicUsize>,
}

impl Talker {
    fn new() -> Self {
        let (grown, ears, changes) = (Arc::default(), Arc::default(), Arc::default());
        Self { grown, news: broadcast::channel(64).0, ears, tasks: TaskManager::new(), changes }
    }

    /// To those who listen, and to a legacy client that watches or lists.
    async fn tell(&self, news: News, context: &Context) {
        let _ = self.news.send(news);
        if is_modern(context) {
            return;
        }
        let _ = match news {
            News::Tools => context.peer.notify_tool_list_changed().await,
            News::Note => {
                let note = ResourceUpdatedNotificationParam::new(NOTE);
                context.peer.notify_resource_updated(note).await
            }
        };
    }

    fn begin(&self) -> CallToolResponse {
        let task = self.tasks.spawn(TaskOptions::new().with_poll_interval_ms(50), |context| {
            Box::pin(async move {
                tokio::select! {
                    () = context.cancelled() => Err(TaskExit::Cancelled),
                    said = context.request_input("who", question("form")?) => {
                        Ok(say(&format!("carried out for {}", word(&said?, "/content/name"))))
                    }
                }
            })
        });
        CreateTaskResult::new(task).into()
    }
}

impl ServerHandler for Talker {
    fn get_info(&self) -> ServerConfig {
        from_value(json!({
            "protocolVersion": "2025-11-25",
            "serverInfo": { "name": "talker", "version": "1" },
            "capabilities": {
                "completions": {}, "logging": {}, "prompts": {}, "tools": { "listChanged": true },
                "resources": { "subscribe": true, "listChanged": true },
                "extensions": { "io.modelcontextprotocol/tasks": {} },
            },
        }))
        .expect("a configuration")
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListToolsResult> {
        let of = |properties: Value| json!({"type": "object", "properties": properties});
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut tools: Vec<_> = PLAIN
            .into_iter()
            .map(String::from)
            .chain(grown)
            .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))
            .collect();
        tools.push(
            json!({"name": "progress", "inputSchema": of(json!({"steps": {"type": "integer"}}))}),
        );
        answer(json!({ "tools": tools }))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Answer<CallToolResponse> {
        let name = request.name.as_ref();
        let argument = |key: &str| request.arguments.as_ref().and_then(|all| all.get(key));
        let token = context.meta.get_progress_token();
        let step = |n: u64| {
            let params = token.clone().map(|token| ProgressNotificationParam::new(token, n as f64));
            let peer = context.peer.clone();
            async move {
                if let Some(params) = params {
                    let _ = peer.notify_progress(params).await;
                }
            }
        };
        match name {
            "form" | "page" | "sample" | "roots" => {
                let changes = self.changes.load(Ordering::Relaxed);
                return ask(name, changes, &request, &context).await;
            }
            "progress" => {
                for n in 1..=argument("steps").and_then(Value::as_u64).unwrap_or(3) {
                    step(n).await;
                }
            }
            "sleep" => {
                step(1).await;
                tokio::select! {
                    () = context.ct.cancelled() => {}
                    () = sleep(Duration::from_secs(600)) => {}
                }
            }
            "log" => {
                let message = from_value(json!({"level": "info", "data": "one message"}));
                let message = message.map_err(|error| wrong(&error))?;
                let _ = context.peer.notify_logging_message(message).await;
            }
            "grow" => {
                let name = argument("name").and_then(Value::as_str).unwrap_or("new").to_owned();
                self.grown.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                self.tell(News::Tools, &context).await;
            }
            "touch" => self.tell(News::Note, &context).await,
            "trace" => {
                let meta = to_value(&context.meta).map_err(|error| wrong(&error))?;
                return Ok(say(&meta.to_string()).into());
            }
            "task" => {
                let knows = context.client_capabilities().is_some_and(|caps| caps.supports_tasks());
                return Ok(if knows { self.begin() } else { say("carried out").into() });
            }
            _ => {}
        }
        Ok(say("done").into())
    }

    async fn get_task(&self, request: GetTaskParams, _: Context) -> Answer<GetTaskResult> {
        Ok(GetTaskResult::new(self.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Answer<()> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Answer<()> {
        self.tasks.cancel_task(&request.task_id)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListPromptsResult> {
        answer(json!({"prompts": [{"name": "greet", "arguments": [{"name": "name"}]}]}))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Answer<GetPromptResponse> {
        let name = request.arguments.as_ref().and_then(|all| all.get("name")?.as_str());
        let text = format!("Hello, {}!", name.unwrap_or("you"));
        let message = json!({"role": "user", "content": {"type": "text", "text": text}});
        answer(json!({ "messages": [message] })).map(GetPromptResponse::Complete)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListResourcesResult> {
        answer(json!({"resources": [{"uri": NOTE, "name": "one"}]}))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListResourceTemplatesResult> {
        let template = json!({"uriTemplate": format!("{NOTES}{{n}}"), "name": "note"});
        answer(json!({ "resourceTemplates": [template] }))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Answer<ReadResourceResponse> {
        let text = match request.uri.strip_prefix(NOTES) {
            Some(n) => format!("note {n}"),
            None => "the first note".to_owned(),
        };
        answer(json!({"contents": [{"uri": request.uri, "text": text}]}))
            .map(ReadResourceResponse::Complete)
    }

    async fn complete(&self, request: CompleteRequestParams, _: Context) -> Answer<CompleteResult> {
        let typed = &request.argument.value;
        let names: Vec<_> =
            ["Ann", "Bob"].into_iter().filter(|name| name.starts_with(typed)).collect();
        answer(json!({"completion": { "values": names }}))
    }

    async fn on_roots_list_changed(&self, _: NotificationContext<RoleServer>) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Answer<()> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Answer<()> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner).push(self.news.subscribe());
        Some(asked.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Answer<()> {
        let ear = self.ears.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut news = ear.unwrap_or_else(|| self.news.subscribe());
        loop {
            let told = tokio::select! {
                () = context.cancelled() => return Ok(()),
                told = news.recv() => told,
            };
            // What it did not ask for is kept from it by the SDK.
            let _ = match told {
                Ok(News::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(News::Note) => context.sink().notify_resource_updated(NOTE).await,
                Err(_) => return Ok(()),
            };
        }
    }
}

/// As 2026-07-28 asks, or as it was done before.
async fn ask(
    name: &str,
    changes: usize,
    request: &CallToolRequestParams,
    context: &Context,
) -> Answer<CallToolResponse> {
    let asks = question(name)?;
    let said = if is_modern(context) {
        match request.input_responses.as_ref().and_then(|all| all.get(name)) {
            Some(said) => said.clone(),
            None => {
                let requests = InputRequests::from([(name.to_owned(), asks)]);
                return Ok(InputRequiredResult::new(Some(requests), None).into());
            }
        }
    } else {
        let peer = &context.peer;
        let said = match asks {
            InputRequest::Elicitation(it) => {
                peer.create_elicitation(it.params).await.map(|said| to_value(said))
            }
            InputRequest::CreateMessage(it) => {
                peer.create_message(it.params).await.map(|said| to_value(said))
            }
            InputRequest::ListRoots(_) => peer.list_roots().await.map(|said| to_value(said)),
            other => return Err(wrong(&format!("{other:?} is not asked here"))),
        };
        said.map_err(|error| wrong(&error))?.map_err(|error| wrong(&error))?
    };
    let text = match name {
        "form" => format!("you are {}", word(&said, "/content/name")),
        "page" => format!("user: {}", word(&said, "/action")),
        "sample" => format!("it is {}", word(&said, "/content/text")),
        _ => format!("there is {} after {changes} changes", word(&said, "/roots/0/uri")),
    };
    Ok(say(&text).into())
}

fn question(name: &str) -> Answer<InputRequest> {
    let who =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let capital = json!({"type": "text", "text": "the capital of France?"});
    answer(match name {
        "form" => json!({"method": "elicitation/create",
                         "params": {"mode": "form", "message": "who?", "requestedSchema": who}}),
        "page" => json!({"method": "elicitation/create",
                         "params": {"mode": "url", "message": "please sign in",
                                    "url": "https://example.org/in", "elicitationId": "sign-in"}}),
        "sample" => json!({"method": "sampling/createMessage",
                           "params": {"messages": [{"role": "user", "content": capital}], "maxTokens": 9}}),
        _ => json!({"method": "roots/list"}),
    })
}

fn word<'a>(said: &'a Value, at: &str) -> &'a str {
    said.pointer(at).and_then(Value::as_str).unwrap_or("nothing")
}

fn say(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn is_modern(context: &Context) -> bool {
    context.protocol_version().is_some_and(|version| version.as_str() >= "2026")
}

fn answer<T: serde::de::DeserializeOwned>(result: Value) -> Answer<T> {
    from_value(result).map_err(|error| wrong(&error))
}

fn wrong(error: &impl ToString) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
