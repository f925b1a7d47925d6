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
        let Some(floor) = self.rung(lowest) else {
            return Some(lowest.to_owned());
        };
        let top = self.max.as_deref().and_then(|max| self.rung(max));
        let top = top.unwrap_or(self.models.len() - 1);
        let steps = (failures / self.escalate_after.max(1)) as usize;
        let rung = floor.saturating_add(steps).min(top).max(floor);
        if rung == floor {
            // Perhaps a full name of that rung.
            return Some(lowest.to_owned());
        }
        self.models.get(rung).cloned()
    }

    /// Why [`Self::model`] says what it says; nothing if the ladder is not used.
    pub fn why(&self, declared: Option<&str>, failures: u32) -> Option<String> {
        if !self.enabled {
            return None;
        }
        let model = self.model(declared, failures)?;
        let begins = match (declared, &self.starting) {
            (Some(declared), _) if !self.has(declared) => {
                return Some(format!(
                    "{model}, which the task asks for and is not on the ladder"
                ));
            }
            (Some(declared), _) => format!("the task asks for {declared}"),
            (None, Some(starting)) => format!("the ladder begins with {starting}"),
            (None, None) => "the task asks for none".to_owned(),
        };
        let counted = match failures {
            0 => "no failure".to_owned(),
            1 => "1 failure".to_owned(),
            n => format!("{n} failures"),
        };
        Some(format!(
            "{model}: {begins}, {counted} so far that a better model could mend; a rung up after each {}, up to {}",
            self.escalate_after,
            self.top()
        ))
    }

    /// The ladder itself: `haiku, sonnet, opus; from sonnet up to opus, a rung after each 2 failures`.
    pub fn in_words(&self) -> String {
        let from = self
            .starting
            .as_ref()
            .map_or_else(String::new, |starting| format!("from {starting} "));
        format!(
            "{}; {from}up to {}, a rung up for each {} of a task that a better model could mend",
            self.models.join(", "),
            self.top(),
            match self.escalate_after {
                1 => "failure".to_owned(),
                n => format!("{n} failures"),
            }
        )
    }

    fn top(&self) -> &str {
        let last = || self.models.last().map(String::as_str);
        self.max.as_deref().or_else(last).unwrap_or("none")
    }

    /// Whether a model is on the ladder.
    pub fn has(&self, model: &str) -> bool {
        self.rung(model).is_some()
    }

    fn rung(&self, model: &str) -> Option<usize> {
        self.models.iter().position(|name| is_called(model, name))
    }
}
