//! The composition root: builds every room from the configuration, runs, and ends in order.
//!
//! Start: latch, audit and the stop's thread before anything else, so that nothing can be called
//! unrecorded or run unstoppable; then servers and listeners. End: take nothing new, let calls
//! finish, end the servers, close the audit last. Any step that fails at start ends the process
//! with its reason.

mod errand;
mod estop;
mod reload;
mod service;
mod signals;
mod spans;
mod watch;
mod witness;

use std::{fs::File, io, path::Path, pin::pin, sync::Arc};

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::{
    audit::{self, Audit, AuditError, AuditThread, Record},
    config::{self, Config, Durability},
    domain::{
        Generation, ServerName,
        limits::{
            AUDIT_WITNESS_LAST_WAIT, ESTOP_SAVED_WAIT, SERVERS_GRACE, SPANS_TIMEOUT,
            STDIO_SETTLE_MAX, TIMER_TICK,
        },
    },
    fleet::Fleet,
    front::{Desk, Front, FrontError, Heart, Publisher, Reloads, Standing, open_door},
    gate::{self, Approvals, Gate, Latch, Marks, Pins, Rules},
    jail::{Jail, JailError},
    sys::{self, Inherited, Manager},
    upstream::Connector,
};
use errand::Errand;
use reload::Reloader;
use service::Pulse;
use signals::{Signal, Signals};

/// How applications reach us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On the configured listener.
    Listen,
    /// One client on our own standard input and output.
    Stdio,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot create the state directory `{path}`; set gateway.state_dir")]
    StateDir {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what decides who may come in is not ours alone")]
    Distrusted(#[from] sys::Distrust),
    #[error("the audit log cannot be opened; nothing may be called without it")]
    Audit(#[from] AuditError),
    #[error("servers cannot be spawned safely on this machine")]
    Jail(#[from] JailError),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    #[error("the watchdog cannot be fed")]
    Watchdog(#[source] io::Error),
    #[error("the emergency stop cannot be set up; nothing may be started without it")]
    Estop(#[source] io::Error),
}

/// Ticks for ever. A runtime without any near timer wakes its sleeping driver thread for every
/// deadline that a call sets, which costs more than the call's own work when little else runs.
async fn tick() {
    let mut ticks = tokio::time::interval(TIMER_TICK);
    loop {
        ticks.tick().await;
    }
}

/// Everything that runs.
struct App {
    front: Arc<Front>,
    fleet: Arc<Fleet>,
    gate: Gate,
    audit: Audit,
    reloads: Reloads,
    manager: Manager,
    /// What goes on beside the calls, until the end begins.
    chores: JoinSet<()>,
    spans: Errand,
    thread: AuditThread,
    witness: Errand,
}

/// Runs the gateway until it is told to end.
pub async fn run(
    config: Config,
    rules: Rules,
    mode: Mode,
    mut inherited: Inherited,
) -> Result<(), AppError> {
    let signals = Signals::listen().map_err(AppError::Signals)?;
    let mark = service::audit_mark(&mut inherited, Manager::find());
    let mut app = build(config.clone(), rules, mark).await?;
    app.chores.spawn(tick());
    app.chores.spawn(watch::watch(
        config.source.clone(),
        config.gateway.policies.clone(),
        app.reloads.clone(),
    ));
    let manager = app.manager;
    let admin = app.front.listen_admin(&config.gateway.admin, (manager, &mut inherited)).await?;
    info!(admin, "Admin listener is open");
    let why = match mode {
        Mode::Listen => {
            let endpoint =
                app.front.listen(&config.gateway.listen, (manager, &mut inherited)).await?;
            let scheme = if config.gateway.tls.is_some() { "https" } else { "http" };
            info!(endpoint = endpoint_url(scheme, &endpoint), "MCP endpoint is open");
            close_the_rest(inherited, manager);
            manager.ready();
            app.until_told(signals).await
        }
        Mode::Stdio => {
            let front = app.front.clone();
            let fleet = app.fleet.clone();
            let mut serving = pin!(async move {
                // Many hosts list the tools once, right after the start, and never again.
                let settled = tokio::time::timeout(STDIO_SETTLE_MAX, fleet.settled());
                if settled.await.is_err() {
                    warn!("Some servers are still starting; their tools are listed later");
                }
                front.serve_pipes(tokio::io::stdin(), tokio::io::stdout()).await;
            });
            tokio::select! {
                () = &mut serving => "client left",
                name = app.until_told(signals) => {
                    // Calls in flight get their grace; what is asked from now on is not read.
                    app.front.begin_drain();
                    serving.await;
                    name
                }
            }
        }
    };
    app.end(why).await;
    Ok(())
}

/// A socket that is bound and not served would let clients wait for ever.
fn close_the_rest(inherited: Inherited, manager: Manager) {
    for (name, at) in inherited.left() {
        warn!(
            name,
            at, "A socket that was handed over is closed: neither gateway.listen nor gateway.admin"
        );
        manager.forget(&name);
    }
}

fn endpoint_url(scheme: &str, address: &str) -> String {
    match address.strip_prefix("unix:") {
        Some(path) => format!("unix:{path} (path /mcp)"),
        None => format!("{scheme}://{address}/mcp"),
    }
}

async fn build(config: Config, rules: Rules, mark: Option<File>) -> Result<App, AppError> {
    let rules = Arc::new(rules);
    let state_dir = config.gateway.state_dir.clone();
    have_ours_alone(&config)?;
    let latch = Latch::open_with(&state_dir, &config.stop.memory);
    let settings = audit::Settings::of(&config).hold(mark);
    let (audit, mut thread) = Audit::open(&state_dir.join("audit"), settings)?;
    // Proves that the log takes records, whatever any log filter says.
    let started = Record::Started {
        version: env!("CARGO_PKG_VERSION"),
        config: &config.digest,
        generation: Generation(1),
    };
    audit.append(started).await?;
    let approvals =
        Approvals::open(&state_dir.join("approvals.json"), latch.clone(), audit.clone());
    let gate = Gate::new(latch.clone(), audit.clone()).ask_for_approvals(approvals.clone());
    let gate = match config.stop.denials_per_minute {
        Some(most) => gate.stop_runaways(most),
        None => gate,
    };
    let jail = Jail::start()?;
    let desk = guard(&config, &gate, &jail).map_err(AppError::Estop)?;
    let connector = Connector::new(jail, latch);
    let servers = config.servers.clone();
    let publisher = Publisher::new();
    let editions = publisher.clone();
    let publish = move |edition| editions.publish(edition);
    let names = config.gateway.names;
    let beside = config.source.parent().unwrap_or(Path::new("/"));
    let pins = Pins::open(gate::locate(beside, &state_dir), audit.clone());
    let fleet = Arc::new(Fleet::start(
        Generation(1),
        (servers, rules.clone()),
        (names, &connector),
        pins,
        publish,
    ));
    let first = Standing::first(Generation(1), config.digest, sys::unix_micros());
    let (reloads, asks, standing) = Reloads::new(first);
    let front =
        Front::new(&config, (gate.clone(), desk), fleet.clone(), (publisher, reloads.clone()))?;
    front.take_keys().await?;
    info!(servers = config.servers.len(), generation = %Generation(1), "Gateway is built");
    if config.audit.durability == Durability::Cached {
        warn!("Audit durability is `cached`: a power failure can lose the last records");
    }
    let witness = config.audit.witness.as_ref().zip(thread.take_witness());
    let witness = witness.map_or_else(Errand::default, |(at, witness)| {
        Errand::start(|is_last| witness::attend(at.url.clone(), witness, is_last))
    });
    let spans = spans::start(config.telemetry.clone());
    let running = Arc::new(config);
    let (fleet_of, audit_of) = (fleet.clone(), audit.clone());
    let manager = Manager::find();
    let (calls, pulse) = (Pulse::new(manager), Pulse::new(manager));
    service::watch(manager, calls.clone(), pulse.clone(), audit.clone())
        .map_err(AppError::Watchdog)?;
    let reloader =
        Reloader { running, rules, fleet: fleet_of, audit: audit_of, standing, manager, pulse };
    let mut chores = JoinSet::new();
    if manager.is_there() {
        chores.spawn(service::report(front.clone(), manager, calls));
    }
    chores.spawn(reloader.run(asks));
    chores.spawn(approvals.tend());
    Ok(App { front, fleet, gate, audit, reloads, manager, chores, spans, thread, witness })
}

/// There is a state directory, and nobody else could change what decides who may come in.
fn have_ours_alone(config: &Config) -> Result<(), AppError> {
    let path = config.gateway.state_dir.clone();
    sys::create_private_dir(&path).map_err(|source| AppError::StateDir { path, source })?;
    config::distrusted(config).into_iter().next().map_or(Ok(()), |why| Err(why.into()))
}

/// The stop works before anything is spawned.
fn guard(config: &Config, gate: &Gate, jail: &Jail) -> io::Result<Arc<Desk>> {
    let file = config.stop.heartbeat_file.clone();
    let heart = config.stop.heartbeat.map(|within| Arc::new(Heart::new(within, file)));
    estop::start(gate, jail, heart.clone())?;
    let (latch, jail) = (gate.latch().clone(), jail.clone());
    let is_stopped = move |server: &ServerName| latch.category(Marks::of_server(server)).is_some();
    let (places, settings) = (config.gateway.estop(), (config.stop.auto_resume, heart));
    let desk = Desk::new(gate.clone(), &places.token, settings, move || jail.has(&is_stopped))?;
    let desk = Arc::new(desk);
    if let Err(error) = open_door(&desk, &places.socket) {
        warn!(%error, "The stop has no door of its own; the admin listener serves it");
    }
    Ok(desk)
}

impl App {
    async fn until_told(&self, mut signals: Signals) -> &'static str {
        loop {
            match signals.next().await {
                Signal::End(name) => {
                    info!(signal = name, "Ending");
                    return name;
                }
                Signal::Reload => {
                    if self.reloads.ask("SIGHUP".to_owned()).is_err() {
                        warn!("Too many reloads wait already: SIGHUP is served by them");
                    }
                }
            }
        }
    }

    async fn end(mut self, why: &str) {
        self.manager.stopping();
        // A reload that is under way has not changed anything yet, or all of it.
        self.chores.shutdown().await;
        self.front.drain().await;
        self.fleet.shut_down(SERVERS_GRACE).await;
        self.audit.settle();
        if let Err(error) = self.audit.append(Record::Stopped { why }).await {
            warn!(%error, "The end could not be put on record");
        }
        self.thread.finish();
        let late = "The witness did not answer about the last checkpoint; it is asked at the start";
        self.witness.finish(AUDIT_WITNESS_LAST_WAIT, late).await;
        self.spans.finish(SPANS_TIMEOUT, "The last spans were not exported in time").await;
        self.gate.latch().saved(ESTOP_SAVED_WAIT);
    }
}
