//! The vault: what is kept of arguments and results, beside the log and for no part of it.
//!
//! A record holds a commitment to its content; the vault holds the salt, without which nobody can
//! guess what was committed to, and the content in the form that the operator chose. Its files may
//! be deleted at any time: the log verifies without them. A thread of its own, so that nobody
//! waits for it; what it cannot keep is lost, said in the service log and refuses no call.

mod commit;
mod form;

use std::{
    fs::File,
    io, iter,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

pub(super) use commit::{Content, Payload, Salts, commitment, digest};
use form::formed;

use super::{
    log::{Disk, Place},
    record::hex_digits,
};
use crate::{
    config::Payloads,
    domain::limits::{AUDIT_VAULT_BATCHES_MAX, AUDIT_VAULT_NAP},
    wire::quote,
};

/// What the records of one batch committed to, and the segment that they are in.
struct Batch {
    segment: u64,
    payloads: Vec<Payload>,
}

/// The way into the vault; with the last one its thread ends.
#[derive(Debug)]
pub(super) struct Inlet(SyncSender<Batch>);

impl Inlet {
    /// Never waits: what there is no room for is lost.
    pub(super) fn put(&self, segment: u64, payloads: Vec<Payload>) {
        let n = payloads.len();
        if n > 0 && self.0.try_send(Batch { segment, payloads }).is_err() {
            tracing::warn!(n, "Arguments and results on record were not kept: the vault is behind");
        }
    }
}

struct Vault {
    place: Place,
    form: Payloads,
    /// Its own, because no fault of it is one of the log.
    disk: Disk,
    open: Option<(u64, File)>,
    is_failing: bool,
}

/// Starts the vault of one log.
pub(super) fn start(place: Place, form: Payloads) -> io::Result<(Inlet, JoinHandle<()>)> {
    let (inlet, batches) = sync_channel(AUDIT_VAULT_BATCHES_MAX);
    let (disk, open) = (Disk::default(), None);
    let vault = Vault { place, form, disk, open, is_failing: false };
    let thread = thread::Builder::new().name("vault".to_owned());
    Ok((Inlet(inlet), thread.spawn(move || vault.run(&batches))?))
}

impl Vault {
    fn run(mut self, batches: &Receiver<Batch>) {
        while let Ok(first) = batches.recv() {
            let (mut lines, mut of) = (Vec::new(), first.segment);
            for Batch { segment, payloads } in iter::once(first).chain(batches.try_iter()) {
                if segment != of {
                    self.keep(of, &lines);
                    lines.clear();
                    of = segment;
                }
                for payload in payloads {
                    self.line(&payload, &mut lines);
                }
            }
            self.keep(of, &lines);
            // Under load the audit's writer finds nobody asleep whom it would have to wake.
            thread::sleep(AUDIT_VAULT_NAP);
        }
    }

    fn keep(&mut self, segment: u64, lines: &[u8]) {
        let kept = self.write(segment, lines);
        if let Err(error) = &kept
            && !self.is_failing
        {
            tracing::error!(%error, "Arguments and results on record are not kept");
        }
        self.is_failing = kept.is_err();
        if self.is_failing {
            // What half of it is there stays a line by itself.
            self.open = None;
        }
    }

    /// One JSON object, in canonical form like the records.
    fn line(&self, payload: &Payload, out: &mut Vec<u8>) {
        let text = formed(&payload.content, self.form);
        let form = if text.is_some() { self.form } else { Payloads::None };
        let parts: [&[u8]; 6] = [
            br#"{"as":""#,
            form.as_str().as_bytes(),
            br#"","commit":""#,
            &hex_digits(&payload.commit),
            br#"","salt":""#,
            &hex_digits(&payload.salt),
        ];
        parts.into_iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'"');
        if let Some(text) = text {
            out.extend_from_slice(br#","text":"#);
            out.extend_from_slice(&quote(&text));
        }
        out.extend_from_slice(b"}\n");
    }

    fn write(&mut self, segment: u64, lines: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(number, _)| *number != segment) {
            self.open = None;
            self.disk.create_dir(&self.place.vaults())?;
            let file = self.disk.open_to_append(&self.place.vault(segment))?;
            if file.metadata()?.len() > 0 {
                // The last line may have no end.
                self.disk.write(&file, b"\n")?;
            }
            self.open = Some((segment, file));
        }
        self.open.iter().try_for_each(|(_, file)| self.disk.write(file, lines))
    }
}
