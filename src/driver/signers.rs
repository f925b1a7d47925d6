//! Who may sign approvals, and whether a signature is by one of them.
//!
//! The file is the one that git is told to use. Where it lies in the repository, it is read from the commit on which the
//! target stood when the run began, and stays that for the run: nothing that agents make says who may approve.

use anyhow::Context;

use super::site::Site;
use crate::engine::Engine;
use crate::engine::approval::Approves;
use crate::engine::event::{Control, Verb};
use crate::engine::start::Signers;
use crate::git::Repository;
use crate::git::signature;
use crate::git::tree::file_in;
use crate::ids::{ObjectId, PlanId, RunId, Ticket};
use crate::store::read_limited;

/// Largest file that is read: one line for each person.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Those of a run whose target stands at `tip`. `earlier`: those with which it began, if it goes on.
///
/// # Errors
/// If git is told of a file that cannot be read.
pub fn find(
    repo: &Repository,
    tip: &ObjectId,
    earlier: Option<Signers>,
) -> anyhow::Result<Option<Signers>> {
    let Some(path) = signature::allowed_signers_file(repo.settings(), repo.worktree()) else {
        return Ok(None);
    };
    let told = || {
        format!(
            "cannot read {} (gpg.ssh.allowedSignersFile)",
            path.display()
        )
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).with_context(told);
    if let Ok(inside) = path.strip_prefix(repo.worktree())
        && let Some(bytes) = file_in(&repo.open()?, tip, inside).with_context(told)?
    {
        let file = inside.display().to_string();
        let began_with = earlier.filter(|known| known.commit.is_some() && known.file == file);
        return Ok(Some(match began_with {
            Some(known) => known,
            None => Signers {
                file,
                commit: Some(tip.clone()),
                text: text(bytes)?,
            },
        }));
    }
    Ok(Some(Signers {
        file: path.display().to_string(),
        commit: None,
        text: text(read_limited(&path, FILE_BYTES_MAX).with_context(told)?)?,
    }))
}

/// Why a decision is not heard, if it brings a signature that does not hold. Whether one is needed is the engine's to say.
///
/// # Errors
/// If it cannot be told.
pub fn refusal(
    program: &str,
    signers: Option<&Signers>,
    (plan, run): (&PlanId, &RunId),
    engine: &Engine,
    control: &Control,
) -> anyhow::Result<Option<String>> {
    match &control.verb {
        Verb::Approve {
            task,
            signature: Some(signature),
            ..
        } => match engine.asked(task) {
            Some(asked) => doubt(
                program,
                signers,
                &asked.statement(plan, run, task),
                signature,
            ),
            // Refused for that.
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Why a signature does not hold for a statement, if it does not.
///
/// # Errors
/// If it cannot be told.
fn doubt(
    program: &str,
    signers: Option<&Signers>,
    statement: &str,
    signature: &str,
) -> anyhow::Result<Option<String>> {
    let Some(signers) = signers else {
        let why = "it is not known who may sign: name a file (`git config gpg.ssh.allowedSignersFile FILE`), and start the \
                   run again";
        return Ok(Some(why.to_owned()));
    };
    let found = signature::signer(program, &signers.text, statement, signature, None)
        .context("cannot check the signature of an approval")?;
    Ok(found.err().map(|why| {
        format!(
            "the signature does not hold for what is asked, by `{}`: {why}",
            signers.file
        )
    }))
}

/// A signed approval, which is checked once more before what it lets start or land.
#[derive(Debug)]
pub(super) struct Signed {
    statement: String,
    signature: String,
    program: String,
    signers: Option<Signers>,
}

impl Signed {
    pub(super) fn of(
        site: &Site,
        ticket: &Ticket,
        (approves, signature): (Approves<'_>, &str),
    ) -> Self {
        Self {
            statement: approves.statement(&site.plan_id, &site.run, &ticket.task),
            signature: signature.to_owned(),
            program: signature::program(site.repo.settings()),
            signers: site.signers.clone(),
        }
    }

    /// Why it does not hold, if it does not.
    ///
    /// # Errors
    /// If it cannot be told.
    pub(super) fn doubt(&self) -> anyhow::Result<Option<String>> {
        doubt(
            &self.program,
            self.signers.as_ref(),
            &self.statement,
            &self.signature,
        )
    }
}
