//! The checks of `crossing.py`: what a client does, and what it sees. Each is a line, and so is its
//! answer. Judges nothing.

#![expect(deprecated, reason = "legacy servers are spoken to by what 2026-07-28 removed")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientConfig,
        ClientRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
        ElicitResult, GetTaskParams, ListRootsResult, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam,
        ResourceUpdatedNotificationParam, ServerNotification, UpdateTaskParams,
    },
    service::{
        NotificationContext, PeerRequestOptions, RequestContext, RunningService, Subscription,
    },
};
use serde_json::{Value, from_value, json, to_value};
use tokio::{sync::mpsc, time::sleep};

use crate::{Result, connect};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
const TRACESTATE: &str = "vendor=1";
const BAGGAGE: &str = "kept=1,dropped=2";
const CHANGED: &str = "file:///changed";

type Notice = NotificationContext<RoleClient>;
type Request = RequestContext<RoleClient>;

pub async fn run(endpoint: &str, mode: &str) -> Result<()> {
    let (tell, heard) = mpsc::unbounded_channel();
    let moved = Arc::default();
    let (client, child) = connect(Ears(tell, Arc::clone(&moved)), endpoint, mode).await?;
    let mut peer = Peer { client, heard, moved, modern: mode != "legacy" };
    let version = peer.client.peer_info().map(|info| info.protocol_version.to_string());
    if (version.as_deref() == Some("2026-07-28")) != peer.modern {
        return Err(format!("speaks {version:?}").into());
    }
    while let Some(line) = tokio::task::spawn_blocking(|| io::stdin().lines().next()).await? {
        peer.drain();
        let check = serde_json::from_str(&line?)?;
        let saw =
            peer.check(&check).await.unwrap_or_else(|error| json!({"failed": error.to_string()}));
        println!("{saw}");
    }
    peer.client.cancel().await?;
    if let Some(mut child) = child {
        child.wait().await?;
    }
    Ok(())
}

/// What nobody asked for, and what servers ask, by its kind; a question carries nothing. The second
/// says that our root is elsewhere by now.
struct Ears(mpsc::UnboundedSender<(&'static str, Value)>, Arc<AtomicBool>);

impl Ears {
    fn hear(&self, kind: &'static str, what: Value) {
        let _ = self.0.send((kind, what));
    }
}

impl ClientHandler for Ears {
    fn get_info(&self) -> ClientConfig {
        from_value(json!({
            "protocolVersion": "2025-11-25",
            "clientInfo": { "name": "crossing", "version": "1" },
            "capabilities": { "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": { "listChanged": true },
                              "extensions": { "io.modelcontextprotocol/tasks": {} } },
        }))
        .expect("a configuration")
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        _: Request,
    ) -> Answer<ElicitResult> {
        let (kind, result) = match params {
            ElicitRequestParams::UrlElicitationParams { .. } => {
                ("page", json!({"action": "accept"}))
            }
            _ => ("form", json!({"action": "accept", "content": {"name": "Ann"}})),
        };
        self.hear(kind, Value::Null);
        answer(result)
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: Request,
    ) -> Answer<CreateMessageResult> {
        self.hear("sample", Value::Null);
        answer(
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}}),
        )
    }

    async fn list_roots(&self, _: Request) -> Answer<ListRootsResult> {
        self.hear("roots", Value::Null);
        let root = if self.1.load(Ordering::Relaxed) { CHANGED } else { "file:///r" };
        answer(json!({"roots": [{ "uri": root }]}))
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: Notice) {
        self.hear("progress", json!(params.progress));
    }

    async fn on_logging_message(&self, params: LoggingMessageNotificationParam, _: Notice) {
        self.hear("log", params.data);
    }

    async fn on_resource_updated(&self, params: ResourceUpdatedNotificationParam, _: Notice) {
        self.hear("updated", json!(params.uri));
    }

    async fn on_resource_list_changed(&self, _: Notice) {
        self.hear("changed", json!("resources"));
    }

    async fn on_tool_list_changed(&self, _: Notice) {
        self.hear("changed", json!("tools"));
    }
}

type Answer<T> = std::result::Result<T, ErrorData>;

fn answer<T: serde::de::DeserializeOwned>(result: Value) -> Answer<T> {
    from_value(result).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

struct Peer {
    client: RunningService<RoleClient, Ears>,
    heard: mpsc::UnboundedReceiver<(&'static str, Value)>,
    moved: Arc<AtomicBool>,
    modern: bool,
}

impl Peer {
    async fn check(&mut self, what: &Value) -> Result<Value> {
        let client = &self.client;
        match what["check"].as_str().ok_or("a check has a name")? {
            "prompt" => {
                let listed = to_value(client.list_all_prompts().await?)?;
                let params =
                    from_value(json!({"name": what["name"], "arguments": what["arguments"]}))?;
                let got = to_value(client.get_prompt(params).await?)?;
                Ok(
                    json!({"listed": each(&listed, "name"), "text": got["messages"][0]["content"]["text"]}),
                )
            }
            "resource" => {
                let listed = to_value(client.list_all_resources().await?)?;
                Ok(json!({"listed": each(&listed, "uri"), "text": self.read(what).await?}))
            }
            "template" => {
                let listed = to_value(client.list_all_resource_templates().await?)?;
                Ok(json!({"listed": each(&listed, "uriTemplate"), "text": self.read(what).await?}))
            }
            "completion" => {
                let [name, argument, typed] = [&what["name"], &what["argument"], &what["typed"]];
                let params = json!({"ref": {"type": "ref/prompt", "name": name},
                                    "argument": {"name": argument, "value": typed}});
                Ok(json!({"values": client.complete(from_value(params)?).await?.completion.values}))
            }
            "updated" => self.updated(what).await,
            "list_changed" => self.list_changed(what).await,
            "progress" => {
                self.call(what).await?;
                // Each notification has a task of its own, which the answer may overtake.
                let mut notes = vec![self.until("progress").await?, self.until("progress").await?];
                let more = self.drain().into_iter().filter(|(kind, _)| *kind == "progress");
                notes.extend(more.map(|(_, progress)| progress));
                Ok(json!({ "notes": notes }))
            }
            "cancel" => self.cancel(what).await,
            "trace" => {
                let mut params = self.params(what)?;
                let meta = params.meta.get_or_insert_default();
                meta.set_traceparent(TRACEPARENT);
                meta.set_tracestate(TRACESTATE);
                meta.set_baggage(BAGGAGE);
                let result = to_value(client.call_tool(params).await?)?;
                let sent = json!({"traceparent": TRACEPARENT, "tracestate": TRACESTATE, "baggage": BAGGAGE});
                Ok(json!({"sent": sent, "text": each(&result["content"], "text").join("\n")}))
            }
            "task" => self.task(what, false).await,
            "task_withdrawn" => self.task(what, true).await,
            "roots_changed" => self.roots_changed(what).await,
            "log" => {
                if !self.modern {
                    client.set_level(from_value(json!({"level": "info"}))?).await?;
                }
                self.call(what).await?;
                Ok(json!({"logs": [self.until("log").await?]}))
            }
            _ => {
                let text = self.call(what).await?;
                let asked = self.drain().into_iter().filter(|(_, what)| what.is_null());
                Ok(json!({"text": text, "asked": asked.map(|(kind, _)| kind).collect::<Vec<_>>()}))
            }
        }
    }

    async fn read(&self, what: &Value) -> Result<Value> {
        let params = from_value(json!({"uri": what["uri"]}))?;
        Ok(to_value(self.client.read_resource(params).await?)?["contents"][0]["text"].take())
    }

    async fn updated(&mut self, what: &Value) -> Result<Value> {
        if self.modern {
            let filter = from_value(json!({"resourceSubscriptions": [what["uri"]]}))?;
            let mut events = self.client.listen(filter).await?;
            self.switch_on(what).await?;
            return match event(&mut events).await? {
                ServerNotification::ResourceUpdatedNotification(it) => {
                    Ok(json!({"uri": it.params.uri}))
                }
                other => Err(format!("not an update: {other:?}").into()),
            };
        }
        self.client.subscribe(from_value(json!({"uri": what["uri"]}))?).await?;
        self.switch_on(what).await?;
        Ok(json!({"uri": self.until("updated").await?}))
    }

    /// One of the servers has a switch for its updates, which a client before us may have left on.
    async fn switch_on(&self, what: &Value) -> Result<()> {
        while self.call(what).await?.contains("Stopped") {}
        Ok(())
    }

    async fn list_changed(&mut self, what: &Value) -> Result<Value> {
        if self.modern {
            let which = what["which"].as_str().unwrap_or_default();
            let filter = from_value(json!({format!("{which}ListChanged"): true}))?;
            let mut events = self.client.listen(filter).await?;
            self.call(what).await?;
            return match event(&mut events).await? {
                ServerNotification::ToolListChangedNotification(_) => {
                    Ok(json!({"changed": "tools"}))
                }
                ServerNotification::ResourceListChangedNotification(_) => {
                    Ok(json!({"changed": "resources"}))
                }
                other => Err(format!("not a list: {other:?}").into()),
            };
        }
        self.call(what).await?;
        loop {
            let changed = self.until("changed").await?;
            if changed == what["which"] {
                return Ok(json!({"changed": changed}));
            }
        }
    }

    async fn cancel(&mut self, what: &Value) -> Result<Value> {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(self.params(what)?));
        let options = PeerRequestOptions::no_options();
        let call = self.client.send_cancellable_request(request, options).await?;
        self.until("progress").await?;
        call.cancel(None).await?;
        Ok(json!({}))
    }

    /// The SDK's own way with tasks: `call_tool_once`, and then one asks how it stands.
    async fn task(&self, what: &Value, withdraws: bool) -> Result<Value> {
        let begun = match self.client.call_tool_once(self.params(what)?).await? {
            CallToolResponse::Task(begun) => begun.task.task_id,
            CallToolResponse::Complete(result) => {
                let text = each(&to_value(result)?["content"], "text").join("\n");
                return Ok(json!({"text": text, "asked": [], "tasks": []}));
            }
            other => return Err(format!("neither a task nor its result: {other:?}").into()),
        };
        if withdraws {
            self.client.cancel_task(CancelTaskParams::new(&begun)).await?;
        }
        let (mut asked, mut tasks) = (Vec::new(), Vec::new());
        loop {
            let task = to_value(self.client.get_task(GetTaskParams::new(&begun)).await?)?;
            tasks.push(task["status"].clone());
            match task["status"].as_str() {
                Some("completed") => {
                    let text = each(&task["result"]["content"], "text").join("\n");
                    return Ok(json!({"text": text, "asked": asked, "tasks": tasks}));
                }
                Some("cancelled" | "failed") => {
                    return Ok(json!({"text": "", "asked": asked, "tasks": tasks}));
                }
                _ => {}
            }
            for key in task["inputRequests"].as_object().into_iter().flat_map(|all| all.keys()) {
                asked.push("form");
                let said = json!({"action": "accept", "content": {"name": "Ann"}});
                let said = [(key.clone(), said)].into();
                self.client.update_task(UpdateTaskParams::new(&begun, said)).await?;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn roots_changed(&mut self, what: &Value) -> Result<Value> {
        self.call(what).await?;
        self.drain();
        self.moved.store(true, Ordering::Relaxed);
        self.client.notify_roots_list_changed().await?;
        let text = loop {
            let text = self.call(what).await?;
            if text.contains(CHANGED) {
                break text;
            }
            sleep(Duration::from_millis(100)).await;
        };
        self.moved.store(false, Ordering::Relaxed);
        let asked: Vec<_> = self
            .drain()
            .into_iter()
            .filter(|(_, what)| what.is_null())
            .map(|(kind, _)| kind)
            .collect();
        Ok(json!({"text": text, "asked": asked}))
    }

    async fn call(&self, what: &Value) -> Result<String> {
        let result = to_value(self.client.call_tool(self.params(what)?).await?)?;
        Ok(each(&result["content"], "text").join("\n"))
    }

    fn params(&self, what: &Value) -> Result<CallToolRequestParams> {
        let call = json!({"name": what["tool"], "arguments": what["arguments"]});
        let mut params: CallToolRequestParams = from_value(call)?;
        if self.modern {
            params.meta.get_or_insert_default().set_log_level(LoggingLevel::Info);
        }
        Ok(params)
    }

    async fn until(&mut self, kind: &str) -> Result<Value> {
        loop {
            let (heard, what) = self.heard.recv().await.ok_or("the client is gone")?;
            if heard == kind {
                return Ok(what);
            }
        }
    }

    fn drain(&mut self) -> Vec<(&'static str, Value)> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

async fn event(events: &mut Subscription) -> Result<ServerNotification> {
    Ok(events.next().await?.ok_or("the stream is over")?)
}

fn each<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|one| one[member].as_str()).collect()
}
