//! The log in systemd's journal, with its fields: the native protocol over its datagram socket.
//!
//! An event is one datagram, the fields of the spans around it included, so that
//! `journalctl CALL_ID=…` finds what belongs to a call. Promises that a journal which is slow, full
//! or gone holds nobody up: what it does not take at once goes to standard error as text.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Where it listens, unless `PORTCULLIS_JOURNAL_SOCKET` says otherwise.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest name of a field.
const NAME_BYTES_MAX: usize = 64;

pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

/// The fields of a span, as they are sent.
struct Fields(Vec<u8>);

impl Journal {
    /// The journal, if it is what reads our standard error.
    pub(super) fn reads_us() -> Option<io::Result<Self>> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        is_stream(io::stderr(), &stream).then(|| {
            let path = std::env::var_os("PORTCULLIS_JOURNAL_SOCKET");
            Self::open(path.map_or_else(|| PathBuf::from(SOCKET), PathBuf::from).as_path())
        })
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // The journal may be restarted, so each datagram looks for it; but it has to be there now.
        socket.send_to(&[], path)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    fn send(&self, datagram: &[u8]) {
        if self.socket.send_to(datagram, &self.path).is_err() {
            let text = String::from_utf8_lossy(datagram);
            let line = text.lines().collect::<Vec<_>>().join(" ");
            // There is nowhere else to say it.
            writeln!(io::stderr(), "{line}").unwrap_or_default();
        }
    }
}

/// Whether a file is the one that `JOURNAL_STREAM` names by device and inode.
fn is_stream(file: impl AsFd, named: &str) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else { return false };
    let named = named.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    named == Some((Ok(stat.st_dev), Ok(stat.st_ino)))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Vec::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        let mut fields = Fields(Vec::with_capacity(256));
        event.record(&mut fields);
        fields.put("PRIORITY", priority(*about.level()));
        fields.put("SYSLOG_IDENTIFIER", "portcullis");
        fields.put("TARGET", about.target());
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend_from_slice(&of_span.0);
            }
        }
        self.send(&fields.0);
    }
}

/// As syslog counts: 3 is an error, 7 is for debugging.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

impl Fields {
    /// In the form that takes any bytes where the plain one would not do.
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            let n_bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
            self.0.push(b'\n');
            self.0.extend_from_slice(&n_bytes.to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(&name(field.name()), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A string takes everything.
        write!(text, "{value:?}").unwrap_or_default();
        self.put(&name(field.name()), &text);
    }
}

/// Capital letters, digits and underscores, not in the journal's own room.
fn name(field: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    let name = field.chars().map(|c| if is_plain(c) { c.to_ascii_uppercase() } else { '_' });
    let name: String = name.skip_while(|c| !c.is_ascii_uppercase()).take(NAME_BYTES_MAX).collect();
    if name.is_empty() { "FIELD".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::{fs::MetadataExt, net::UnixDatagram},
        time::Duration,
    };

    use tracing_subscriber::layer::SubscriberExt;

    use super::{Journal, is_stream, name};

    #[test]
    fn an_event_is_one_datagram_with_the_fields_of_its_spans() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let layer = Journal::open(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let _call = tracing::info_span!("call", call.id = %"c-1").entered();
            tracing::warn!(server.id = "up", n = 7, why = "one\ntwo", "Server fell");
        });
        let mut bytes = [0; 4096];
        assert_eq!(journal.recv(&mut bytes).unwrap(), 0, "it asked whether anybody is there");
        let n = journal.recv(&mut bytes).unwrap();
        let long = [&b"WHY\n"[..], &7_u64.to_le_bytes(), b"one\ntwo\n"].concat();
        for part in [
            &b"MESSAGE=Server fell\n"[..],
            b"PRIORITY=4\n",
            b"SYSLOG_IDENTIFIER=portcullis\n",
            b"SERVER_ID=up\n",
            b"N=7\n",
            b"CALL_ID=c-1\n",
            b"TARGET=portcullis::telemetry::log::journal::tests\n",
            &long,
        ] {
            let is_there = memchr::memmem::find(&bytes[..n], part).is_some();
            assert!(is_there, "{}", String::from_utf8_lossy(&bytes[..n]));
        }
    }

    #[test]
    fn a_full_journal_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let layer = Journal::open(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        // It ends: that is the claim.
        tracing::subscriber::with_default(subscriber, || {
            // The queue of such a socket holds ten.
            for n in 0..40 {
                tracing::info!(n, "Said to somebody who does not listen");
            }
        });
        assert!(Journal::open(&dir.path().join("nobody")).is_err());
    }

    #[test]
    fn the_journal_reads_us_only_if_it_names_the_very_file() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let (one, other) = (File::create(one).unwrap(), File::create(other).unwrap());
        let about = one.metadata().unwrap();
        let named = format!("{}:{}", about.dev(), about.ino());
        assert!(is_stream(&one, &named) && !is_stream(&other, &named));
        for odd in ["", ":", "1", "x:y", &format!("{named}:1")] {
            assert!(!is_stream(&one, odd), "{odd}");
        }
    }

    #[test]
    fn names_are_those_that_the_journal_takes() {
        for (ours, theirs) in [
            ("message", "MESSAGE"),
            ("call.id", "CALL_ID"),
            ("_pid", "PID"),
            ("9_lives", "LIVES"),
            ("é", "FIELD"),
        ] {
            assert_eq!(name(ours), theirs);
        }
        assert_eq!(name(&"x".repeat(200)).len(), 64);
    }
}
