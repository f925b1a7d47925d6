//! The plan's text while a run lives: the person's file, the target's copy, and what agents may change of either.
//!
//! A *tracked* plan lies in the target's tree: its text there is the tip's text plus permitted edits of agents plus the
//! fields that orch writes; the person's working copy is only read, and counts as the person's edits on top. Any other
//! plan is one file outside git: agents' edits and settled fields are written into it as they come, each time only if it
//! still holds what was read just before. What an edit may contain is decided in `plan::diff`.

mod rules;

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};

use crate::crash::point;
use crate::diagnostic::Diagnostic;
use crate::digest::sha256_hex;
use crate::ids::ObjectId;
use crate::plan::Plan;
use crate::plan::diff::{self, Permitted};
use crate::plan::edit::{LastWritten, TaskChange};
use crate::store::{same_bytes, write_atomic};
pub use rules::{Rules, Unusable};

/// How often a write into a file that a person edits at the same time is tried.
const WRITE_TRIES: u32 = 5;

/// The plan of a run.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    shown: String,
    tracked: Option<String>,
    rules: Rules,
    state: Mutex<State>,
    /// One text at a time is written, and what is known of it serves the next write.
    written: Mutex<Known>,
    /// How many of orch's own updates of checkouts are under way: what they write is nobody's edit.
    updates: AtomicUsize,
}

/// What is known of the text that was written last.
#[derive(Debug)]
struct Known {
    last: LastWritten,
    /// The blob that holds it, once it is in git: then a landing on top of it need not read it.
    blob: Option<ObjectId>,
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
    origin: Arc<str>,
    /// The person's file as last read, good or not.
    seen: Seen,
    /// The person's file as last read and good.
    person: Arc<str>,
    /// The plan that holds.
    current: Arc<Plan>,
    /// Why the target's text could not be read when it was last needed, so that it is told once.
    undecided: Option<String>,
}

/// What the person's file held when it was last read.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(Arc<str>),
    /// No plan: bytes that are no text are not kept.
    Bytes(String),
    /// It could not be read, for this reason.
    Nothing(io::ErrorKind),
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
    /// The blob that holds that.
    pub blob: ObjectId,
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
    /// The file cannot be read; the last good plan goes on.
    Unreadable(io::Error),
    /// The file was edited, and the target's text that the edit belongs on cannot be read. The last good plan goes on, and
    /// the next look tries again.
    Undecided(anyhow::Error),
}

impl PlanFile {
    /// Takes the plan whose file holds `person` now, and what is known of that text. `tracked` is its path in the target's
    /// tree and the text it has there, and in the commit that the person's copy goes back to.
    ///
    /// # Errors
    /// If the plan that follows from both does not check.
    pub fn new(
        path: PathBuf,
        shown: String,
        tracked: Option<Tracked>,
        (person, known): (&Arc<Plan>, LastWritten),
        rules: Rules,
    ) -> anyhow::Result<Self> {
        let text = &person.text;
        let (tracked, origin, current, written) = match tracked {
            None => {
                let last = known;
                let known = Known { last, blob: None };
                (None, Arc::clone(text), Arc::clone(person), known)
            }
            Some(Tracked {
                path,
                at_head,
                at_target,
                blob,
            }) => {
                let effective = with_edit(text, &at_head, &at_target)?;
                let (current, known) = if *effective == **text {
                    (Arc::clone(person), known)
                } else {
                    rules.whole_to_write(&shown, &effective)?
                };
                // Read here, because it takes much memory for a moment: before there is a run to be kept beside it.
                let last = if *effective == *at_target {
                    known
                } else {
                    LastWritten::reading(&at_target).unwrap_or_else(|error| {
                        tracing::warn!("the first task that lands will tell it again: {error}");
                        LastWritten::default()
                    })
                };
                let blob = Some(blob);
                let known = Known { last, blob };
                (Some(path), shared(&at_head, text), current, known)
            }
        };
        let state = State {
            origin,
            seen: Seen::Text(Arc::clone(text)),
            person: Arc::clone(text),
            current,
            undecided: None,
        };
        Ok(Self {
            path,
            shown,
            tracked,
            rules,
            state: Mutex::new(state),
            written: Mutex::new(written),
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
    pub fn updated(&self, at_target: &Arc<str>) {
        let mut state = self.state();
        // Mostly the same text, which is not held twice to find that out.
        let same = File::open(&self.path).and_then(|file| same_bytes(file, at_target.as_bytes()));
        let now = same.and_then(|same| match same {
            true => Ok(Arc::clone(at_target)),
            false => std::fs::read_to_string(&self.path).map(|now| shared(&now, &state.person)),
        });
        match now {
            Ok(now) => {
                state.origin = Arc::clone(at_target);
                state.seen = Seen::Text(Arc::clone(&now));
                state.person = now;
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

    /// Reads the person's file again. `tip` gives the target's text of a tracked plan, if it is needed; none for another.
    pub fn look(&self, tip: impl FnOnce() -> anyhow::Result<Option<Arc<str>>>) -> Look {
        // Locked before it is read, so that nothing orch writes meanwhile is taken for a person's edit.
        let mut state = self.state();
        let read = state.seen.or_read(&self.path);
        if self.updates.load(Ordering::Acquire) > 0 {
            return Look::Same;
        }
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Look::Same,
            Err(error) => {
                let seen = Seen::Nothing(error.kind());
                let is_new = state.seen != seen;
                state.seen = seen;
                return if is_new {
                    Look::Unreadable(error)
                } else {
                    Look::Same
                };
            }
        };
        let checked = self.rules.check(&self.shown, &bytes);
        let seen = match std::str::from_utf8(&bytes) {
            Ok(_) => Seen::Text(Arc::clone(&checked.text)),
            Err(_) => Seen::Bytes(sha256_hex(&bytes)),
        };
        let Some(person) = checked.plan else {
            state.seen = seen;
            return Look::Rejected(Unusable {
                shown: self.shown.clone(),
                diagnostics: checked.diagnostics,
            });
        };
        if person.text == state.person {
            // The good plan is back: it holds all the time.
            state.seen = seen;
            return Look::Same;
        }
        let tip = match tip() {
            Ok(tip) => tip,
            // Nothing counts as seen, so that the next look reads the edit again.
            Err(error) => {
                let why = format!("{error:#}");
                if state.undecided.as_ref() == Some(&why) {
                    return Look::Same;
                }
                state.undecided = Some(why);
                return Look::Undecided(error);
            }
        };
        state.undecided = None;
        state.seen = seen;
        let before = std::mem::replace(&mut state.person, person.text);
        match self.effective(&state, tip.as_deref()) {
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
            _ => Ok(Cow::Borrowed(&*state.person)),
        };
        let text = text.map_err(|e| Unusable {
            shown: self.shown.clone(),
            diagnostics: vec![Diagnostic::error(
                "plan-edit",
                format!("the edit does not fit the target's plan: {e:#}"),
            )],
        })?;
        self.rules.whole(&self.shown, &text)
    }

    /// Checks what becomes of the copy of the plan that an agent was given by what it may change of it.
    ///
    /// # Errors
    /// If that is no plan of this run.
    pub fn admits(&self, given: &str, edit: &Permitted) -> anyhow::Result<()> {
        let edited = diff::apply(given, edit)?.text;
        self.rules.whole(&self.shown, &edited)?;
        Ok(())
    }

    /// The text of a plan with the agent's edit and orch's fields.
    fn compose(
        &self,
        tip: &str,
        edit: Option<&Permitted>,
        settled: &[TaskChange],
    ) -> anyhow::Result<String> {
        let mut known = self.known();
        known.blob = None;
        self.composed(&mut known.last, tip, edit, settled)
    }

    /// The target's new text of a tracked plan: the tip's, the agent's edit and orch's fields. The tip's is what the blob
    /// `tip` holds, which is read only if it is not the text that was written last: a run of thousands of tasks lands as
    /// often. `keep` puts the new text into git, and tells its blob. The inner error is that of composing.
    ///
    /// # Errors
    /// If the text cannot be read or kept.
    pub fn compose_onto<T>(
        &self,
        tip: &ObjectId,
        read: impl FnOnce() -> anyhow::Result<String>,
        edit: Option<&Permitted>,
        settled: &[TaskChange],
        keep: impl FnOnce(&str) -> anyhow::Result<(T, Option<ObjectId>)>,
    ) -> anyhow::Result<anyhow::Result<T>> {
        let mut known = self.known();
        let Known { last, blob } = &mut *known;
        let is_last = blob.take().as_ref() == Some(tip) && edit.is_none_or(Permitted::is_empty);
        let goes_on = is_last && last.write_on(settled);
        let composed;
        let text = match last.text().filter(|_| goes_on) {
            Some(text) => text,
            None => {
                composed = match self.composed(last, &read()?, edit, settled) {
                    Ok(text) => text,
                    Err(error) => return Ok(Err(error)),
                };
                &composed
            }
        };
        let (kept, written) = keep(text)?;
        *blob = written.filter(|_| last.text() == Some(text));
        Ok(Ok(kept))
    }

    fn composed(
        &self,
        last: &mut LastWritten,
        tip: &str,
        edit: Option<&Permitted>,
        settled: &[TaskChange],
    ) -> anyhow::Result<String> {
        let mut write = |text: &str| {
            last.write_statuses(text, settled)
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
        if let Err(unusable) = self.rules.side(&self.shown, &written.text) {
            bail!(unusable);
        }
        Ok(written.text)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What a panic left there is another text than the one to be written, or all there is to know of it.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
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
            let plan = self.rules.whole(&self.shown, &text)?;
            let mut state = self.state();
            let unchanged = std::fs::read_to_string(&self.path).is_ok_and(|now| now == read);
            if unchanged {
                write_atomic(&self.path, text.as_bytes())?;
                point("plan-written");
                state.seen = Seen::Text(Arc::clone(&plan.text));
                state.person = Arc::clone(&plan.text);
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
        Ok(Some((state.person.to_string(), new.into_owned())))
    }

    /// Whether the person has edited their working copy of a tracked plan.
    pub fn is_edited(&self) -> bool {
        let state = self.state();
        state.person != state.origin
    }

    /// The text that was written last, if it is the one that a blob holds: then it need not be read.
    pub fn written_as(&self, blob: &ObjectId) -> Option<Arc<str>> {
        let known = self.known();
        known
            .last
            .text()
            .filter(|_| known.blob.as_ref() == Some(blob))
            .map(Into::into)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the last assignment whole, so the state is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `text` with what was changed from `from` to `to`.
fn with_edit<'t>(text: &'t str, from: &str, to: &'t str) -> anyhow::Result<Cow<'t, str>> {
    if text == from || from == to {
        return Ok(if from == to { text } else { to }.into());
    }
    let edit = diff::difference(from, to)?;
    Ok(diff::apply(text, &diff::landed(edit))?.text.into())
}

/// A text as it is kept: once, where it is the same as another.
fn shared(text: &str, other: &Arc<str>) -> Arc<str> {
    if *text == **other {
        Arc::clone(other)
    } else {
        text.into()
    }
}

impl Seen {
    /// What a file holds, if it is something else. Files are looked at after every event, and mostly hold the same.
    fn or_read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if let Self::Text(text) = self
            && same_bytes(File::open(path)?, text.as_bytes())?
        {
            return Ok(None);
        }
        let bytes = std::fs::read(path)?;
        let is_same = match self {
            Self::Text(text) => text.as_bytes() == bytes,
            Self::Bytes(sha256) => *sha256 == sha256_hex(&bytes),
            Self::Nothing(_) => false,
        };
        Ok((!is_same).then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::anyhow;

    use super::*;
    use crate::plan::Strictness;

    fn text(name: &str) -> String {
        format!("sections:\n- id: s\n  name: S\n  tasks:\n  - {{id: a, name: {name}}}\n")
    }

    #[test]
    fn an_edit_is_taken_once_the_targets_text_can_be_read_again() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("plan.yaml");
        std::fs::write(&path, text("A")).expect("written");
        let rules = Rules {
            strictness: Strictness::AsWritten,
            roles: BTreeSet::new(),
            asks_for_gates: None,
        };
        let plan = rules.whole("plan.yaml", &text("A")).expect("a plan");
        let tracked = Tracked {
            path: "plan.yaml".to_owned(),
            at_head: text("A"),
            at_target: text("A"),
            blob: ObjectId::new("a".repeat(40)),
        };
        let file = PlanFile::new(
            path.clone(),
            "plan.yaml".to_owned(),
            Some(tracked),
            (&plan, LastWritten::default()),
            rules,
        );
        let file = file.expect("a plan");

        std::fs::write(&path, text("B")).expect("written");
        let unreadable = || Err(anyhow!("no such object"));
        assert!(matches!(file.look(unreadable), Look::Undecided(_)));
        assert!(matches!(file.look(unreadable), Look::Same), "told once");
        assert_eq!(&*file.current().tasks[0].name, "A");

        let Look::Revised(revised) = file.look(|| Ok(Some(text("A").into()))) else {
            panic!("the edit is taken");
        };
        assert_eq!(&*revised.tasks[0].name, "B");
    }
}
