//! Hooks for tests that stop orch, or a shim, as a crash or a loss of power would: at exact places between two steps.
//!
//! Every step that lasts is followed by a [`point`], and every wait for the disk by [`synced`]. In release builds both
//! do nothing; in debug builds they obey the environment:
//!
//! - `ORCH_CRASH_AT=<place>:<n>[,...]`: a SIGKILL to this process at the n-th passing of a place. Around each record of
//!   the kind `landed` lie `before-landed` and `after-landed`; the other places are where [`point`] is called.
//! - `ORCH_CRASH_DIR=<directory>`: counts passings over all processes that are given the directory, each as an empty
//!   file `<place>:<n>` in it. It also tells which places there are.
//! - `ORCH_CRASH_DISK=<directory>`: keeps below `image/` what a loss of power leaves of each file that was waited for,
//!   and one line for each wait in `waits`.
//! - `ORCH_CRASH_BOOT=<id>`: the machine's boot, so that it can seem to have been started again.

use std::path::Path;

/// Here a test may kill this process.
pub fn point(place: &str) {
    #[cfg(debug_assertions)]
    armed::point(place);
    #[cfg(not(debug_assertions))]
    let _: &str = place;
}

/// Whether a test has asked for anything, so that the names of places are worth making.
pub fn is_armed() -> bool {
    #[cfg(debug_assertions)]
    return armed::hook().is_some();
    #[cfg(not(debug_assertions))]
    false
}

/// The boot that a test pretends to be in.
pub fn boot() -> Option<String> {
    #[cfg(debug_assertions)]
    return std::env::var("ORCH_CRASH_BOOT").ok();
    #[cfg(not(debug_assertions))]
    None
}

/// These files, as they are now, survive a loss of power. One call is one wait for the disk, named `why`.
pub fn synced<'a>(why: &str, files: impl IntoIterator<Item = &'a Path>) {
    #[cfg(debug_assertions)]
    armed::synced(why, files);
    #[cfg(not(debug_assertions))]
    {
        let _: &str = why;
        drop(files);
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::HashMap;
    use std::fs::{self, File, OpenOptions};
    use std::io::{ErrorKind, Write as _};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    /// What the environment asks for.
    pub(super) struct Hook {
        at: Vec<(String, u32)>,
        passings: Option<PathBuf>,
        disk: Option<PathBuf>,
        counts: Mutex<HashMap<String, u32>>,
    }

    /// None, if it asks for nothing.
    ///
    /// # Panics
    /// If it cannot be understood: a test that asks for nothing would pass.
    pub(super) fn hook() -> Option<&'static Hook> {
        static HOOK: OnceLock<Option<Hook>> = OnceLock::new();
        HOOK.get_or_init(|| {
            let [at, passings, disk] =
                ["ORCH_CRASH_AT", "ORCH_CRASH_DIR", "ORCH_CRASH_DISK"].map(std::env::var_os);
            if at.is_none() && passings.is_none() && disk.is_none() {
                return None;
            }
            let at = at.map(|text| text.to_string_lossy().into_owned());
            let places = at.iter().flat_map(|text| text.split(','));
            Some(Hook {
                at: places
                    .map(|text| parse(text).expect("ORCH_CRASH_AT is `<place>:<n>[,...]`"))
                    .collect(),
                passings: passings.map(PathBuf::from),
                disk: disk.map(PathBuf::from),
                counts: Mutex::default(),
            })
        })
        .as_ref()
    }

    fn parse(text: &str) -> Option<(String, u32)> {
        let (place, n) = text.rsplit_once(':')?;
        Some((place.to_owned(), n.parse().ok().filter(|n| *n > 0)?))
    }

    pub(super) fn point(place: &str) {
        let Some(hook) = hook() else { return };
        let n = hook.count(place);
        if hook.at.iter().any(|(at, nth)| at == place && *nth == n) {
            kill_process(getpid(), Signal::KILL).expect("a process may signal itself");
        }
    }

    impl Hook {
        /// Which passing this is.
        fn count(&self, place: &str) -> u32 {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let n = counts.entry(place.to_owned()).or_default();
            *n += 1;
            let Some(passings) = &self.passings else {
                return *n;
            };
            loop {
                match File::create_new(passings.join(format!("{place}:{n}"))) {
                    Ok(_) => return *n,
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => *n += 1,
                    Err(e) => panic!("ORCH_CRASH_DIR={}: {e}", passings.display()),
                }
            }
        }
    }

    pub(super) fn synced<'a>(why: &str, files: impl IntoIterator<Item = &'a Path>) {
        let Some(disk) = hook().and_then(|hook| hook.disk.as_deref()) else {
            return;
        };
        for file in files.into_iter().filter(|file| file.exists()) {
            keep(disk, file).unwrap_or_else(|e| panic!("ORCH_CRASH_DISK: {}: {e}", file.display()));
        }
        let waits = OpenOptions::new()
            .append(true)
            .create(true)
            .open(disk.join("waits"));
        waits
            .and_then(|mut waits| writeln!(waits, "{why}"))
            .unwrap_or_else(|e| panic!("ORCH_CRASH_DISK={}: {e}", disk.display()));
    }

    fn keep(disk: &Path, file: &Path) -> std::io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let image = disk
            .join("image")
            .join(file.strip_prefix("/").unwrap_or(file));
        if let Some(parent) = image.parent() {
            fs::create_dir_all(parent)?;
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let unfinished = disk.join(format!("{}-{n}.unfinished", std::process::id()));
        // Another process reads it: this one would lose SQLite's locks by closing a ledger that it has opened twice.
        let copied = Command::new("cp").arg(file).arg(&unfinished).status()?;
        if !copied.success() {
            return Err(std::io::Error::other("cp failed"));
        }
        fs::rename(unfinished, image)
    }
}
