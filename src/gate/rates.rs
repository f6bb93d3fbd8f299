//! Rates and quotas: how often who may call what.
//!
//! One limiter for each rate that is written down, with a cell for each principal where each has
//! its own. A call takes from every rate that it is under, and the first that has nothing left
//! refuses it and says when to come again. A reload goes on with the cells of rates that stay.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use crate::{
    config::{Config, ServerRates},
    domain::{Call, Principal, Rate, ServerName, Subject, ToolName, limits::RATE_CELLS_MAX},
};

/// The rates of one generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    limits: HashMap<Whose, Limit>,
}

/// Which calls count together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// All of a principal.
    Principal,
    /// All at a server.
    Server(ServerName),
    /// Those of a principal at a server.
    PrincipalAt(ServerName),
    /// Those of a principal of a tool.
    PrincipalOf(ServerName, ToolName),
}

#[derive(Clone, Debug)]
struct Limit {
    rate: Rate,
    /// The key is nobody where all count together.
    cells: Arc<DefaultKeyedRateLimiter<Option<Principal>>>,
}

impl Rates {
    pub(super) fn compile(config: &Config) -> Self {
        let mut rates = Self::default();
        rates.add(Whose::Principal, config.limits.principal_rate);
        for server in &config.servers {
            let ServerRates { all, principal, tools } = &server.rates;
            let name = || server.name.clone();
            rates.add(Whose::Server(name()), *all);
            rates.add(Whose::PrincipalAt(name()), *principal);
            rates.add_tools(&server.name, tools);
        }
        rates
    }

    fn add_tools(&mut self, server: &ServerName, tools: &BTreeMap<String, Rate>) {
        for (tool, rate) in tools {
            // Names of tools are checked where they are read.
            if let Ok(tool) = ToolName::parse(tool) {
                self.add(Whose::PrincipalOf(server.clone(), tool), Some(*rate));
            }
        }
    }

    fn add(&mut self, whose: Whose, rate: Option<Rate>) {
        let Some(rate) = rate else { return };
        let quota = Quota::with_period(rate.time() / rate.calls.get());
        // No time at all is the only one that cannot be.
        let quota = quota.unwrap_or_else(|| Quota::per_second(rate.calls)).allow_burst(rate.calls);
        self.limits.insert(whose, Limit { rate, cells: Arc::new(RateLimiter::keyed(quota)) });
    }

    /// Goes on with what was used up before, where the rate is the same.
    pub(super) fn inherit(&mut self, before: &Self) {
        for (whose, limit) in &mut self.limits {
            if let Some(old) = before.limits.get(whose).filter(|old| old.rate == limit.rate) {
                limit.cells = old.cells.clone();
            }
        }
    }

    /// Counts the call; how long to wait if it is one too many.
    pub(super) fn take(&self, call: &Call) -> Result<(), Duration> {
        if self.limits.is_empty() {
            return Ok(());
        }
        let (server, principal) = (&call.server, &call.caller.principal);
        let tool = match &call.subject {
            Subject::Tool(tool) => Some(Whose::PrincipalOf(server.clone(), tool.clone())),
            Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_)
            | Subject::Task(..) => None,
        };
        // The narrowest first: what it refuses takes nothing from the others.
        let all = [
            tool.map(|tool| (tool, Some(principal))),
            Some((Whose::PrincipalAt(server.clone()), Some(principal))),
            Some((Whose::Principal, Some(principal))),
            Some((Whose::Server(server.clone()), None)),
        ];
        for (whose, key) in all.into_iter().flatten() {
            if let Some(limit) = self.limits.get(&whose) {
                limit.take(key.cloned())?;
            }
        }
        Ok(())
    }
}

impl Limit {
    fn take(&self, key: Option<Principal>) -> Result<(), Duration> {
        if self.cells.len() > RATE_CELLS_MAX {
            // Those that have everything left are as good as new.
            self.cells.retain_recent();
        }
        let checked = self.cells.check_key(&key);
        checked.map_err(|too_soon| too_soon.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::Rates;
    use crate::{
        config::{Config, Surroundings},
        domain::{Call, Caller, Kind, Principal, ServerName, Subject},
        gate::tests::call,
    };

    fn rates(tables: &str) -> Rates {
        let around = Surroundings::imagined(&[("HOME", "/home/op"), ("PATH", "/bin")]);
        let servers = "[servers.a]\ncommand = \"git-mcp\"\n[servers.b]\ncommand = \"git-mcp\"\n";
        let text = tables.replace("[a]", servers);
        let path = Path::new("/etc/servers.toml");
        Rates::compile(&Config::from_str_at(&text, path, &around).unwrap())
    }

    fn of(principal: &str, server: &str, tool: &str) -> Call {
        let call = call(tool, "{}");
        Call {
            caller: Caller { principal: Principal::new(principal), ..(*call.caller).clone() }
                .into(),
            server: ServerName::parse(server).unwrap(),
            subject: Subject::parse(Kind::Tool, tool).unwrap(),
            ..call
        }
    }

    /// `+` for each call that passes, `-` for each that does not.
    #[track_caller]
    fn check(rates: &Rates, calls: &[(&str, &str, &str)], want: &str) {
        let one = |(who, server, tool): &(&str, &str, &str)| {
            if rates.take(&of(who, server, tool)).is_ok() { '+' } else { '-' }
        };
        assert_eq!(calls.iter().map(one).collect::<String>(), want);
    }

    #[test]
    fn each_rate_counts_the_calls_it_is_about() {
        check(&rates("[a]"), &[("ann", "a", "t"); 9], "+++++++++");
        let both = [("ann", "a", "t"), ("ann", "b", "t"), ("ann", "a", "u"), ("bob", "a", "t")];
        check(&rates("[limits]\nprincipal_rate = \"2/d\"\n[a]"), &both, "++-+");
        let server = "[servers.a]\ncommand = \"git-mcp\"\nrate = ";
        let b = "\n[servers.b]\ncommand = \"git-mcp\"\n";
        let with = |rate: &str| rates(&format!("{server}{rate}{b}"));
        check(&with("{ all = \"2/d\" }"), &both, "+++-");
        check(&with("{ principal = \"1/d\" }"), &both, "++-+");
        check(&with("{ tools = { t = \"1/d\" } }"), &both, "++++");
        let again = [("ann", "a", "t"), ("ann", "a", "t"), ("ann", "b", "t"), ("bob", "a", "t")];
        check(&with("{ tools = { t = \"1/d\" } }"), &again, "+-++");
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let rates = rates("[limits]\nprincipal_rate = \"2/h\"\n[a]");
        check(&rates, &[("ann", "a", "t"); 2], "++");
        let wait = rates.take(&of("ann", "a", "t")).unwrap_err();
        let half_an_hour = Duration::from_secs(30 * 60);
        assert!(wait <= half_an_hour && wait > half_an_hour / 2, "{wait:?}");
    }

    #[test]
    fn a_reload_forgets_nothing_of_a_rate_that_stays() {
        let text = "[limits]\nprincipal_rate = \"1/d\"\n[a]";
        let before = rates(text);
        check(&before, &[("ann", "a", "t")], "+");
        let mut same = rates(text);
        same.inherit(&before);
        check(&same, &[("ann", "a", "t"), ("bob", "a", "t")], "-+");
        let mut other = rates("[limits]\nprincipal_rate = \"2/d\"\n[a]");
        other.inherit(&before);
        check(&other, &[("ann", "a", "t")], "+");
    }
}
