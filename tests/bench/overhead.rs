//! What orch costs beside what people do by hand, in one run on one machine: `cargo bench --bench overhead`.
//!
//! The agent does nothing but write one file, so that all that is measured is orch. Beside it a shell loop does with
//! plain git what a person would per task. Both are run in turns, so that whatever else the machine does hits both. A
//! figure that has a bar is marked where it is over it; nothing fails for it, because machines differ.
//! `docs/performance.md` says how to read the table. Names of parts as arguments run only those.

mod looks;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tempfile::TempDir;

/// Files in the repository: ten directories of thirty.
const FILES: usize = 300;
/// As first argument: run the rest as a command, and say what it used.
const MEASURE: &str = "__measure";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((MEASURE, command)) = args.split_first().map(|(a, rest)| (a.as_str(), rest)) {
        return measure_child(command);
    }
    let wanted: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let unknown = wanted.iter().find(|part| !PARTS.contains(part));
    if let Some(unknown) = unknown {
        say(&format!(
            "there is no part {unknown}; parts: {}",
            PARTS.join(", ")
        ));
        return ExitCode::from(2);
    }
    let is_wanted = |part: &str| wanted.is_empty() || wanted.contains(&part);
    let began = Instant::now();
    row("what", "orch", "beside it, or bar", "ratio");
    // What 1,000 tasks left, for the part that goes on with it.
    let mut finished = None;
    for part in PARTS.into_iter().filter(|part| is_wanted(part)) {
        match part {
            "start" => start(),
            "check" => check(),
            "memory" => memory(),
            "hundred" => hundred(),
            "thousand" => finished = Some(thousand()),
            "queue" => queue(),
            "looks" => looks::looks(),
            _ => restart(&finished.take().unwrap_or_else(with_a_thousand_landed)),
        }
    }
    say(&format!("measured in {} s", began.elapsed().as_secs()));
    ExitCode::SUCCESS
}

const PARTS: [&str; 8] = [
    "start", "check", "memory", "hundred", "queue", "looks", "thousand", "restart",
];

/// How long it takes to say a version, and to show the schedule of 1,000 tasks.
fn start() {
    let scene = Scene::new(&plan(1_000, |_| "pending"));
    let version = scene.median(21, &["--version"]);
    let git = median((0..21).map(|_| scene.used("git", ["--version"]).wall));
    against_bar("--version", version.wall, Duration::from_millis(5));
    row(
        "",
        "",
        &format!("git --version {}", ms(git)),
        &ratio(version.wall, git),
    );
    let dry = scene.median(11, &["run", "--dry-run"]);
    against_bar(
        "dry run of 1,000 tasks",
        dry.wall,
        Duration::from_millis(60),
    );
}

/// How long it takes to check 100,000 tasks.
fn check() {
    let scene = Scene::new(&plan(100_000, |_| "pending"));
    let used = scene.median(3, &["check", ".claude/plans/plan.yaml"]);
    against_bar("check of 100,000 tasks", used.wall, Duration::from_secs(1));
    against_bar("its cpu time", used.cpu, Duration::from_secs(1));
    row("", &mib(used.rss_kib), "", "");
}

/// How much memory 10,000 tasks take.
fn memory() {
    const BAR_KIB: u64 = 40 << 10;
    let scene = Scene::new(&plan(
        10_000,
        |n| if n > 10 { "completed" } else { "pending" },
    ));
    for (what, args) in [
        ("memory, dry run of 10,000 tasks", &["run", "--dry-run"][..]),
        (
            "memory, run with 10,000 tasks, 10 of them open",
            &["run"][..],
        ),
        ("memory, status of it", &["status"][..]),
    ] {
        let used = scene.orch(args);
        let part = used.rss_kib as f64 / BAR_KIB as f64;
        row(what, &mib(used.rss_kib), &mib(BAR_KIB), &marked(part));
    }
}

/// How long 8 candidates without conflicts take to land with several gate slots, beside verifications that only sleep.
fn queue() {
    const CANDIDATES: u32 = 8;
    const UNIT: Duration = Duration::from_secs(8);
    for slots in [1, 2, 4, 8] {
        let scene = Scene::new(&plan(CANDIDATES as usize, |_| "pending"));
        // The untouched target is asked about before the first candidate.
        let check = format!(
            "verify: {{parallel: {slots}, commands: [{{name: check, run: 'test $ORCH_TASK = baseline || sleep {}'}}]}}\n",
            UNIT.as_secs()
        );
        std::fs::write(scene.repo().join("orch.yaml"), check).expect("settings");
        scene.sh("git add -A && git commit -qm Gates");
        scene.orch(&["run", "-j", "8"]);
        let rounds = f64::from(CANDIDATES.div_ceil(slots)) + 0.5;
        against_bar(
            &format!("8 candidates, {slots} gate slots"),
            scene.between("building", "landed"),
            UNIT.mul_f64(rounds),
        );
    }
}

/// How many tasks run at once, where that is compared.
const JOBS: [&str; 2] = ["1", "8"];

/// 100 tasks, in three turns, beside a third of them by hand each; for each number of jobs the turn whose ratio is in the
/// middle counts.
fn hundred() {
    const TURNS: u32 = 3;
    let beside = Scene::new(&plan(100, |_| "pending"));
    let turn = |n| {
        let by_hand = beside.loop_of(n * 33 + 1, n * 33 + 33);
        let orch =
            JOBS.map(|jobs| Scene::new(&plan(100, |_| "pending")).orch(&["run", "-j", jobs]));
        (orch, by_hand)
    };
    let turns: Vec<([Used; 2], Used)> = (0..TURNS).map(turn).collect();
    for (i, jobs) in JOBS.iter().enumerate() {
        let mut turns: Vec<_> = turns
            .iter()
            .map(|(orch, hand)| (orch[i].per(100), hand.per(33)))
            .collect();
        turns.sort_by(|a, b| quotient(a.0.wall, a.1.wall).total_cmp(&quotient(b.0.wall, b.1.wall)));
        let (orch, by_hand) = turns[turns.len() / 2];
        per_task(&format!("100 tasks, -j {jobs}"), orch, by_hand);
    }
}

/// 1,000 tasks. By hand they take minutes, so that only some of them are done: before, between and behind the runs, each
/// time among the files that the tasks before them leave.
fn thousand() -> Scene {
    const BY_HAND: u32 = 50;
    let beside = Scene::new(&plan(1_000, |_| "pending"));
    let mut by_hand = beside.loop_of(1, BY_HAND);
    let [(_, in_turn), (scene, at_once)] = [(JOBS[0], 500), (JOBS[1], 950)].map(|(jobs, done)| {
        let scene = Scene::new(&(plan(1_000, |_| "pending") + LAST));
        let orch = scene.used_by(orch().as_os_str(), &["run", "-j", jobs], FAILED);
        beside.sh(&format!(
            "for i in $(seq 1 {done}); do echo x > f$i.txt; done; git add -A; git commit -qm Tasks"
        ));
        by_hand += beside.loop_of(done + 1, done + BY_HAND);
        (scene, orch)
    });
    for (jobs, orch) in JOBS.iter().zip([in_turn, at_once]) {
        let name = format!("1,000 tasks, -j {jobs}");
        per_task(&name, orch.per(1_000), by_hand.per(3 * BY_HAND));
    }
    let status = scene.median(5, &["status"]);
    row(
        "status of a finished run of 1,000",
        &ms(status.wall),
        "",
        "",
    );
    row("", &mib(status.rss_kib), "", "");
    scene
}

/// A run in which 1,000 tasks landed, and one failed.
fn with_a_thousand_landed() -> Scene {
    let scene = Scene::new(&(plan(1_000, |_| "pending") + LAST));
    scene.used_by(orch().as_os_str(), &["run", "-j", "2"], FAILED);
    scene
}

/// What goes on with, checks, and follows a run in which 1,000 tasks landed.
fn restart(scene: &Scene) {
    against_bar(
        "restart to first action, 1,000 finished",
        median((0..5).map(|_| scene.restart())),
        Duration::from_millis(300),
    );
    let audit = scene.median(5, &["audit"]);
    against_bar(
        "audit of 1,000 landed commits",
        audit.wall,
        Duration::from_secs(2),
    );
    row("", &mib(audit.rss_kib), "", "");
    let doctor = scene.median(5, &["doctor"]);
    row("doctor of the same", &ms(doctor.wall), "", "");
    scene.orch(&["skip", "last"]);
    scene.orch(&["run"]);
    let plan = scene.repo().join(".claude/plans/plan.yaml");
    let text = std::fs::read_to_string(&plan).expect("a plan");
    std::fs::write(&plan, text + MORE).expect("a plan");
    scene.sh("git commit -qam More");
    row(
        "new run after 1,000 landings, to first action",
        &ms(scene.first_action()),
        "",
        "",
    );
}

/// The exit code of a run in which a task failed.
const FAILED: i32 = 1;
/// A task that fails, so that a later start goes on with the run.
const LAST: &str = "      - id: last
        name: fails
        runner: command
        max_attempts: 1
        run: 'false'
";

/// A task that was added later.
const MORE: &str = "      - id: more
        name: More
        runner: command
        run: 'echo x > more.txt'
";

/// A plan of `count` tasks, each of which writes one file.
fn plan(count: usize, status: impl Fn(usize) -> &'static str) -> String {
    let mut text =
        "meta:\n  name: Bench\nsections:\n  - id: s\n    name: All\n    tasks:\n".to_owned();
    for n in 1..=count {
        // Without needs: in a sequence, `-j 8` would find nothing to do beside a task.
        write!(
            text,
            "      - id: t{n}\n        name: Task {n}\n        status: {}\n        runner: command\n        \
             run: 'echo x > f{n}.txt'\n        depends_on: []\n",
            status(n)
        )
        .expect("a string takes all");
    }
    text
}

/// A repository with a committed plan, and a HOME and a state directory of its own.
struct Scene(TempDir);

impl Scene {
    fn new(plan: &str) -> Self {
        let scene = Self(tempfile::tempdir().expect("a scratch directory"));
        for dir in ["home", "state", "trees"] {
            std::fs::create_dir(scene.0.path().join(dir)).expect("a directory");
        }
        let repo = scene.repo();
        for n in 0..FILES {
            let file = repo.join(format!("d{}/f{n}.txt", n % 10));
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
            std::fs::write(file, format!("{n}\n").repeat(50)).expect("a file");
        }
        std::fs::create_dir_all(repo.join(".claude/plans")).expect("a directory");
        std::fs::write(repo.join(".claude/plans/plan.yaml"), plan).expect("a plan");
        scene.sh(
            "git init -q -b main && git config user.name Ada && git config user.email ada@example.invalid \
             && git add -A && git commit -qm Begin",
        );
        scene
    }

    fn repo(&self) -> PathBuf {
        self.0.path().join("repo")
    }

    fn clean(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.repo())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.0.path().join("home"))
            .env("XDG_STATE_HOME", self.0.path().join("state"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The time from the first record of a kind to the last of another.
    fn between(&self, first: &str, last: &str) -> Duration {
        let output = self.clean(orch()).args(["events", "--since", "0"]).output();
        let output = output.expect("orch").stdout;
        let text = String::from_utf8(output).expect("text");
        let records: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect();
        let at = |record: &serde_json::Value| record["at"].as_u64().expect("a time");
        let from = records
            .iter()
            .find(|r| r["record"]["kind"] == *first)
            .map(at)
            .expect(first);
        let to = records
            .iter()
            .rfind(|r| r["record"]["kind"] == *last)
            .map(at)
            .expect(last);
        Duration::from_millis(to - from)
    }

    fn sh(&self, script: &str) {
        let status = self.clean("sh").args(["-ec", script]).status();
        assert!(status.expect("sh").success(), "{script}");
    }

    /// What a program used, from its start to its end.
    fn used<const N: usize>(&self, program: impl AsRef<OsStr>, args: [&str; N]) -> Used {
        self.used_by(program.as_ref(), &args, 0)
    }

    fn used_by(&self, program: &OsStr, args: &[&str], code: i32) -> Used {
        let this = std::env::current_exe().expect("this program");
        let mut command = self.clean(this);
        let command = command.arg(MEASURE).arg(program).args(args);
        let output = command.output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{program:?} {args:?}");
        Used::parse(&String::from_utf8_lossy(&output.stdout))
    }

    fn orch(&self, args: &[&str]) -> Used {
        self.used_by(orch().as_os_str(), args, 0)
    }

    /// The run of `times` that was neither fast nor slow.
    fn median(&self, times: usize, args: &[&str]) -> Used {
        let mut all: Vec<Used> = (0..times).map(|_| self.orch(args)).collect();
        all.sort_by_key(|used| used.wall);
        all[times / 2]
    }

    /// What a person does for the tasks `from` to `to`.
    fn loop_of(&self, from: u32, to: u32) -> Used {
        let script = format!(
            "for i in $(seq {from} {to}); do
                git worktree add -q -b task-$i ../trees/$i
                (cd ../trees/$i && sh -c \"echo x > f$i.txt\" && git add -A && git commit -qm \"Task $i\")
                git merge -q --ff-only task-$i
                git worktree remove ../trees/$i
            done"
        );
        self.used("sh", ["-ec", &script])
    }

    /// The time from a start that goes on with a run to the first thing it begins.
    fn restart(&self) -> Duration {
        self.orch(&["retry", "--failed"]);
        self.first_action()
    }

    /// The time from a start to the first attempt.
    fn first_action(&self) -> Duration {
        let started = Instant::now();
        let mut child = self
            .clean(orch())
            .args(["run", "--format", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("orch");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let begun = lines.find(|line| line.as_ref().expect("text").contains("attempt_started"));
        let elapsed = started.elapsed();
        assert!(begun.is_some(), "something begins");
        lines.for_each(drop);
        child.wait().expect("it ends");
        elapsed
    }
}

fn orch() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_orch"))
}

/// What a command and all that it started used.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    wall: Duration,
    cpu: Duration,
    /// Of the largest of its processes.
    rss_kib: u64,
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.rss_kib = self.rss_kib.max(other.rss_kib);
    }
}

impl Used {
    /// Of one of `tasks` that did the same.
    fn per(self, tasks: u32) -> Self {
        Self {
            wall: self.wall / tasks,
            cpu: self.cpu / tasks,
            ..self
        }
    }

    fn parse(text: &str) -> Self {
        let line = text.lines().last().expect("a line of figures");
        let figures: Vec<u64> = line
            .split(' ')
            .map(|f| f.parse().expect("a number"))
            .collect();
        Self {
            wall: Duration::from_micros(figures[0]),
            cpu: Duration::from_micros(figures[1]),
            rss_kib: figures[2],
        }
    }
}

/// In a process of its own, so that its children are this command alone.
fn measure_child(command: &[String]) -> ExitCode {
    let started = Instant::now();
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .status();
    let wall = started.elapsed().as_micros();
    let code = status.expect("the command starts").code();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system counts");
    let micros = |t: TimeVal| t.tv_sec() * 1_000_000 + t.tv_usec();
    let cpu = micros(usage.user_time()) + micros(usage.system_time());
    say(&format!("{wall} {cpu} {}", usage.max_rss()));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    )
}

fn median(figures: impl Iterator<Item = Duration>) -> Duration {
    let mut all: Vec<Duration> = figures.collect();
    all.sort();
    all[all.len() / 2]
}

/// One task in a run beside one by hand. That it takes no longer is the bar.
fn per_task(what: &str, orch: Used, by_hand: Used) {
    for (how, orch, by_hand) in [
        ("wall", orch.wall, by_hand.wall),
        ("cpu", orch.cpu, by_hand.cpu),
    ] {
        row(
            &format!("{what}: {how} per task"),
            &ms(orch),
            &format!("loop {}", ms(by_hand)),
            &marked(quotient(orch, by_hand)),
        );
    }
    row("", &mib(orch.rss_kib), "", "");
}

fn against_bar(what: &str, found: Duration, bar: Duration) {
    row(what, &ms(found), &ms(bar), &marked(quotient(found, bar)));
}

/// A ratio, and whether it is over the bar.
fn marked(ratio: f64) -> String {
    let mark = if ratio > 1.0 { " OVER" } else { "" };
    format!("{ratio:.2}{mark}")
}

fn ratio(a: Duration, b: Duration) -> String {
    format!("{:.2}", quotient(a, b))
}

fn quotient(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1_024.0)
}

fn row(what: &str, orch: &str, beside: &str, ratio: &str) {
    say(&format!("{what:<50} {orch:>12} {beside:>24} {ratio:>9}"));
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn say(line: &str) {
    println!("{line}");
}
