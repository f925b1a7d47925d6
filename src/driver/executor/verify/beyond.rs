//! What gates are asked beyond the landing commit itself: with the base's own files where a candidate changes protected
//! ones, and, for `red_green`, on the base with nothing but the candidate's tests.

use std::path::PathBuf;

use anyhow::Context;

use super::{Halt, Judging, Said, record};
use crate::driver::gates::GateError;
use crate::engine::verification::{GateRecord, GateResult, On};
use crate::git::tree::tree_with_paths_of;
use crate::ids::ObjectId;
use crate::plan::checks::{Checks, VerifyCommand};
use crate::verify::judge::judge;

/// What a landing commit changes, as far as more than its own tree is asked about it.
pub(super) struct Changed {
    /// Protected paths.
    pub(super) protected: Vec<PathBuf>,
    /// Files of tests that it holds.
    pub(super) tests: Vec<PathBuf>,
}

impl Judging<'_> {
    /// Asks the gates whatever else is to be known of a commit that has passed them.
    pub(super) async fn beyond(
        &mut self,
        checks: &Checks,
        changed: &Changed,
        said: &mut Said,
    ) -> Result<(), Halt> {
        if checks.wants_red() {
            self.red_without_the_change(checks, &changed.tests, said)
                .await?;
        }
        if !changed.protected.is_empty() {
            self.with_base_files(checks, &changed.protected, said)
                .await?;
        }
        Ok(())
    }

    /// A required gate must be red on the base with the candidate's tests and nothing else of it.
    async fn red_without_the_change(
        &mut self,
        checks: &Checks,
        tests: &[PathBuf],
        said: &mut Said,
    ) -> Result<(), Halt> {
        if tests.is_empty() {
            return Err(Halt::Red(
                "`red_green` asks for a test that fails without the change, and no file of tests was added or changed"
                    .to_owned(),
            ));
        }
        let files = self.mixed(&self.order.onto, &self.order.commit, tests)?;
        for command in checks.verify.iter().filter(|command| command.required) {
            let result = self.on(&files, On::NewTests, command, false, said).await?;
            if result == GateResult::Failed {
                return Ok(());
            }
        }
        Err(Halt::Red(
            "`red_green` asks for a test that fails without the change, and no required gate fails on the base with the \
             candidate's tests"
                .to_owned(),
        ))
    }

    /// The gates once more, with the base's files at the protected paths that the candidate changes.
    async fn with_base_files(
        &mut self,
        checks: &Checks,
        protected: &[PathBuf],
        said: &mut Said,
    ) -> Result<(), Halt> {
        let files = self.mixed(&self.order.commit, &self.order.onto, protected)?;
        let must_pass = self.site.settings.verify_require_base_files.value;
        for command in &checks.verify {
            let required = must_pass && command.required;
            let result = self
                .on(&files, On::BaseFiles, command, required, said)
                .await?;
            if required && !result.lets_land() {
                return Err(Halt::Red(format!(
                    "with the base's own gate files `{}` {}",
                    command.name,
                    result.in_words()
                )));
            }
        }
        Ok(())
    }

    /// The tree of one commit with what another has at some paths.
    fn mixed(&self, of: &ObjectId, from: &ObjectId, paths: &[PathBuf]) -> Result<ObjectId, Halt> {
        let repo = self
            .site
            .repo
            .open()
            .context("cannot open the repository")?;
        let mixed = tree_with_paths_of(&repo, of, from, paths);
        Ok(mixed.context("cannot put files of two trees together")?)
    }

    async fn on(
        &mut self,
        files: &ObjectId,
        on: On,
        command: &VerifyCommand,
        required: bool,
        said: &mut Said,
    ) -> Result<GateResult, Halt> {
        let base = self.known_base(command, &said.probes);
        let onto = self.order.onto.clone();
        if self.room.is_none() {
            self.at(None).await?;
        }
        let room = self.room.as_mut().context("the room was just taken")?;
        let record = match room.stand(&onto, Some(files)).await {
            Ok(()) => {
                let mut ran = room.run(command).await?;
                let mut judged = judge(command.fail_on, &ran.facts, base.as_ref(), true);
                if required && !judged.result.lets_land() && ran.among_leftovers {
                    room.stand_alone(&onto, Some(files)).await?;
                    ran = room.run(command).await?;
                    judged = judge(command.fail_on, &ran.facts, base.as_ref(), true);
                }
                record(command, &judged, &ran)
            }
            // Nobody meant these files to stand together: a set-up that fails there says nothing.
            Err(error @ GateError::Setup { .. }) => GateRecord {
                name: String::new(),
                command: command.hash(),
                argv: Vec::new(),
                required,
                result: GateResult::Broken,
                exit: None,
                ms: 0,
                counts: None,
                failures: Vec::new(),
                reused: false,
                detail: error.to_string(),
                on,
                alone: false,
                goal: command.is_goal,
            },
            Err(error) => return Err(error.into()),
        };
        let result = record.result;
        said.gates.push(GateRecord {
            name: format!("{} ({})", command.name, on.in_words()),
            required,
            on,
            ..record
        });
        Ok(result)
    }
}
