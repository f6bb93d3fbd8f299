//! Smooth weighted round-robin: turns in proportion to weights, and spread evenly.
//!
//! At each turn everybody who takes part earns its weight, the richest takes the turn and pays what
//! all have earned. So what all have together stays zero, and after as many turns as the weights
//! add up to everybody has had its exact share. Who is away for a while keeps what it has: were it
//! forgotten, some would get ever more than their share of the turns that they are there for.

/// What each replica has earned and not yet spent, by its id.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    credit: Vec<i64>,
}

impl Rotation {
    /// The position, among those who take part, of the one whose turn it is.
    pub(super) fn next(&mut self, weights: impl Iterator<Item = (u16, u32)>) -> Option<usize> {
        let mut total = 0_i64;
        let mut richest: Option<(usize, u16, i64)> = None;
        for (position, (id, weight)) in weights.enumerate() {
            let weight = i64::from(weight);
            total = total.saturating_add(weight);
            let credit = self.of(id)?;
            *credit = credit.saturating_add(weight);
            if richest.is_none_or(|(_, _, most)| *credit > most) {
                richest = Some((position, id, *credit));
            }
        }
        let (position, id, credit) = richest?;
        *self.of(id)? = credit.saturating_sub(total);
        Some(position)
    }

    fn of(&mut self, id: u16) -> Option<&mut i64> {
        let index = usize::from(id);
        if self.credit.len() <= index {
            self.credit.resize(index.saturating_add(1), 0);
        }
        self.credit.get_mut(index)
    }
}
