//! What a person said beforehand about conflicts, carried out: which answer is for which file, and the commands that make
//! files anew.
//!
//! Such a command runs where gates run: in a gate slot, in which no agent ever works, under a shim, with the environment,
//! the confinement and the time limit of gates. It sees the merge with the target's version of the files in conflict.
//! Nothing is set up first, because that may need the very files. Only these files are taken from what it leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::blocking;
use crate::crash::point;
use crate::driver::gates::{GateError, Gates};
use crate::driver::site::Site;
use crate::engine::conflict::{Answered, By};
use crate::git::merge::Known;
use crate::git::tree::{Content, content_at, tree_with_paths_of};
use crate::ids::{ObjectId, Ticket};
use crate::plan::conflicts::Answer;
use crate::verify::scope::Scope;

/// The variable that holds the paths of the files in conflict, one a line.
const FILES_VARIABLE: &str = "ORCH_CONFLICTS";

/// The answers of a run, each with the files it is for.
pub(super) struct Answers(Vec<(Scope, Answer)>);

impl Answers {
    /// Those of the setting `merge`.
    pub(super) fn of(site: &Site) -> anyhow::Result<Self> {
        let known = site.settings.merge.value.iter();
        let scoped = known.map(|known| {
            let scope = Scope::new(&[known.files.as_str()])?;
            Ok((scope, known.answer.clone()))
        });
        scoped.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The first one that is for a file.
    pub(super) fn to(&self, file: &str) -> Option<&Answer> {
        let is_for = |(scope, _): &&(Scope, Answer)| scope.contains(Path::new(file));
        self.0.iter().find(is_for).map(|(_, answer)| answer)
    }

    /// What is known of a file in conflict.
    pub(super) fn known(&self, file: &str) -> Option<Known> {
        self.to(file).map(|answer| match answer {
            Answer::Union => Known::Union,
            Answer::Run(_) => Known::Remade,
        })
    }

    /// The commands that make files anew, in the order in which they are given, with the files of each.
    pub(super) fn commands(&self, files: &[String]) -> Vec<(String, Vec<String>)> {
        let mut commands: Vec<(String, Vec<String>)> = Vec::new();
        for (_, answer) in &self.0 {
            let Answer::Run(text) = answer else { continue };
            if commands.iter().any(|(known, _)| known == text) {
                continue;
            }
            let of = files.iter().filter(|file| self.to(file) == Some(answer));
            let of: Vec<String> = of.cloned().collect();
            if !of.is_empty() {
                commands.push((text.clone(), of));
            }
        }
        commands
    }
}

/// A merge in which files are to be made anew.
#[derive(Debug)]
pub(super) struct Unmade {
    /// What it was built on.
    pub(super) tip: ObjectId,
    /// The merged files, with the tip's version of those in conflict.
    pub(super) tree: ObjectId,
    /// The commands, with the files that each of them makes.
    pub(super) commands: Vec<(String, Vec<String>)>,
}

/// The merge with its files made anew.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) tree: ObjectId,
    pub(super) answers: Vec<Answered>,
}

/// Why files were not made.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// A command failed, or did not leave them: what a person and the next attempt should know of it.
    Failed(String),
    /// It was ended on demand, or nothing could be run.
    Gate(GateError),
}

impl<E: Into<GateError>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Gate(error.into())
    }
}

/// Runs the commands one after the other, each on what those before it left.
pub(super) async fn make(
    site: &Arc<Site>,
    gates: &Gates,
    ticket: &Ticket,
    unmade: &Unmade,
) -> Result<Made, Unanswered> {
    let mut room = gates.enter(site, Some(ticket.clone())).await?;
    let mut tree = unmade.tree.clone();
    let mut answers = Vec::new();
    for (command, files) in &unmade.commands {
        room.stand_bare(&unmade.tip, &tree).await?;
        point("answer-begins");
        let variables = BTreeMap::from([(FILES_VARIABLE.to_owned(), files.join("\n"))]);
        let timeout = site.settings.verify_timeout.value;
        let ran = room.run_text(command, &variables, timeout).await?;
        let why = match (&ran.facts.fault, ran.facts.exit) {
            (Some(fault), _) => Some(fault.clone()),
            (None, Some(0)) => None,
            (None, Some(code)) => Some(format!("exit code {code}")),
            (None, None) => Some("a signal ended it".to_owned()),
        };
        if let Some(why) = why {
            return Err(Unanswered::Failed(format!(
                "`{command}`: {why}; its output is in {}\n\n{}",
                ran.dir.display(),
                ran.excerpt
            )));
        }
        let left = room.read_back().await?;
        let (owner, before, of) = (Arc::clone(site), tree.clone(), files.clone());
        let taken = blocking(move || taken(&owner, &before, &left, &of)).await?;
        tree = taken
            .map_err(|file| Unanswered::Failed(format!("`{command}` left no file at `{file}`")))?;
        point("answer-taken");
        answers.extend(files.iter().map(|file| Answered {
            file: file.clone(),
            by: By::Run {
                command: command.clone(),
                ms: ran.ms,
            },
        }));
    }
    Ok(Made { tree, answers })
}

/// `before` with what `left` has at the files; or the one at which it has none.
fn taken(
    site: &Site,
    before: &ObjectId,
    left: &ObjectId,
    files: &[String],
) -> anyhow::Result<Result<ObjectId, String>> {
    let repo = site.repo.open()?;
    for file in files {
        let found = content_at(&repo, left, Path::new(file))?;
        if !matches!(found, Some(Content::File { .. })) {
            return Ok(Err(file.clone()));
        }
    }
    let paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let tree = tree_with_paths_of(&repo, before, left, &paths);
    Ok(Ok(tree.context(
        "cannot put the files that were made into the merge",
    )?))
}
