//! Plans of every shape, small enough to be run a thousand times, with what must hold when they are done: whatever was
//! killed on the way, the result is that of the run that nobody disturbed.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, Live, Ran, gated};
use crate::runs::plan;

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
            Self::evidence(),
            Self::crowned(),
            Self::protected(),
        ]
    }

    pub(crate) fn sequence() -> Self {
        Self::new(
            "sequence",
            plan(&[
                ("1", "max_attempts: 1\nrun: echo a > a.txt"),
                ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
            ]),
        )
    }

    /// Three tasks that have nothing to do with each other, two at a time.
    pub(crate) fn parallel() -> Self {
        let task =
            |name: &str| format!("depends_on: []\nmax_attempts: 1\nrun: echo {name} > {name}.txt");
        Self {
            args: &["run", "-j", "2"],
            lands: &["1", "2", "3"],
            ..Self::new(
                "parallel",
                plan(&[("1", &task("a")), ("2", &task("b")), ("3", &task("c"))]),
            )
        }
    }

    /// Both start on the same tip and write the same file; the lines are sorted, so that their order does not tell.
    pub(crate) fn conflict() -> Self {
        let task = |mine: u32, other: u32| {
            let meet = gated(&mine.to_string(), &other.to_string(), "true");
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: '{meet}; touch both; (cat both; echo {mine}) | sort > new; mv new both'"
            )
        };
        Self {
            args: &["run", "-j", "2"],
            ..Self::new("conflict", plan(&[("1", &task(1, 2)), ("2", &task(2, 1))]))
        }
    }

    /// An agent adds the second task to the plan.
    pub(crate) fn extension() -> Self {
        let text = "orch: 1
meta: {name: Scratch, runner: rehearsal}
sections:
  - id: s
    name: Work
    tasks:
      - id: '1'
        name: Task 1
        max_attempts: 1
        rehearse:
          write: {a.txt: 'a'}
          add_tasks:
            - id: '2'
              name: Task 2
              depends_on: ['1']
";
        Self::new("extension", text.to_owned())
    }

    /// The first task fails once, and its next attempt goes on from the files that it left.
    pub(crate) fn retry() -> Self {
        let fails_once = "max_attempts: 6\nrun: 'test -e tried.txt && echo a > a.txt || { echo x > tried.txt; exit 1; }'";
        Self {
            counts_vary: true,
            ..Self::new(
                "retry",
                plan(&[
                    ("1", fails_once),
                    ("2", "max_attempts: 1\nrun: cat a.txt tried.txt > b.txt"),
                ]),
            )
        }
    }

    /// Each landing is brought into the checkout.
    pub(crate) fn live() -> Self {
        Self {
            name: "live",
            args: &["run", "--live"],
            ..Self::sequence()
        }
    }

    /// The same, while the person's copy of the plan has an edit that is not committed.
    pub(crate) fn edited() -> Self {
        Self {
            name: "edited",
            edit: "\n# a person's remark\n",
            ..Self::live()
        }
    }

    /// The plan is a file that git does not know, so that its fields are written in place.
    pub(crate) fn outside() -> Self {
        Self {
            name: "outside",
            outside: true,
            ..Self::sequence()
        }
    }

    /// A required verify command judges each landing commit, and one that is not required is asked as well.
    pub(crate) fn verified() -> Self {
        Self {
            name: "verified",
            files: &[(
                "orch.yaml",
                "verify:\n  - {name: check, run: test -e a.txt || test ! -e b.txt}\n  - {name: lint, run: exit 1, required: false}\n",
            )],
            ..Self::sequence()
        }
    }

    /// What the first attempt of the first task leaves is red.
    pub(crate) fn red() -> Self {
        let red_once = "max_attempts: 6\nrun: 'test -e \"$GATE/tried\" && echo good > code.txt || { echo bad > code.txt; touch \"$GATE/tried\"; }'";
        Self {
            counts_vary: true,
            files: &[
                ("code.txt", "fine\n"),
                (
                    "orch.yaml",
                    "verify: [{name: check, run: '! grep bad code.txt'}]\n",
                ),
            ],
            ..Self::new(
                "red",
                plan(&[
                    ("1", red_once),
                    ("2", "max_attempts: 1\nrun: cat code.txt > b.txt"),
                ]),
            )
        }
    }

    /// Landings into the checkout, of a suite that is red already: only what is red anew counts.
    pub(crate) fn baseline() -> Self {
        Self {
            name: "baseline",
            args: &["run", "--live"],
            files: &[
                (
                    "suite.sh",
                    "echo 1..2\necho not ok 1 - old\ntest -e a.txt && test -e c.txt && echo not ok 2 - new || echo ok 2 - new\nexit 1\n",
                ),
                (
                    "orch.yaml",
                    "verify: [{name: suite, run: sh suite.sh, fail_on: new}]\n",
                ),
            ],
            ..Self::sequence()
        }
    }

    /// Three tasks side by side, whose landing commits are verified on top of one another.
    pub(crate) fn queue() -> Self {
        Self {
            name: "queue",
            files: &[(
                "orch.yaml",
                "verify:\n  parallel: 2\n  commands: [{name: check, run: test -e orch.yaml}]\n",
            )],
            ..Self::parallel()
        }
    }

    /// A person approves what the first task makes, and that the second one starts; each time orch has ended meanwhile.
    pub(crate) fn approved() -> Self {
        Self {
            approves: &["1", "2"],
            ..Self::new(
                "approved",
                plan(&[
                    ("1", "gate: approval\nmax_attempts: 1\nrun: echo a > a.txt"),
                    (
                        "2",
                        "gate: {when: before}\nmax_attempts: 1\nrun: cat a.txt a.txt > b.txt",
                    ),
                ]),
            )
        }
    }

    /// A person approves while orch waits for it.
    pub(crate) fn answered() -> Self {
        Self {
            args: &["run", "--wait"],
            approves: &["1"],
            ..Self::new(
                "answered",
                plan(&[
                    ("1", "gate: approval\nmax_attempts: 1\nrun: echo a > a.txt"),
                    ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
                ]),
            )
        }
    }

    /// The first task waits for evidence, which is there at the second look.
    pub(crate) fn evidence() -> Self {
        let looks = "external: {run: 'test -e \"$GATE/seen\" || { touch \"$GATE/seen\"; exit 1; }', every: 1s}";
        Self {
            args: &["run", "--wait"],
            ..Self::new(
                "evidence",
                plan(&[
                    (
                        "1",
                        &format!("{looks}\nmax_attempts: 1\nrun: echo a > a.txt"),
                    ),
                    ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
                ]),
            )
        }
    }

    /// Hooks run around the run, after its tasks and never two at once; what has landed is judged at the end.
    pub(crate) fn crowned() -> Self {
        Self {
            name: "crowned",
            files: &[(
                "orch.yaml",
                r#"smoke: [{name: whole, run: test -e a.txt && test -e b.txt}]
hooks:
  before_run: echo "$ORCH_EVENT" >> "$GATE/told"
  after_task: exec 9> "$GATE/lock"; flock -n 9 || echo two >> "$GATE/told"; echo "$ORCH_EVENT $ORCH_TASK" >> "$GATE/told"
  after_run: exec 9> "$GATE/lock"; flock -n 9 || echo two >> "$GATE/told"; echo "$ORCH_EVENT" >> "$GATE/told"
"#,
            )],
            tells: &["before_run", "run_ended", "task_done 1", "task_done 2"],
            ..Self::sequence()
        }
    }

    /// The first attempt changes what agents are told, which is refused; the second task may change the gate's script.
    pub(crate) fn protected() -> Self {
        let refused_once = "max_attempts: 6\nrun: 'rm -f CLAUDE.md; test -e \"$GATE/tried\" && echo a > a.txt || { echo trust me > CLAUDE.md; touch \"$GATE/tried\"; }'";
        Self {
            counts_vary: true,
            files: &[
                ("check.sh", "test -e orch.yaml\n"),
                ("orch.yaml", "verify: [{name: check, run: sh check.sh}]\n"),
            ],
            ..Self::new(
                "protected",
                plan(&[
                    ("1", refused_once),
                    (
                        "2",
                        "allow_protected: [check.sh]\nmax_attempts: 1\nrun: echo 'test -e a.txt' > check.sh",
                    ),
                ]),
            )
        }
    }

    /// Any tasks, of which nothing is asserted but what they do.
    pub(crate) fn of_tasks(tasks: &[(&str, &str)]) -> Self {
        Self::new("tasks", plan(tasks))
    }

    /// With more attempts than it needs: what a loss of power takes of an agent's words may cost one.
    pub(crate) fn patient(mut self) -> Self {
        self.plan = self.plan.replace("max_attempts: 1", "max_attempts: 4");
        self.counts_vary = true;
        self.debris = true;
        self
    }

    /// Three tasks whose agents write for a while, two at a time.
    pub(crate) fn slow() -> Self {
        let task = |name: &str| {
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: 'for i in 1 2 3 4 5 6; do echo {name} $i; sleep 0.05; echo $i >> {name}.txt; done'"
            )
        };
        Self {
            name: "slow",
            plan: plan(&[("1", &task("a")), ("2", &task("b")), ("3", &task("c"))]),
            ..Self::parallel()
        }
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

    /// Starts orch, and says yes to what it asks, until it ends for another reason than a question; `prepared` is done to
    /// each command of orch's.
    pub(crate) fn played(&self, f: &Fixture, prepared: impl Fn(&mut std::process::Command)) -> Ran {
        loop {
            let mut command = self.command(f);
            prepared(&mut command);
            let mut live = Live::of(command, f.root());
            if self.args.contains(&"--wait") {
                f.await_that("an end or a question", || {
                    let is_asked = live.said().contains("waits for approval");
                    (is_asked || !live.has_not_ended()).then_some(())
                });
                if live.has_not_ended() {
                    self.approve(f, &prepared);
                }
            }
            let ran = live.ended();
            if ran.code != 4 || self.approves.is_empty() {
                return ran;
            }
            if let Some(killed) = self.approve(f, &prepared) {
                return killed;
            }
        }
    }

    /// Whether a person is asked.
    pub(crate) fn is_asked(&self) -> bool {
        !self.approves.is_empty()
    }

    /// Approves whatever may wait for it; the command that was killed, if one was.
    fn approve(&self, f: &Fixture, prepared: impl Fn(&mut std::process::Command)) -> Option<Ran> {
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
