//! What a command in a gate slot did, made of how its process ended and what it printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{GateError, SHIMS_MAX};
use crate::process::{AgentEnd, Cause, Exit};
use crate::store::{CommandDir, read_limited};
use crate::time::for_people;
use crate::verify::excerpt::excerpt;
use crate::verify::judge::Facts;
use crate::verify::output;

/// Largest output in which single tests are looked for.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// What a command did, and where its output lies.
pub(in crate::driver) struct Ran {
    pub(in crate::driver) facts: Facts,
    pub(in crate::driver) argv: Vec<String>,
    pub(in crate::driver) ms: u64,
    pub(in crate::driver) dir: PathBuf,
    /// The ends of its output.
    pub(in crate::driver) excerpt: String,
    /// Whether commands of other trees ran in its slot since that was empty, and may have left something.
    pub(in crate::driver) among_leftovers: bool,
}

/// From how its process ended, and what it printed.
pub(super) fn of(
    dir: &CommandDir,
    argv: Vec<String>,
    end: &AgentEnd,
    timeout: Duration,
    tree: &Path,
) -> Result<Ran, GateError> {
    let run = match end {
        AgentEnd::Ended(run) => run,
        AgentEnd::NotStarted { error } => {
            return Err(anyhow::anyhow!("the shell cannot be started: {error}").into());
        }
    };
    let fault = match run.cause {
        Cause::Exited => None,
        Cause::Timeout => Some(format!(
            "it did not end within {}",
            for_people(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
        )),
        Cause::OutputFlood => Some("it printed more than `output_max`".to_owned()),
        Cause::Unsupervised | Cause::Ended | Cause::EndedFromBelow => return Err(GateError::Ended),
    };
    let read = |path: PathBuf| -> anyhow::Result<Option<String>> {
        let length = std::fs::metadata(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        if length > OUTPUT_BYTES_MAX {
            return Ok(None);
        }
        Ok(Some(
            String::from_utf8_lossy(&read_limited(&path, OUTPUT_BYTES_MAX)?).into_owned(),
        ))
    };
    let mut output = String::new();
    let mut is_whole = true;
    for text in [read(dir.stdout())?, read(dir.stderr())?] {
        match text {
            Some(text) => output.push_str(&text),
            None => {
                is_whole = false;
                output.push_str("[more than is read back]\n");
            }
        }
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
    }
    let (exit, broke) = match run.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(format!("signal {signal} ended it"))),
    };
    let mut told = output::read(&output, &tree.to_string_lossy(), exit == Some(0));
    if !is_whole {
        let why = format!("its output is longer than {} MiB", OUTPUT_BYTES_MAX >> 20);
        told.unreadable = Some(why);
    }
    let facts = Facts {
        exit,
        // What orch itself ended has a fault, and the signal is orch's.
        broke: broke.filter(|_| fault.is_none()),
        fault,
        ..Facts::default()
    };
    Ok(Ran {
        facts: told_by(told, facts),
        argv,
        ms: run.wall_ms,
        dir: dir.path().to_owned(),
        excerpt: excerpt(&output),
        among_leftovers: false,
    })
}

/// A command that lost its shim again and again.
pub(super) fn unsupervised(dir: &CommandDir, argv: Vec<String>) -> Ran {
    Ran {
        facts: Facts {
            broke: Some(format!(
                "what supervises it was ended from outside {SHIMS_MAX} times in a row"
            )),
            ..Facts::default()
        },
        argv,
        ms: 0,
        dir: dir.path().to_owned(),
        excerpt: String::new(),
        among_leftovers: false,
    }
}

/// Facts with what an output, or the reports in its place, tells.
pub(super) fn told_by(told: output::Told, facts: Facts) -> Facts {
    Facts {
        counts: told.counts,
        failures: told.failures,
        unreadable: told.unreadable,
        ..facts
    }
}
