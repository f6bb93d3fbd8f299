//! `GET /admin/audit`: how far the record is, and how far it is signed.

use serde_json::{Value, json};

use crate::{audit::Heads, gate::Gate};

pub(in crate::front::admin) fn audit(gate: &Gate) -> Value {
    let Heads { size, signed } = gate.heads();
    let signed = signed.map(|signed| {
        json!({
            "size": signed.size,
            "root": signed.root,
            "epoch": signed.epoch,
            "at_us": signed.at_us,
            "checkpoint": signed.note,
        })
    });
    json!({ "healthy": gate.is_recording(), "size": size, "signed": signed })
}
