//! How the files of a commit, or of another tree, come into a gate slot, and what they are read back as.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use super::{GateError, Room, blocking};
use crate::crash::point;
use crate::driver::setup;
use crate::git::collect::collect;
use crate::git::left_out::Limits;
use crate::git::slot::{Filled, Start};
use crate::ids::ObjectId;

impl Room<'_> {
    /// Brings the slot to a commit, clean of everything that is not ignored, and makes it usable.
    pub(in crate::driver) async fn stand_at(&mut self, commit: &ObjectId) -> Result<(), GateError> {
        self.stand(commit, None).await
    }

    /// Whether it stands at a commit, with that commit's files.
    pub(in crate::driver) fn stands_at(&self, commit: &ObjectId) -> bool {
        matches!(&self.stands, Some((at, None)) if at == commit)
    }

    /// The same with the files of another tree on a commit.
    pub(in crate::driver) async fn stand(
        &mut self,
        commit: &ObjectId,
        files: Option<&ObjectId>,
    ) -> Result<(), GateError> {
        let anew = self.site.settings.verify_clean.value;
        self.made_usable(commit, files, anew).await
    }

    /// Brings the slot to a commit, and away with everything else that is in it: what tests of other trees have left.
    pub(in crate::driver) async fn stand_alone_at(
        &mut self,
        commit: &ObjectId,
    ) -> Result<(), GateError> {
        self.stand_alone(commit, None).await
    }

    /// The same with the files of another tree on a commit.
    pub(in crate::driver) async fn stand_alone(
        &mut self,
        commit: &ObjectId,
        files: Option<&ObjectId>,
    ) -> Result<(), GateError> {
        self.made_usable(commit, files, true).await
    }

    async fn made_usable(
        &mut self,
        commit: &ObjectId,
        files: Option<&ObjectId>,
        anew: bool,
    ) -> Result<(), GateError> {
        if self.fill(commit, files, anew).await? {
            self.set_up(files.unwrap_or(commit)).await?;
        }
        self.stands = Some((commit.clone(), files.cloned()));
        point("gate-ready");
        Ok(())
    }

    /// The same with nothing set up: for a command that makes files which the set-up may need.
    pub(in crate::driver) async fn stand_bare(
        &mut self,
        commit: &ObjectId,
        files: &ObjectId,
    ) -> Result<(), GateError> {
        let anew = self.site.settings.verify_clean.value;
        if self.fill(commit, Some(files), anew).await? {
            setup::forget(&self.tree()?)?;
        }
        self.stands = Some((commit.clone(), Some(files.clone())));
        Ok(())
    }

    /// Brings the files there; whether the slot is to be set up before gates can use it.
    async fn fill(
        &mut self,
        commit: &ObjectId,
        files: Option<&ObjectId>,
        anew: bool,
    ) -> Result<bool, GateError> {
        let site = Arc::clone(self.site);
        let mut slot = self.slot.take().context("the gate slot is lost")?;
        self.stands = None;
        let (commit_of, files_of) = (commit.clone(), files.cloned());
        let (slot, done) = blocking(move || {
            let mut prepare = || -> anyhow::Result<(Filled, bool)> {
                if anew {
                    setup::forget(&slot.tree())?;
                    slot.clear()?;
                }
                let start = files_of.as_ref().map_or(Start::Base, Start::Files);
                let filled = slot.prepare(&commit_of, start, &site.included)?;
                let base = files_of.as_ref().unwrap_or(&commit_of);
                let needs_setup = setup::is_due(&site, &slot.tree(), base, &filled)?;
                Ok((filled, needs_setup))
            };
            let done = prepare();
            (slot, done)
        })
        .await;
        self.slot = Some(slot);
        let (filled, needs_setup) = done?;
        let was_empty = !matches!(filled, Filled::Warm);
        self.berth.note_files(files.unwrap_or(commit), was_empty);
        Ok(needs_setup)
    }

    async fn set_up(&mut self, base: &ObjectId) -> Result<(), GateError> {
        setup::forget(&self.tree()?)?;
        for text in self.site.settings.setup_run.value.clone() {
            let timeout = self.site.settings.timeout.value;
            let ran = self.run_text(&text, &BTreeMap::new(), timeout).await?;
            let why = match (&ran.facts.fault, ran.facts.exit) {
                (Some(fault), _) => fault.clone(),
                (None, Some(0)) => continue,
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "a signal ended it".to_owned(),
            };
            return Err(GateError::Setup {
                command: text,
                why,
                dir: ran.dir,
                excerpt: ran.excerpt,
            });
        }
        setup::note_done(self.site, &self.tree()?, base)?;
        Ok(())
    }

    /// The files that stand there now, as a tree.
    pub(in crate::driver) async fn read_back(&mut self) -> Result<ObjectId, GateError> {
        let (commit, _) = self.stands.take().context("the gate slot stands nowhere")?;
        let mut slot = self.slot.take().context("the gate slot is lost")?;
        let (slot, read) = blocking(move || {
            let read = collect(&mut slot, &commit, Limits::default());
            (slot, read)
        })
        .await;
        self.slot = Some(slot);
        let read = read.context("cannot read what a command left in the gate slot")?;
        Ok(read.tree)
    }
}
