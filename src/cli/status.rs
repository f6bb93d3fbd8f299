//! `status`: how the gateway, its servers and their replicas are, over the admin listener.
//!
//! Words what the gateway tells; knows and decides nothing itself.

use http::Method;
use serde_json::Value;

use super::{
    ConfigArg, Ending, Failure, say,
    service::{ask, engaged, show_stop, text},
};
use crate::sys;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this server, with its replicas and their last lines on standard error.
    server: Option<String>,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &Args) -> Result<Ending, Failure> {
    let status = ask(&args.config, Method::GET, "/admin/status", None)?;
    let is_stopped = status.get("stop").is_some_and(engaged);
    let told = match &args.server {
        Some(name) => one(&status, name)?,
        None => status,
    };
    match (args.json, &args.server) {
        (true, _) => say(&told.to_string()),
        (false, Some(_)) => show_whole(&told),
        (false, None) => show(&told),
    }
    Ok(if is_stopped { Ending::Stopped } else { Ending::Fine })
}

/// The server of that name; those that had its name before and are not gone stand in it.
fn one(status: &Value, name: &str) -> Result<Value, Failure> {
    let all = || list(status, "servers").chain(list(status, "draining"));
    let mut named = all().filter(|server| text(server, "name") == name).cloned();
    let Some(mut server) = named.next() else {
        let known: Vec<_> = all().map(|server| text(server, "name")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let told = format!("no server `{name}` is running; there is: {known}");
        return Err(Failure::new(Ending::SaidNo, told));
    };
    if let Some(server) = server.as_object_mut() {
        server.insert("draining".to_owned(), named.collect());
    }
    Ok(server)
}

fn show(status: &Value) {
    let stop = status.get("stop").cloned().unwrap_or_default();
    let audit = status.pointer("/audit/healthy").and_then(Value::as_bool).unwrap_or(false);
    say(&format!(
        "portcullis {} · generation {} · {} tools · {} in flight · {} sessions · audit {}",
        text(status, "version"),
        number(status, "generation"),
        number(status, "tools"),
        number(status, "in_flight"),
        number(status, "sessions"),
        if audit { "healthy" } else { "FAILED" },
    ));
    if engaged(&stop) {
        show_stop(&stop);
    }
    show_witness(status);
    show_troubles(status);
    show_refusal(status);
    list(status, "servers").chain(list(status, "draining")).for_each(show_server);
}

/// Who cosigns the audit, and whether that goes well.
fn show_witness(status: &Value) {
    let Some(witness) = status.pointer("/audit/witness") else { return };
    let (name, records) = (text(witness, "name"), number(witness, "records"));
    let alarm = witness.get("alarm").and_then(Value::as_bool).unwrap_or(false);
    let problem = match (text(witness, "problem"), alarm) {
        ("", _) => String::new(),
        (problem, true) => format!(" · ALARM: {problem}"),
        (problem, false) => format!(" · {problem}"),
    };
    say(&format!("audit witness {name} · {records} records cosigned{problem}"));
}

/// A refused reload is news until another one goes well.
/// What the gateway goes on without, on what it had before.
fn show_troubles(status: &Value) {
    for (key, what) in [
        ("tls", "the old certificate stays in force: the new files are not usable"),
        ("tokens", "the issuer's keys could not be read"),
    ] {
        let why = status.get(key).and_then(|one| one.get("trouble")).and_then(Value::as_str);
        if let Some(why) = why {
            say(&format!("{key}: {what}: {why}"));
        }
    }
}

fn show_refusal(status: &Value) {
    let last = status.pointer("/config/last_reload").cloned().unwrap_or_default();
    if text(&last, "result") != "refused" {
        return;
    }
    say(&format!("RELOAD REFUSED ({}): {}", text(&last, "who"), text(&last, "error")));
    for error in list(&last, "errors") {
        let (line, column) = (number(error, "line"), number(error, "column"));
        let (file, message) = (text(error, "file"), text(error, "message"));
        say(&format!("  {file}:{line}:{column}: {message}"));
    }
}

fn show_server(server: &Value) {
    let mut facts = vec![
        format!("for {}", age(server, "since_us")),
        format!("{} in flight", number(server, "in_flight")),
        format!("{} waiting", number(server, "waiting")),
        speed(server),
        counted(number(server, "restarts"), "restart"),
    ];
    let protocol = text(server, "protocol");
    if !protocol.is_empty() {
        facts.push(format!("{} tools · {protocol}", number(server, "tools")));
    }
    facts.extend(why(server));
    let (name, state) = (text(server, "name"), text(server, "state"));
    say(&format!("  {name:20} {state:9} {}", facts.join(" · ")));
    for problem in list(server, "problems").filter_map(Value::as_str) {
        say(&format!("    ! {problem}"));
    }
}

fn show_whole(server: &Value) {
    show_server(server);
    say(&format!("    of generation {}", number(server, "generation")));
    list(server, "replicas").for_each(show_replica);
    if let Some(own) = server.get("own_sessions").filter(|own| number(own, "open") > 0) {
        say(&format!("    {} of one caller each", counted(number(own, "open"), "session")));
        show_stderr(own);
    }
    list(server, "draining").for_each(show_whole);
}

fn show_replica(replica: &Value) {
    let (n, state) = (number(replica, "n"), text(replica, "state"));
    let mut facts = vec![
        format!("for {}", age(replica, "since_us")),
        format!("{} in flight", number(replica, "in_flight")),
        speed(replica),
        format!("breaker {}", text(replica, "breaker")),
        counted(number(replica, "restarts"), "restart"),
    ];
    facts.extend(replica.get("pid").and_then(Value::as_u64).map(|pid| format!("pid {pid}")));
    facts.extend(why(replica));
    say(&format!("    replica {n:<3} {state:9} {}", facts.join(" · ")));
    if let (Some(error), None) = (replica.get("last_error").filter(|e| e.is_object()), why(replica))
    {
        say(&format!("      last error, {} ago: {}", age(error, "at_us"), text(error, "why")));
    }
    for (at, fingerprint) in
        replica.get("credentials").and_then(Value::as_object).into_iter().flatten()
    {
        say(&format!("      {at}: {}", fingerprint.as_str().unwrap_or_default()));
    }
    show_stderr(replica);
}

fn show_stderr(of: &Value) {
    for line in list(of, "stderr").filter_map(Value::as_str) {
        say(&format!("      | {line}"));
    }
}

fn why(of: &Value) -> Option<String> {
    Some(of.get("why")?.as_str()?.to_owned())
}

/// What calls took lately.
fn speed(of: &Value) -> String {
    let us = |key: &str| of.get(key).and_then(Value::as_u64);
    match (us("p50_us"), us("p99_us")) {
        (Some(p50), Some(p99)) => format!("p50 {} · p99 {}", span(p50), span(p99)),
        (_, _) => "no calls lately".to_owned(),
    }
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Microseconds as people say them.
fn span(us: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", us / unit, us % unit / (unit / 10));
    match us {
        ..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", tenths(1_000)),
        1_000_000.. => format!("{} s", tenths(1_000_000)),
    }
}

/// How long ago that was.
fn age(of: &Value, key: &str) -> String {
    let seconds = sys::unix_micros().saturating_sub(number(of, key)) / 1_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        86_400.. => format!("{days} d {} h", hours % 24),
    }
}

fn number(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of.get(key).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{age, span, speed};
    use crate::sys;

    #[test]
    fn spans_and_ages_are_told_in_the_unit_that_fits() {
        let spans = [(0, "0 µs"), (999, "999 µs"), (1_050, "1.0 ms"), (99_999, "99.9 ms")];
        for (us, told) in spans.into_iter().chain([(1_000_000, "1.0 s"), (61_500_000, "61.5 s")]) {
            assert_eq!(span(us), told);
        }
        let ages = [(59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")];
        for (seconds, told) in ages {
            let of = json!({ "at": sys::unix_micros() - seconds * 1_000_000 - 500_000 });
            assert_eq!(age(&of, "at"), told);
        }
    }

    #[test]
    fn a_server_without_calls_has_no_speed() {
        assert_eq!(speed(&json!({ "p50_us": null, "p99_us": null })), "no calls lately");
        assert_eq!(
            speed(&json!({ "p50_us": 2_000, "p99_us": 31_000 })),
            "p50 2.0 ms · p99 31.0 ms"
        );
    }
}
