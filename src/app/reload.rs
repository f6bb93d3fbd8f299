//! The one task that reloads: read → check → build aside → record → publish → let the old go.
//!
//! Owns the configuration that runs. Requests that came before a reload begins are all answered by
//! it; those that come while it runs, by the next one. Whatever fails, before the last step nothing
//! has changed. Does not know who asks, nor what servers are.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::service::Pulse;
use crate::{
    audit::{Audit, Record},
    config::{self, Config, ConfigErrors, Difference, Digests},
    domain::{
        Generation, ServerName,
        limits::{RELOAD_MISTAKES_MAX, RELOADS_WAITING_MAX},
    },
    fleet::Fleet,
    front::{Applied, Refused, ReloadAsk, Reloaded, Standing},
    gate::Rules,
    sys::{self, Manager},
};

/// The task's own state.
pub(super) struct Reloader {
    pub(super) running: Arc<Config>,
    /// As they were compiled.
    pub(super) rules: Arc<Rules>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) audit: Audit,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) manager: Manager,
    pub(super) pulse: Pulse,
}

/// Who waits for one reload.
#[derive(Default)]
struct Waiting {
    who: Vec<String>,
    told: Vec<oneshot::Sender<Arc<Reloaded>>>,
}

impl Reloader {
    /// Runs until nobody can ask any more.
    pub(super) async fn run(self, asks: mpsc::Receiver<ReloadAsk>) {
        Box::pin(self.pulse.clone().carry(self.serve(asks))).await;
    }

    async fn serve(mut self, mut asks: mpsc::Receiver<ReloadAsk>) {
        let mut batch = Vec::new();
        while asks.recv_many(&mut batch, RELOADS_WAITING_MAX).await > 0 {
            let (mut waiting, mut planning) = (Waiting::default(), Vec::new());
            for ask in batch.drain(..) {
                match ask {
                    ReloadAsk::Plan { told } => planning.push(told),
                    ReloadAsk::Reload { who, told } => waiting.add(who, told),
                }
            }
            for told in planning {
                let plan =
                    self.next().await.map(|next| Difference::between(&self.running, &next.0));
                // Whoever went away does not want to know.
                drop(told.send(plan));
            }
            if !waiting.who.is_empty() {
                self.manager.reloading();
                Box::pin(self.reload(waiting)).await;
                self.manager.ready();
            }
        }
    }

    async fn reload(&mut self, Waiting { who, told }: Waiting) {
        let who = who.join(", ");
        let next = self.next().await;
        let seen = match &next {
            Ok((next, _)) => Some(next.digest),
            Err(errors) => errors.digest,
        };
        let result = match next {
            Ok(next) => self.take(&who, next).await,
            Err(errors) => Err(Refused::File(errors)),
        };
        match &result {
            Ok(_) => {
                self.fleet.read_pins().await;
                self.fleet.retry_now();
            }
            Err(refused) => self.note_refusal(&who, refused, seen.as_ref()).await,
        }
        let done = Arc::new(Reloaded { at_us: sys::unix_micros(), who, result });
        self.standing.send_modify(|standing| {
            standing.seen = seen;
            standing.note(&done, self.running.digest);
        });
        for told in told {
            drop(told.send(done.clone()));
        }
    }

    /// What the file says now. Reading it may take a while: secrets are read as well.
    async fn next(&self) -> Result<(Config, Rules), ConfigErrors> {
        let _step = self.pulse.begin();
        let running = self.running.clone();
        let read = spawn_blocking(move || {
            let next = config::load_next(&running)?;
            let rules = Rules::compile(&next)?;
            Ok((next, rules))
        })
        .await;
        read.unwrap_or_else(|_| {
            warn!("The check of servers.toml failed: a defect of the gateway");
            Err(ConfigErrors { errors: Vec::new(), warnings: Vec::new(), digest: None })
        })
    }

    async fn take(
        &mut self,
        who: &str,
        (next, mut rules): (Config, Rules),
    ) -> Result<Applied, Refused> {
        let difference = Difference::between(&self.running, &next);
        let standing = self.standing.borrow().generation;
        if difference.is_empty() && next.digest == self.running.digest {
            info!(who, generation = %standing, "Nothing to reload");
            let (published, down) = (false, Vec::new());
            return Ok(Applied { generation: standing, published, difference, down });
        }
        let generation = standing.next();
        rules.follow(&self.rules);
        let rules = Arc::new(rules);
        let desired = (next.servers.clone(), rules.clone());
        let mut aside = self.fleet.build(generation, desired).await;
        // Now that it is known what the servers have.
        let mut errors = aside.bind();
        errors.extend(aside.rules().policies().run(&next.policies.cases));
        if !errors.is_empty() {
            let (warnings, digest) = (next.warnings, Some(next.digest));
            return Err(Refused::File(ConfigErrors { errors, warnings, digest }));
        }
        self.record(who, (&next, generation), &difference).await?;
        let down = self.fleet.publish(aside).await;
        for warning in &next.warnings {
            warn!(%warning, "About the new configuration");
        }
        for (server, why) in &down {
            warn!(server.id = %server, why, "Server is not ready after the reload");
        }
        let (added, removed) = (difference.added.len(), difference.removed.len());
        let changed = difference.changed.len();
        info!(who, %generation, added, removed, changed, "Configuration is reloaded");
        (self.running, self.rules) = (Arc::new(next), rules);
        Ok(Applied { generation, published: true, difference, down })
    }

    /// On record before anything changes.
    async fn record(
        &self,
        who: &str,
        (next, generation): (&Config, Generation),
        difference: &Difference,
    ) -> Result<(), Refused> {
        let changed = difference.changed.iter().map(|change| &change.server);
        let record = Record::Reloaded {
            who,
            before: &self.running.digest,
            config: &next.digest,
            generation,
            added: &names(difference.added.iter()),
            removed: &names(difference.removed.iter()),
            changed: &names(changed),
        };
        let recorded = self.audit.append(record).await;
        recorded.map(drop).map_err(|error| Refused::Audit(error.to_string()))
    }

    async fn note_refusal(&self, who: &str, refused: &Refused, digest: Option<&Digests>) {
        let generation = self.standing.borrow().generation;
        let why = match refused {
            Refused::File(errors) => {
                for error in errors.errors.iter().take(RELOAD_MISTAKES_MAX) {
                    warn!(%error, "The configuration has a mistake");
                }
                errors.errors.first().map(ToString::to_string).unwrap_or_default()
            }
            Refused::Audit(why) => why.clone(),
        };
        warn!(who, %generation, why, "Reload is refused; what was running stays");
        let record = Record::ReloadRefused { who, config: digest, generation, why: &why };
        if let Err(error) = self.audit.append(record).await {
            warn!(%error, "The refusal could not be put on record");
        }
    }
}

impl Waiting {
    fn add(&mut self, who: String, told: oneshot::Sender<Arc<Reloaded>>) {
        if !self.who.contains(&who) {
            self.who.push(who);
        }
        self.told.push(told);
    }
}

fn names<'a>(servers: impl Iterator<Item = &'a ServerName>) -> String {
    servers.map(ServerName::as_str).collect::<Vec<_>>().join(",")
}
