//! The plan's text while a run lives: the person's file, the target's copy, and what agents may change of either.
//!
//! A *tracked* plan lies in the target's tree: its text there is the tip's text plus permitted edits of agents plus the
//! fields that orch writes; the person's working copy is only read, and counts as the person's edits on top. Any other
//! plan is one file outside git: agents' edits and settled fields are written into it as they come, each time only if it
//! still holds what was read just before. What an edit may contain is decided in `plan::diff`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};

use crate::crash::point;
use crate::diagnostic::Diagnostic;
use crate::plan::diff::{self, Permitted};
use crate::plan::edit::{TaskChange, write_statuses};
use crate::plan::{self, Plan, Strictness};
use crate::store::write_atomic;

/// How often a write into a file that a person edits at the same time is tried.
const WRITE_TRIES: u32 = 5;

/// The plan of a run.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    shown: String,
    tracked: Option<String>,
    strictness: Strictness,
    state: Mutex<State>,
    /// How many of orch's own updates of checkouts are under way: what they write is nobody's edit.
    updates: AtomicUsize,
}

/// While it lives, the person's copy is not looked at, because orch itself may be writing it.
#[derive(Debug)]
pub struct Update<'a>(&'a PlanFile);

impl Drop for Update<'_> {
    fn drop(&mut self) {
        self.0.updates.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct State {
    /// The tracked plan's text when the person's copy was first read: the base of the person's edits.
    origin: String,
    /// The person's file as last read, good or not.
    seen: String,
    /// The person's file as last read and good.
    person: String,
    /// The plan that holds.
    current: Arc<Plan>,
}

/// A plan that lies in the target's tree.
#[derive(Debug)]
pub struct Tracked {
    /// Its path there.
    pub path: String,
    /// Its text in the commit that the person's copy goes back to.
    pub at_head: String,
    /// Its text at the target's tip.
    pub at_target: String,
}

/// A plan that cannot be used, with what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{shown} does not check: {}", first_error(.diagnostics))]
pub struct Unusable {
    shown: String,
    /// Everything wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

fn first_error(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .first()
        .map_or_else(|| "no reason given".to_owned(), |d| d.message.clone())
}

/// What reading the person's file again brought.
#[derive(Debug)]
pub enum Look {
    /// Nothing new.
    Same,
    /// A new revision holds.
    Revised(Arc<Plan>),
    /// The edit does not check; the last good plan goes on.
    Rejected(Unusable),
}

impl PlanFile {
    /// Takes the plan whose file holds `person` now. `tracked` is its path in the target's tree and the text it has
    /// there, and in the commit that the person's copy goes back to.
    ///
    /// # Errors
    /// If the plan that follows from both does not check.
    pub fn new(
        path: PathBuf,
        shown: String,
        tracked: Option<Tracked>,
        person: String,
        strictness: Strictness,
    ) -> anyhow::Result<Self> {
        let (tracked, origin, tip) = match tracked {
            None => (None, person.clone(), None),
            Some(Tracked {
                path,
                at_head,
                at_target,
            }) => (Some(path), at_head, Some(at_target)),
        };
        let text = match &tip {
            Some(tip) => with_edit(&person, &origin, tip)?,
            None => person.clone(),
        };
        let current = checked(&shown, &text, strictness)?;
        let state = State {
            origin,
            seen: person.clone(),
            person,
            current,
        };
        Ok(Self {
            path,
            shown,
            tracked,
            strictness,
            state: Mutex::new(state),
            updates: AtomicUsize::new(0),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The file's path in the target's tree, if it is tracked there.
    pub fn tracked(&self) -> Option<&str> {
        self.tracked.as_deref()
    }

    /// Announces that orch brings checkouts up to the target, the person's copy of the plan among them.
    pub fn update(&self) -> Update<'_> {
        self.updates.fetch_add(1, Ordering::AcqRel);
        Update(self)
    }

    /// Takes note that a checkout was brought up to a commit in which the plan has the text `at_target`: what the
    /// person's copy holds now goes back to that.
    pub fn updated(&self, at_target: String) {
        let mut state = self.state();
        match std::fs::read_to_string(&self.path) {
            Ok(now) => {
                state.seen.clone_from(&now);
                state.person = now;
                state.origin = at_target;
            }
            Err(error) => {
                tracing::warn!(%error, "the plan's file cannot be read after an update of the checkout");
            }
        }
    }

    /// The plan that holds.
    pub fn current(&self) -> Arc<Plan> {
        Arc::clone(&self.state().current)
    }

    /// Reads the person's file again. `tip` gives the target's text of a tracked plan, if it is needed.
    pub fn look(&self, tip: impl FnOnce() -> Option<String>) -> Look {
        // Locked before it is read, so that nothing orch writes meanwhile is taken for a person's edit.
        let mut state = self.state();
        let Ok(bytes) = std::fs::read(&self.path) else {
            // A file that is being replaced, or was removed: the last good plan goes on, and the next look sees it.
            return Look::Same;
        };
        let is_updated = self.updates.load(Ordering::Acquire) > 0;
        if is_updated || bytes == state.seen.as_bytes() {
            return Look::Same;
        }
        let checked = plan::check(&self.shown, &bytes, self.strictness);
        state.seen = String::from_utf8_lossy(&bytes).into_owned();
        let Some(person) = checked.plan else {
            return Look::Rejected(Unusable {
                shown: self.shown.clone(),
                diagnostics: checked.diagnostics,
            });
        };
        let before = std::mem::replace(&mut state.person, person.text);
        match self.effective(&state, tip().as_deref()) {
            Ok(plan) => {
                state.current = Arc::clone(&plan);
                Look::Revised(plan)
            }
            Err(unusable) => {
                state.person = before;
                Look::Rejected(unusable)
            }
        }
    }

    /// The plan after the target's text changed to `tip`; it holds from here on.
    ///
    /// # Errors
    /// If it does not check; the last good plan goes on then.
    pub fn after_landing(&self, tip: &str) -> Result<Arc<Plan>, Unusable> {
        let mut state = self.state();
        let plan = self.effective(&state, Some(tip))?;
        state.current = Arc::clone(&plan);
        Ok(plan)
    }

    fn effective(&self, state: &State, tip: Option<&str>) -> Result<Arc<Plan>, Unusable> {
        let text = match tip {
            Some(tip) if self.tracked.is_some() => with_edit(&state.person, &state.origin, tip),
            _ => Ok(state.person.clone()),
        };
        let text = text.map_err(|e| Unusable {
            shown: self.shown.clone(),
            diagnostics: vec![Diagnostic::error(
                "plan-edit",
                format!("the edit does not fit the target's plan: {e:#}"),
            )],
        })?;
        checked(&self.shown, &text, self.strictness)
    }

    /// The target's new text of a tracked plan: the tip's, the agent's edit, and orch's fields.
    ///
    /// # Errors
    /// If the edit no longer fits the tip's text.
    pub fn compose(
        &self,
        tip: &str,
        edit: Option<&Permitted>,
        settled: &[TaskChange],
    ) -> anyhow::Result<String> {
        let write = |text: &str| {
            write_statuses(text, settled)
                .with_context(|| format!("cannot write the status into {}", self.shown))
        };
        let Some(edit) = edit.filter(|edit| !edit.is_empty()) else {
            // Proven to change only the fields that are written, so that it checks as the tip's text did. To check the
            // whole plan again at every landing would cost as much as the landing.
            return Ok(write(tip)?.text);
        };
        let edited = diff::apply(tip, edit)
            .context("the plan edit no longer fits the target's plan")?
            .text;
        let written = write(&edited)?;
        if let Err(unusable) = checked(&self.shown, &written.text, self.strictness) {
            bail!(unusable);
        }
        Ok(written.text)
    }

    /// Writes an agent's edit and settled fields into a plan outside the target. Returns the plan if it changed.
    ///
    /// # Errors
    /// If the file cannot be read or written, or keeps changing under the write.
    pub fn write_in_place(
        &self,
        edit: Option<&Permitted>,
        settled: &[TaskChange],
    ) -> anyhow::Result<Option<Arc<Plan>>> {
        let _update = self.update();
        for _ in 0..WRITE_TRIES {
            let read = std::fs::read_to_string(&self.path)
                .with_context(|| format!("cannot read {}", self.shown))?;
            let text = self.compose(&read, edit, settled)?;
            if text == read {
                return Ok(None);
            }
            let plan = checked(&self.shown, &text, self.strictness)?;
            let mut state = self.state();
            let unchanged = std::fs::read_to_string(&self.path).is_ok_and(|now| now == read);
            if unchanged {
                write_atomic(&self.path, text.as_bytes())?;
                point("plan-written");
                state.seen.clone_from(&text);
                state.person = text;
                state.current = Arc::clone(&plan);
                return Ok(Some(plan));
            }
        }
        bail!(
            "{} keeps changing while orch writes its status into it",
            self.shown
        )
    }

    /// What the person's working copy of a tracked plan should become when the target's text is published to it:
    /// nothing if git can do it, because the person has not edited it.
    ///
    /// # Errors
    /// If the target's changes do not fit the person's text.
    pub fn published(&self, at_target: &str) -> anyhow::Result<Option<(String, String)>> {
        let state = self.state();
        if state.person == state.origin {
            return Ok(None);
        }
        let new = with_edit(&state.person, &state.origin, at_target)?;
        Ok(Some((state.person.clone(), new)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the last assignment whole, so the state is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `text` with what was changed from `from` to `to`.
fn with_edit(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    if text == from || from == to {
        return Ok(if from == to { text } else { to }.to_owned());
    }
    let edit = diff::difference(from, to)?;
    Ok(diff::apply(text, &diff::landed(edit))?.text)
}

fn checked(shown: &str, text: &str, strictness: Strictness) -> Result<Arc<Plan>, Unusable> {
    let checked = plan::check(shown, text.as_bytes(), strictness);
    checked.plan.map(Arc::new).ok_or_else(|| Unusable {
        shown: shown.to_owned(),
        diagnostics: checked.diagnostics,
    })
}
