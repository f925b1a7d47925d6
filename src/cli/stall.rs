//! Ends a command that never comes back. libgit2 reads a loose object that is cut off for ever, without a word; nothing
//! can call its thread back, so the process ends and names the file. Being killed is a normal way to stop.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;

use crate::error::{Error, ErrorKind};
use crate::git::durable::damaged_around;

/// How long a thread computes without waiting for anything until the objects are looked at.
const WINDOW: Duration = Duration::from_secs(5);

/// What a thread has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    /// How often it waited for something.
    waits: u64,
    /// Clock ticks of its own computing.
    ticks: u64,
}

/// Watches this process from now on.
#[expect(
    clippy::exit,
    clippy::print_stderr,
    reason = "no other thread may come back"
)]
pub(super) fn watch() {
    let watcher = || match watch_until_stalled() {
        Ok(Some(file)) => {
            let error = cut_off(&file);
            eprint!("{}", error.render());
            std::process::exit(error.kind().exit_code().into());
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "the objects cannot be looked through"),
    };
    let spawned = std::thread::Builder::new()
        .name("stall".to_owned())
        .spawn(watcher);
    if let Err(error) = spawned {
        tracing::debug!(%error, "nobody would notice a command that does not come back");
    }
}

/// Returns when a thread has only computed for a while: with the object that cannot be read, if there is one.
fn watch_until_stalled() -> io::Result<Option<PathBuf>> {
    let mut before = threads();
    loop {
        std::thread::sleep(WINDOW);
        let now = threads();
        let computes = |(thread, then): (&String, &Work)| {
            now.get(thread)
                .is_some_and(|now| now.waits == then.waits && now.ticks > then.ticks)
        };
        if before.iter().any(computes) {
            return Ok(damaged_around(Path::new("."))?.into_iter().next());
        }
        before = now;
    }
}

fn cut_off(file: &Path) -> Error {
    let file = file.display();
    let error = anyhow!("an object of git is cut off, and reading it does not end: {file}");
    Error::new(ErrorKind::Environment, error)
        .hint("orch doctor                   names all of them")
        .hint("git fsck                      says what needs them; `git fetch` from a copy that is whole brings them back once they are moved away")
}

/// What each thread of this process has done, by its id; without those that end at this moment.
fn threads() -> BTreeMap<String, Work> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else {
        return BTreeMap::new();
    };
    let look = |entry: fs::DirEntry| {
        let about = |file: &str| fs::read_to_string(entry.path().join(file)).ok();
        let waits = about("status")?
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
            .trim()
            .parse()
            .ok()?;
        let stat = about("stat")?;
        let fields = stat.rsplit_once(") ")?.1;
        // Field 14 of proc_pid_stat(5); the first here is field 3.
        let ticks = fields.split(' ').nth(11)?.parse().ok()?;
        let name = entry.file_name().into_string().ok()?;
        Some((name, Work { waits, ticks }))
    };
    entries.flatten().filter_map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_is_seen_with_what_it_has_done() {
        let before = threads();
        assert!(!before.is_empty());
        let mut sum = 0_u64;
        let me = fs::read_link("/proc/thread-self").expect("this thread");
        let me = me
            .file_name()
            .expect("its id")
            .to_string_lossy()
            .into_owned();
        while threads().get(&me).map(|work| work.ticks) == before.get(&me).map(|work| work.ticks) {
            sum = (0..100_000_u64).fold(sum, u64::wrapping_add);
        }
        assert!(threads()[&me].ticks > before[&me].ticks, "{sum}");
    }
}
