//! The stop as the gate sees it: each step is taken at the latch, and then put on record.

use super::{Cause, Engaged, Gate, LiftError, Stop};
use crate::audit::{LatchStep, Record};

impl Gate {
    /// Stops what `cause` says and puts it on record, in this order.
    pub fn engage(&self, cause: Cause) -> Engaged {
        let engaged = self.latch.engage(cause);
        if let Engaged::Now(stop) = &engaged {
            self.record_engaged(stop);
        }
        engaged
    }

    /// The same if somebody has put the file `STOP` in place.
    pub fn heed_the_file(&self) {
        if let Some(Engaged::Now(stop)) = self.latch.heed_the_file() {
            self.record_engaged(&stop);
        }
    }

    fn record_engaged(&self, stop: &Stop) {
        let Stop { id, scope, category, who, why, .. } = stop;
        let category = category.number();
        tracing::warn!(id, %scope, category, who, why, "The emergency stop is engaged");
        self.record(LatchStep::Engaged, stop, who, why);
    }

    /// Takes the first of two steps back and puts it on record.
    pub fn reset(&self, id: &str, reason: &str, who: &str) -> Result<Stop, LiftError> {
        let stop = self.latch.reset(id, reason, who)?;
        self.record(LatchStep::Reset, &stop, who, reason);
        Ok(stop)
    }

    /// Permits calls again and puts it on record.
    pub fn resume(&self, id: &str, who: &str) -> Result<Stop, LiftError> {
        let stop = self.latch.resume(id, who)?;
        self.record(LatchStep::Resumed, &stop, who, "");
        Ok(stop)
    }

    fn record(&self, step: LatchStep, stop: &Stop, who: &str, why: &str) {
        let scope = stop.scope.to_string();
        self.audit.append_later(Record::Latch { step, id: &stop.id, scope: &scope, who, why });
    }

    /// Puts on record how a stop that was only tried out did.
    pub fn record_drill(&self, stop: &Stop, who: &str, figures: &str) {
        self.record(LatchStep::Drilled, stop, who, figures);
    }
}
