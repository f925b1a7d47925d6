//! Plans of every shape, small enough to be run a thousand times, with what must hold when they are done: whatever was
//! killed on the way, the result is that of the run that nobody disturbed.

mod list;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, Live, Ran};

/// Where the plan lies.
const PLAN: &str = ".claude/plans/plan.yaml";
/// The most starts that a run may need after one kill: one finds the wreck, one more what a second kill left.
const STARTS_MAX: u32 = 4;

/// A plan's shape: what is run, and with which arguments.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    plan: String,
    args: &'static [&'static str],
    /// Whether git does not know the plan.
    outside: bool,
    /// What a person writes at the plan's end, without committing it.
    edit: &'static str,
    /// Whether a killed attempt may change how many attempts were counted: a failing task fails again.
    counts_vary: bool,
    /// Whether objects that no ref reaches may be broken, as after a loss of power.
    debris: bool,
    /// How many tasks land.
    lands: &'static [&'static str],
    /// Files of the repository beside the plan.
    files: &'static [(&'static str, &'static str)],
    /// What a person has to approve.
    approves: &'static [&'static str],
    /// Lines that hooks leave, each at least once.
    tells: &'static [&'static str],
    /// A file of work that no ref reached and that is saved.
    saves: &'static str,
    /// Whether somebody stops the run.
    stops: bool,
    /// What an agent program does, if one is asked.
    agent: Option<String>,
}

impl Shape {
    fn new(name: &'static str, plan: String) -> Self {
        Self {
            name,
            plan,
            args: &["run"],
            outside: false,
            edit: "",
            counts_vary: false,
            debris: false,
            lands: &["1", "2"],
            files: &[],
            approves: &[],
            tells: &[],
            saves: "",
            stops: false,
            agent: None,
        }
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::sequence(),
            Self::parallel(),
            Self::conflict(),
            Self::extension(),
            Self::retry(),
            Self::live(),
            Self::edited(),
            Self::outside(),
            Self::verified(),
            Self::red(),
            Self::baseline(),
            Self::queue(),
            Self::approved(),
            Self::answered(),
            Self::remade(),
            Self::resolved(),
            Self::evidence(),
            Self::crowned(),
            Self::protected(),
            Self::saved(),
            Self::stopped(),
        ]
    }

    /// With more attempts than it needs: what a loss of power takes of an agent's words may cost one.
    pub(crate) fn patient(mut self) -> Self {
        self.plan = self.plan.replace("max_attempts: 1", "max_attempts: 4");
        self.counts_vary = true;
        self.debris = true;
        self
    }

    /// A repository with the plan, a file that a person has changed and one that git does not know.
    pub(crate) fn fixture(&self) -> Fixture {
        let f = Fixture::new();
        f.write(PLAN, &self.plan);
        f.write("notes.txt", "committed\n");
        for (path, text) in self.files {
            f.write(path, text);
        }
        if self.outside {
            f.write(".gitignore", ".claude/\n");
        }
        f.git(["add", "-A"]);
        f.git(["commit", "-qm", "Begin to plan"]);
        f.write(PLAN, &format!("{}{}", self.plan, self.edit));
        f.write("notes.txt", "changed, not committed\n");
        f.write("mine.txt", "unknown to git\n");
        for dir in ["passings", "disk"] {
            std::fs::create_dir(f.root().join(dir)).expect("a directory");
        }
        f
    }

    /// orch on the plan, not yet run.
    pub(crate) fn command(&self, f: &Fixture) -> std::process::Command {
        let mut command = f.command([]);
        command.args(self.args);
        if let Some(work) = &self.agent {
            command.envs(f.agent_program(work));
        }
        command
    }

    /// orch run to its end, with what a person has to say meanwhile; `at` names places at which it, or a shim, kills
    /// itself.
    pub(crate) fn run(&self, f: &Fixture, at: Option<&str>) -> Ran {
        self.played(f, |command| {
            if let Some(at) = at {
                command.env("ORCH_CRASH_AT", at);
            }
            command.env("ORCH_CRASH_DIR", f.root().join("passings"));
        })
    }

    /// Starts orch, and says yes to what it asks, until it ends for another reason than a question or a stop; `prepared` is done to
    /// each command of orch's.
    pub(crate) fn played(&self, f: &Fixture, prepared: impl Fn(&mut std::process::Command)) -> Ran {
        loop {
            let mut command = self.command(f);
            prepared(&mut command);
            let mut live = Live::of(command, f.root());
            if self.args.contains(&"--wait") {
                f.await_that("an end or a question", || {
                    (self.waits_for_answer(&live) || !live.has_not_ended()).then_some(())
                });
                if live.has_not_ended() {
                    self.approve(f, &prepared);
                }
            }
            let ran = live.ended();
            if !self.goes_on_after(ran.code) {
                return ran;
            }
            if let Some(killed) = self.approve(f, &prepared) {
                return killed;
            }
        }
    }

    /// Whether a person has to start it again, although nothing was killed.
    pub(crate) fn is_started_again(&self) -> bool {
        self.stops || !self.approves.is_empty()
    }

    /// Whether it is as it should be that an orch ended so: it asks a person, or was stopped.
    pub(crate) fn goes_on_after(&self, code: i32) -> bool {
        code == 4 && !self.approves.is_empty() || code == 3 && self.stops
    }

    /// Whether an orch stays until a person answers what it has asked.
    pub(crate) fn waits_for_answer(&self, live: &Live) -> bool {
        self.args.contains(&"--wait") && live.said().contains("waits for approval")
    }

    /// Approves whatever may wait for it; the command that was killed, if one was.
    pub(crate) fn approve(
        &self,
        f: &Fixture,
        prepared: impl Fn(&mut std::process::Command),
    ) -> Option<Ran> {
        let approve = |task: &&str| {
            let mut command = f.command(["approve", task]);
            prepared(&mut command);
            Ran::of(command.output().expect("orch"))
        };
        // Not all of it is asked yet, or still; a live orch may end at this moment.
        self.approves.iter().map(approve).find(|ran| ran.code == -1)
    }

    /// Starts orch until it is done; how often.
    pub(crate) fn finish(&self, f: &Fixture, after: &str) -> u32 {
        for start in 1..=STARTS_MAX {
            let ran = self.played(f, |_| ());
            if ran.code == 0 {
                return start;
            }
            assert!(
                ran.code == -1 || start < STARTS_MAX,
                "{}: {after}: start {start} does not end well: {ran:?}",
                self.name
            );
        }
        panic!("{}: {after}: not done after {STARTS_MAX} starts", self.name)
    }

    /// The run that nobody disturbs: what it comes to, and the places that are passed in it, with how often.
    pub(crate) fn undisturbed(&self) -> (String, BTreeMap<String, u32>) {
        let f = self.fixture();
        self.run(&f, Some("nowhere:1")).exits(0);
        (self.assert_whole(&f, "nothing"), passings(&f))
    }

    /// Asserts that each task landed once and nothing is left over or touched; what the run came to.
    #[track_caller]
    pub(crate) fn assert_whole(&self, f: &Fixture, after: &str) -> String {
        let trailers = f.git([
            "log",
            "--format=%(trailers:key=Orch-Task,valueonly,separator=)",
            "main",
        ]);
        let mut tasks: Vec<&str> = trailers.lines().filter(|l| !l.is_empty()).collect();
        tasks.sort_unstable();
        assert_eq!(tasks, self.lands, "{after}: each task landed once");
        for task in tasks {
            assert_eq!(
                f.count("landed", task),
                1,
                "{after}: one receipt for task {task}"
            );
        }
        assert_eq!(f.read("notes.txt"), "changed, not committed\n", "{after}");
        assert_eq!(f.read("mine.txt"), "unknown to git\n", "{after}");
        if self.debris {
            f.git(["rev-list", "--objects", "--all", "--quiet"]);
        } else {
            f.git(["fsck", "--no-dangling"]);
        }
        let plan_changed = if self.edit.is_empty() {
            ""
        } else {
            " M .claude/plans/plan.yaml\n"
        };
        f.assert_tidy_but(&format!("{plan_changed} M notes.txt\n?? mine.txt\n"));
        assert_eq!(
            locks(f),
            Vec::<PathBuf>::new(),
            "{after}: no lock is left or held"
        );
        self.assert_told(f, after);
        self.assert_saved(f, after);
        let pins = f.git(["for-each-ref", "refs/orch/pin"]);
        assert_eq!(pins, "", "{after}: no commit is pinned any more");
        let files = f.git(["ls-tree", "-r", "main"]);
        let files = files.lines().filter(|line| !line.ends_with(PLAN));
        // A rehearsed task writes which attempt it is.
        let files = files.map(|line| match line.split_once('\t') {
            Some((_, path)) if path.starts_with("rehearsal/") => path,
            _ => line,
        });
        let on_disk = self.normalised(&f.read(PLAN));
        assert!(
            on_disk.ends_with(self.edit),
            "{after}: the person's edit is there"
        );
        let committed = match self.outside {
            true => String::new(),
            false => self.normalised(&f.git(["show", &format!("main:{PLAN}")])),
        };
        let files: Vec<&str> = files.collect();
        [files.join("\n"), committed, on_disk].join("\n---\n")
    }

    /// Asserts that hooks ran for whatever they are for, and none beside another.
    #[track_caller]
    fn assert_told(&self, f: &Fixture, after: &str) {
        let told = std::fs::read_to_string(f.gate().join("told")).unwrap_or_default();
        let told: std::collections::BTreeSet<&str> = told.lines().collect();
        let wanted = self.tells.iter().copied().collect();
        assert_eq!(told, wanted, "{after}: what hooks were told");
        let errands = f.repo().join(".git/orch/errands");
        let noted = errands.read_dir().map_or(0, Iterator::count);
        assert_eq!(noted, 0, "{after}: no command is noted that has ended");
    }

    /// Asserts that what no ref reached has one now, and the same has no second one.
    #[track_caller]
    fn assert_saved(&self, f: &Fixture, after: &str) {
        let saved = f.git([
            "for-each-ref",
            "--format=%(objectname)",
            "refs/orch/salvage",
        ]);
        let mut saved: Vec<&str> = saved.lines().collect();
        let all = saved.len();
        saved.sort_unstable();
        saved.dedup();
        assert_eq!(saved.len(), all, "{after}: the same is saved once");
        let holds = |id: &&str| {
            let files = f.git(["ls-tree", "--name-only", id]);
            files.lines().any(|name| name == self.saves)
        };
        assert!(
            self.saves.is_empty() || saved.iter().any(holds),
            "{after}: {} is saved",
            self.saves
        );
    }

    fn normalised(&self, plan: &str) -> String {
        let lines = plan.split_inclusive('\n');
        let counts = |line: &&str| self.counts_vary && line.trim_start().starts_with("attempts:");
        lines.filter(|line| !counts(line)).collect()
    }
}

/// The places that were passed, with how often.
pub(crate) fn passings(f: &Fixture) -> BTreeMap<String, u32> {
    let mut places = BTreeMap::new();
    for entry in std::fs::read_dir(f.root().join("passings")).expect("a directory") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("text");
        let (place, _) = name.rsplit_once(':').expect("place and number");
        *places.entry(place.to_owned()).or_default() += 1;
    }
    places
}

/// The files below `root` that are called as `is_wanted` likes.
pub(crate) fn files_below(root: &Path, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if is_wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether somebody holds the lock file.
pub(crate) fn is_locked(path: &Path) -> bool {
    let file = File::open(path).expect("a lock file");
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Locks of git that are there, unfinished updates of checkouts, and locks of orch, of slots and of shims that are held.
fn locks(f: &Fixture) -> Vec<PathBuf> {
    let state = f.root().join("state");
    let git = f.repo().join(".git");
    let orch = git.join("orch");
    let is_lock = |path: &Path| path.extension().is_some_and(|e| e == "lock");
    let mut left = files_below(&git, |path| {
        is_lock(path) && !path.starts_with(&orch)
            || path
                .components()
                .any(|part| part.as_os_str() == "orch-landing")
    });
    left.extend(files_below(&orch, |path| is_lock(path) && is_locked(path)));
    left.extend(files_below(&state, |path| {
        path.ends_with("orch/lock") && is_locked(path)
    }));
    left.extend(files_below(&state, |path| path.ends_with("index.lock")));
    left
}

/// The attempts whose shim lives: task and number, as their directory is called.
pub(crate) fn alive(f: &Fixture) -> Vec<(String, u64)> {
    let runs = f.repo().join(".git/orch/runs");
    let locks = files_below(&runs, |path| {
        let mut parts = path.components().map(|part| part.as_os_str());
        path.ends_with("shim.lock") && !parts.any(|part| part == "setup" || part == "verify")
    });
    let attempt = |lock: &PathBuf| {
        let parts: Vec<String> = lock
            .strip_prefix(&runs)
            .expect("below")
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        (parts[1].clone(), parts[2].parse().expect("a number"))
    };
    let held = locks.into_iter().filter(|lock| is_locked(lock));
    let mut alive: Vec<_> = held.map(|lock| attempt(&lock)).collect();
    alive.dedup();
    alive
}

/// Of these attempts, those that a later orch followed or collected as if nothing had been: each was collected once, and
/// not as crashed.
pub(crate) fn adopted(f: &Fixture, alive: &[(String, u64)]) -> usize {
    let records = f.records();
    let is_adopted = |(task, attempt): &&(String, u64)| {
        let ends: Vec<_> = records
            .iter()
            .map(|r| &r["record"])
            .filter(|r| {
                r["kind"] == "collected"
                    && r["ticket"]["task"] == *task
                    && r["ticket"]["attempt"] == *attempt
            })
            .collect();
        ends.len() == 1 && ends[0]["end"]["ending"] != "crashed"
    };
    alive.iter().filter(is_adopted).count()
}
