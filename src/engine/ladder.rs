//! The model ladder: which model an attempt gets.

use super::policy::Ladder;
use crate::plan::bounds::is_called;

impl Ladder {
    /// The model of the next attempt of a task that asks for `declared` and has failed `failures` times in ways that a
    /// better model could mend; none leaves the choice to the agent program.
    ///
    /// What is declared is a floor: nothing here ever chooses less. A model that is not on the ladder stays as it is.
    pub fn model(&self, declared: Option<&str>, failures: u32) -> Option<String> {
        let asked = || declared.map(str::to_owned);
        if !self.enabled {
            return asked();
        }
        let lowest = declared.or(self.starting.as_deref())?;
        let (Some(floor), Some(start)) = (
            self.rung(lowest),
            self.rung(self.starting.as_deref().unwrap_or(lowest)),
        ) else {
            return Some(lowest.to_owned());
        };
        let top = self.max.as_deref().and_then(|max| self.rung(max));
        let top = top.unwrap_or(self.models.len() - 1);
        let first = floor.max(start.min(top));
        let steps = (failures / self.escalate_after.max(1)) as usize;
        let rung = first.saturating_add(steps).min(top).max(first);
        if rung == floor {
            // Perhaps a full name of that rung.
            return Some(lowest.to_owned());
        }
        self.models.get(rung).cloned()
    }

    /// Whether a model is on the ladder.
    pub fn has(&self, model: &str) -> bool {
        self.rung(model).is_some()
    }

    fn rung(&self, model: &str) -> Option<usize> {
        self.models.iter().position(|name| is_called(model, name))
    }
}
