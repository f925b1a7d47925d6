//! Commands of a person that belong to no attempt: hooks, notices, looks for evidence.
//!
//! They have no shim: orch itself waits for them, and without it nobody knows what came of them. So that a killed orch
//! leaves none that works beside the next one, each is noted before it starts, with its mark and the orch that waits
//! for it. The next orch ends what carries the mark of a note whose orch is gone; whether it is run again is for those
//! to say who wanted it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::identity::{ProcessIdentity, boot_id};
use super::sweep::{SweepReport, Swept, alive_entry, sweep_entry};
use super::table::Process;
use crate::crash::point;

/// The variable that every process of an errand inherits, and by which it is found again.
const ERRAND_VARIABLE: &str = "ORCH_ERRAND";

/// The errands of one repository's orchs.
#[derive(Debug, Clone)]
pub struct Errands {
    directory: PathBuf,
}

/// One that is under way. Dropped before its end, it stays noted, and what is left of it is ended by the next start.
#[derive(Debug)]
pub struct Errand {
    note: PathBuf,
    mark: String,
}

impl Errands {
    /// Those noted in `directory`, which is made when the first is.
    pub fn noted_in(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Notes an errand; `None` if another living orch has one of this name under way.
    ///
    /// # Errors
    /// If it cannot be noted, or what an earlier orch left of it cannot be ended.
    pub fn begin(&self, name: &str) -> io::Result<Option<Errand>> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(name);
        let orch = ProcessIdentity::of_this_process()?;
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let note = Note { orch, mark };
        loop {
            // A link has its whole text from the moment it is there.
            match symlink(note.to_text(), &path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if !end_left(&path)? {
                        return Ok(None);
                    }
                }
                made => {
                    made?;
                    point("errand-noted");
                    return Ok(Some(Errand {
                        note: path,
                        mark: note.mark,
                    }));
                }
            }
        }
    }

    /// What orchs that are gone left of their errands and still works.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn left(&self) -> io::Result<Vec<LeftErrand>> {
        let mut left = Vec::new();
        for path in self.noted()? {
            let Some(note) = noted_at(&path)? else {
                continue;
            };
            if note.is_waited_for()? {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let alive = alive_entry(&entry_of(&note.mark))?.into_iter();
            left.extend(alive.map(|process| LeftErrand {
                name: name.clone().into_owned(),
                process,
            }));
        }
        Ok(left)
    }

    /// Ends what orchs that are gone left of their errands, and forgets these.
    ///
    /// # Errors
    /// If it cannot be told what is left, or it cannot be ended.
    pub fn end_left(&self) -> io::Result<()> {
        for path in self.noted()? {
            end_left(&path)?;
        }
        Ok(())
    }

    fn noted(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.path())).collect()
    }
}

/// A process of an errand whose orch is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftErrand {
    /// The errand.
    pub name: String,
    /// The process.
    pub process: Swept,
}

impl Errand {
    /// What the environment of its command must hold.
    pub fn variable(&self) -> (&'static str, &str) {
        (ERRAND_VARIABLE, &self.mark)
    }

    /// It is over. What a command that has ended left in the background is its writer's wish.
    ///
    /// # Errors
    /// If the note cannot be removed.
    pub fn done(self) -> io::Result<()> {
        point("errand-ended");
        forget(&self.note)
    }

    /// Ends its command and whatever that started. Blocks for up to ten seconds.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn end(&self) -> io::Result<()> {
        end_marked(&self.mark)
    }
}

/// What the next orch must know of an errand.
struct Note {
    orch: ProcessIdentity,
    mark: String,
}

impl Note {
    fn to_text(&self) -> String {
        let ProcessIdentity {
            pid,
            start_time,
            boot_id,
        } = &self.orch;
        format!("{pid}:{start_time}:{boot_id}:{}", self.mark)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let orch = ProcessIdentity {
            pid: next()?.parse().ok()?,
            start_time: next()?.parse().ok()?,
            boot_id: next()?.to_owned(),
        };
        let mark = next()?.to_owned();
        Some(Self { orch, mark })
    }

    /// Whether the orch that waits for it still works. One that is killed gives back its locks before it is gone.
    fn is_waited_for(&self) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.orch.pid) else {
            return Ok(false);
        };
        if boot_id()? != self.orch.boot_id {
            return Ok(false);
        }
        let now = Process::look(pid)?;
        Ok(now.is_some_and(|now| now.start_time == self.orch.start_time && !now.is_ending))
    }
}

/// Ends what is left of the errand noted at `path`, unless somebody still waits for it; whether the name is free.
fn end_left(path: &Path) -> io::Result<bool> {
    let Some(note) = noted_at(path)? else {
        return Ok(true);
    };
    if note.is_waited_for()? {
        return Ok(false);
    }
    end_marked(&note.mark)?;
    forget(path)?;
    Ok(true)
}

/// What is noted at `path`; nothing, if its errand is over by now.
fn noted_at(path: &Path) -> io::Result<Option<Note>> {
    let text = match fs::read_link(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    match Note::parse(&text.to_string_lossy()) {
        None => {
            let path = path.display();
            Err(io::Error::other(format!(
                "{path} does not say what it notes"
            )))
        }
        note => Ok(note),
    }
}

fn entry_of(mark: &str) -> String {
    format!("{ERRAND_VARIABLE}={mark}")
}

fn end_marked(mark: &str) -> io::Result<()> {
    let SweepReport { killed, alive } = sweep_entry(&entry_of(mark))?;
    if let Some(process) = alive.first() {
        let (pid, comm) = (process.pid, &process.comm);
        return Err(io::Error::other(format!(
            "process {pid} ({comm}) of a hook, a notice or a look for evidence cannot be ended"
        )));
    }
    if !killed.is_empty() {
        tracing::warn!(
            ?killed,
            "ended what was left of a command of an earlier orch"
        );
    }
    Ok(())
}

fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn errands() -> (tempfile::TempDir, Errands) {
        let dir = tempfile::tempdir().unwrap();
        let errands = Errands::noted_in(dir.path().join("errands"));
        (dir, errands)
    }

    /// A command of the errand that waits until it is ended, with a child in a session of its own. That says it is up,
    /// so that both have their environment by then.
    fn busy(errand: &Errand) -> std::process::Child {
        let (name, value) = errand.variable();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "setsid sh -c 'echo up; while :; do sleep 9; done' & wait",
            ])
            .env(name, value)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut up = [0; 3];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        child
    }

    fn left(errand: &Errand) -> usize {
        let entry = format!("{ERRAND_VARIABLE}={}", errand.mark);
        let pids = crate::process::table::pids().unwrap();
        let has = |pid: &Pid| {
            fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|e| e == entry.as_bytes())
            })
        };
        pids.iter().filter(|pid| has(pid)).count()
    }

    #[test]
    fn what_an_orch_that_is_gone_left_of_an_errand_is_ended_and_forgotten() {
        let (_dir, errands) = errands();
        let errand = errands.begin("hook").unwrap().unwrap();
        let mut child = busy(&errand);
        assert!(left(&errand) >= 2);
        let gone = Note {
            orch: ProcessIdentity {
                start_time: 1,
                ..ProcessIdentity::of_this_process().unwrap()
            },
            mark: errand.mark.clone(),
        };
        fs::remove_file(&errand.note).unwrap();
        symlink(gone.to_text(), &errand.note).unwrap();
        let found = errands.left().unwrap();
        assert!(found.len() >= 2 && found.iter().all(|left| left.name == "hook"));
        errands.end_left().unwrap();
        child.wait().unwrap();
        assert_eq!(errands.left().unwrap(), []);
        assert_eq!(left(&errand), 0);
        assert!(!errand.note.is_symlink());
    }

    #[test]
    fn what_a_living_orch_waits_for_is_left_alone_and_not_begun_twice() {
        let (_dir, errands) = errands();
        let errand = errands.begin("hook").unwrap().unwrap();
        let mut child = busy(&errand);
        assert_eq!(errands.left().unwrap(), []);
        errands.end_left().unwrap();
        assert!(errands.begin("hook").unwrap().is_none());
        assert!(errands.begin("another").unwrap().is_some());
        assert!(left(&errand) >= 2);
        errand.end().unwrap();
        errand.done().unwrap();
        child.wait().unwrap();
        assert!(errands.begin("hook").unwrap().is_some());
    }

    #[test]
    fn what_a_command_that_has_ended_left_in_the_background_goes_on() {
        let (_dir, errands) = errands();
        let errand = errands.begin("hook").unwrap().unwrap();
        let mut child = busy(&errand);
        let (note, mark) = (errand.note.clone(), errand.mark.clone());
        errand.done().unwrap();
        errands.end_left().unwrap();
        let same = Errand { note, mark };
        assert!(left(&same) >= 2);
        same.end().unwrap();
        child.wait().unwrap();
    }
}
