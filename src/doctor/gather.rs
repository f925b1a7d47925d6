//! Looking at everything that is judged, without writing a byte: files are read, git is asked, the ledger is opened
//! read-only. A look that fails becomes a fact of its own.

mod locks;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::facts::{
    ClaudeFacts, Disk, Facts, LedgerFacts, PlanFacts, ProcessFacts, RefFacts, RunFacts, Trouble,
};
use super::rebuild::{RUNS_MAX, check_for_lost_ledger};
use crate::agent::claude::{self, ClaudeError};
use crate::audit;
use crate::config::Settings;
use crate::diagnostic::Severity;
use crate::engine::Engine;
use crate::engine::view::{Completion, TaskState};
use crate::git::Repository;
use crate::git::durable::{damaged, missed};
use crate::git::repository::RepositoryError;
use crate::ids::RunId;
use crate::plan::{self, Plan, Runner, Strictness};
use crate::process::{self, Errands};
use crate::store::{LedgerError, Reader, RunSummary, StateDir, entries_in, read_limited};
use crate::time::Wall;

/// Runs whose landed commits are checked: the newest ones.
const AUDITED_MAX: usize = 20;
/// Largest plan that is read.
const PLAN_BYTES_MAX: u64 = 16 << 20;
/// Lock files of package managers whose dependencies must be installed before anything works.
const PACKAGE_LOCKS: [&str; 9] = [
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "Gemfile.lock",
    "composer.lock",
];
/// Directory in which plans usually lie.
const PLANS: &str = ".claude/plans";

/// What the command line knows.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The clock.
    pub now: Wall,
    /// The settings of the repository, or why they cannot be used.
    pub settings: Result<&'a Settings, Trouble>,
    /// Where slots lie.
    pub slots: Option<PathBuf>,
    /// `PATH`.
    pub path_var: Option<&'a OsStr>,
    /// Hooks that do not run for landed commits.
    pub hooks: Vec<String>,
}

/// Looks at a machine without a usable repository.
pub async fn gather_without_repository(error: &RepositoryError, around: Surroundings<'_>) -> Facts {
    let mut facts = Facts {
        now: around.now,
        unusable: Some(Trouble {
            what: in_full(error),
            hints: error.hints(),
        }),
        ..Facts::default()
    };
    facts.machine(&around, &[]).await;
    facts
}

/// Looks at a repository and the machine around it.
pub async fn gather(repo: &Repository, around: Surroundings<'_>) -> Facts {
    let state = StateDir::of_repository(repo.common_dir());
    let mut facts = Facts {
        now: around.now,
        hooks: around.hooks.clone(),
        ..Facts::default()
    };
    match state.live_orch() {
        Ok(live) => facts.live = live,
        Err(error) => facts.not_seen("whether an orch works here", &error),
    }
    facts.identity = repo.identity().err().map(|error| Trouble {
        what: in_full(&error),
        hints: error.hints(),
    });
    facts.state_not_writable = not_writable(&state);
    facts.look_at_objects(repo, &state);
    facts.ledger = facts.ledger_of(repo, &state);
    facts.look_at_processes(&state);
    facts.look_at_refs(repo);
    facts.look_at_locks(repo);
    facts.look_at_plans(repo, around.settings.as_ref().ok().copied());
    facts.lock_files = PACKAGE_LOCKS
        .into_iter()
        .filter(|name| repo.worktree().join(name).is_file())
        .map(str::to_owned)
        .collect();
    let git_dir = ("the git directory", repo.common_dir().to_owned());
    facts.machine(&around, &[git_dir]).await;
    facts
}

impl Facts {
    fn not_seen(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        self.not_examined.push(Trouble {
            what: format!("{what}: {}", in_full(error)),
            hints: Vec::new(),
        });
    }

    /// What does not depend on the repository.
    async fn machine(&mut self, around: &Surroundings<'_>, more: &[(&'static str, PathBuf)]) {
        let mut places = more.to_vec();
        places.extend(around.slots.clone().map(|slots| ("slots", slots)));
        places.push(("temporary files", std::env::temp_dir()));
        for (of, path) in places {
            match free(&path) {
                Ok((free_bytes, free_files)) => self.disks.push(Disk {
                    of,
                    path,
                    free_bytes,
                    free_files,
                }),
                Err(error) => self.not_seen(&format!("free space for {of}"), &error),
            }
        }
        if let Some(slots) = &around.slots {
            match orphan_slots(slots) {
                Ok(orphans) => self.orphan_slots = orphans,
                Err(error) => self.not_seen("the directory of slots", &error),
            }
        }
        match &around.settings {
            Err(trouble) => self.settings = Some(trouble.clone()),
            Ok(settings) => {
                self.has_setup = !settings.setup_run.value.is_empty();
                let program = settings.claude_binary.value.as_path();
                self.claude = claude_at(program, around.path_var).await;
            }
        }
    }

    fn ledger_of(&mut self, repo: &Repository, state: &StateDir) -> LedgerFacts {
        let lost = |evidence| LedgerFacts::Lost { evidence };
        let reader = match Reader::open(state) {
            Ok(Some(reader)) => reader,
            Ok(None) => {
                return match (state.any_attempt(), check_for_lost_ledger(state, repo)) {
                    (Ok(Some(dir)), _) => lost(dir.display().to_string()),
                    (_, Err(LedgerError::Lost { evidence, .. })) => lost(evidence),
                    (Err(error), _) => {
                        self.not_seen("the directories of runs", &error);
                        LedgerFacts::None
                    }
                    (Ok(None), _) => LedgerFacts::None,
                };
            }
            Err(error) => return unread(&error),
        };
        match self.read_ledger(repo, state, &reader) {
            Ok(facts) => facts,
            Err(error) => unread(&error),
        }
    }

    fn read_ledger(
        &mut self,
        repo: &Repository,
        state: &StateDir,
        reader: &Reader,
    ) -> Result<LedgerFacts, LedgerError> {
        if let Some(detail) = reader.integrity()?.into_iter().next() {
            return Ok(LedgerFacts::Damaged { detail });
        }
        let runs = reader.runs(RUNS_MAX)?;
        if runs.is_empty() {
            let kept = state.any_attempt();
            let path = state.ledger();
            let kept = kept.map_err(|source| LedgerError::Io { path, source })?;
            if let Some(dir) = kept {
                let evidence = dir.display().to_string();
                return Ok(LedgerFacts::Lost { evidence });
            }
            check_for_lost_ledger(state, repo)?;
        }
        for (nth, run) in runs.into_iter().enumerate() {
            let facts = self.run(repo, reader, &run, nth < AUDITED_MAX)?;
            self.runs.push(facts);
        }
        Ok(LedgerFacts::Sound {
            newer: reader.newer_format(),
            is_original: reader.is_original()?,
            newest: reader.newest()?.map(|(_, at)| at),
        })
    }

    fn run(
        &mut self,
        repo: &Repository,
        reader: &Reader,
        run: &RunSummary,
        is_audited: bool,
    ) -> Result<RunFacts, LedgerError> {
        let records = reader.records(&run.run)?;
        let mut facts = RunFacts {
            lost_records: reader.lost_records(&run.run)?,
            ended: run.end.as_ref().map(|end| end.outcome),
            plan: run.plan_id.clone(),
            plan_path: run.plan_path.clone(),
            under_way: Ok(Vec::new()),
            landed: BTreeSet::new(),
            contradictions: Vec::new(),
            run: run.run.clone(),
        };
        match Engine::replay(run.run.clone(), &records) {
            Err(error) => facts.under_way = Err(error.to_string()),
            Ok(engine) => {
                let running = engine.tasks().filter(|view| {
                    matches!(view.state, TaskState::Running(_) | TaskState::Landing)
                });
                facts.under_way = Ok(running
                    .map(|view| (view.node.id.clone(), view.attempt))
                    .collect());
                let landed = engine.tasks().filter(|view| {
                    let how = match &view.state {
                        TaskState::Completed { how, .. } => Some(how),
                        _ => None,
                    };
                    how == Some(&Completion::Landed)
                });
                facts.landed = landed.map(|view| view.node.id.clone()).collect();
            }
        }
        // What was cut off is for recovery to say; of a live run it changes while one looks.
        let is_readable = self.damaged_objects.is_empty();
        if is_audited && is_readable && run.end.is_some() && facts.under_way.is_ok() {
            let discards = reader.records_of_kind("discarded")?;
            let said_before = audit::said_before(&records, |kind| reader.records_of_kind(kind))?;
            let case = audit::Case {
                run: &run.run,
                plan: &run.plan_id,
                target: &run.target,
                records: &records,
                discards: &discards,
                said_before: &said_before,
            };
            let opened = repo.open();
            let report = opened.map(|opened| audit::run(&opened, &case));
            match report {
                Ok(Ok(report)) => {
                    let words = report.findings.into_iter().map(|f| f.message);
                    facts.contradictions = words.collect();
                }
                Ok(Err(error)) => self.not_seen(&format!("the commits of run {}", run.run), &error),
                Err(error) => self.not_seen("the repository", &error),
            }
        }
        Ok(facts)
    }

    fn look_at_processes(&mut self, state: &StateDir) {
        let kept = match state.kept_runs() {
            Ok(kept) => kept,
            Err(error) => return self.not_seen("the directories of runs", &error),
        };
        let marked = match process::marked() {
            Ok(marked) => marked,
            Err(error) => return self.not_seen("the processes of this machine", &error),
        };
        let mine = marked.into_iter().filter(|marked| {
            let run = marked.marker.run();
            kept.contains(run) || self.runs.iter().any(|known| known.run == *run)
        });
        let mine = mine.map(|marked| ProcessFacts {
            pid: marked.process.pid,
            comm: marked.process.comm,
            run: marked.marker.run().clone(),
            task: marked.marker.ticket().task.clone(),
            attempt: marked.marker.ticket().attempt,
        });
        self.processes = mine.collect();
        match Errands::noted_in(state.errands()).left() {
            Ok(left) => self.errands = left,
            Err(error) => self.not_seen("the commands of earlier orchs", &error),
        }
    }

    /// Before anything reads them: libgit2 does not come back from one that is cut off.
    fn look_at_objects(&mut self, repo: &Repository, state: &StateDir) {
        let opened = repo.open().map_err(|e| in_full(&e));
        let damaged = opened.and_then(|opened| damaged(&opened).map_err(|e| e.to_string()));
        let looked = damaged.and_then(|found| match found.is_empty() {
            true => missed(repo, &state.damaged()).map_err(|e| in_full(&e)),
            false => Ok(found),
        });
        match looked {
            Ok(damaged) => self.damaged_objects = damaged,
            Err(error) => self.not_examined.push(Trouble {
                what: format!("the loose objects: {error}"),
                hints: Vec::new(),
            }),
        }
    }

    fn look_at_refs(&mut self, repo: &Repository) {
        if !self.damaged_objects.is_empty() {
            return;
        }
        match refs_of_runs(repo) {
            Ok(refs) => self.refs = refs,
            Err(error) => self.not_examined.push(Trouble {
                what: format!("the refs of orch: {error:#}"),
                hints: Vec::new(),
            }),
        }
    }

    fn look_at_locks(&mut self, repo: &Repository) {
        match locks::found(repo) {
            Ok((locks, unfinished)) => {
                self.locks = locks;
                self.unfinished_checkouts = unfinished;
            }
            Err(error) => self.not_examined.push(Trouble {
                what: format!("lock files of git: {error:#}"),
                hints: Vec::new(),
            }),
        }
    }

    fn look_at_plans(&mut self, repo: &Repository, settings: Option<&Settings>) {
        let root = repo.worktree();
        let mut paths: BTreeSet<PathBuf> = match entries_in(&root.join(PLANS)) {
            Ok(paths) => paths.into_iter().filter(|p| is_yaml(p)).collect(),
            Err(error) => return self.not_seen(PLANS, &error),
        };
        let mut seen = BTreeSet::new();
        for run in &self.runs {
            let path = PathBuf::from(&run.plan_path);
            if seen.insert(&run.plan) && path.is_file() {
                paths.insert(path);
            }
        }
        for path in paths {
            let text = match read_limited(&path, PLAN_BYTES_MAX) {
                Ok(text) => text,
                Err(error) => {
                    self.not_seen("a plan", &error);
                    continue;
                }
            };
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            let checked = plan::check(&relative.to_string_lossy(), &text, Strictness::AsWritten);
            let errors = checked.diagnostics.iter();
            let errors = errors.filter(|d| d.severity == Severity::Error).count();
            let plan = checked.plan.as_ref();
            self.plans.push(PlanFacts {
                id: plan.map(|plan| plan.id_or(&relative)),
                errors: if plan.is_none() { errors.max(1) } else { 0 },
                tasks: plan.map_or_else(BTreeSet::new, |plan| {
                    plan.tasks.iter().map(|task| task.id.clone()).collect()
                }),
                needs_claude: plan.is_some_and(|plan| needs_claude(plan, settings)),
                path: relative,
            });
        }
    }
}

/// Whether an open task may be for the agent program.
fn needs_claude(plan: &Plan, settings: Option<&Settings>) -> bool {
    let usual = plan
        .meta
        .runner
        .or(settings.map(|settings| settings.runner.value))
        .unwrap_or(Runner::Claude);
    let open = plan.tasks.iter().filter(|task| task.declared.is_open());
    let mut runners = open.map(|task| task.runner.unwrap_or(usual));
    runners.any(|runner| runner == Runner::Claude)
}

fn unread(error: &LedgerError) -> LedgerFacts {
    match error {
        LedgerError::Damaged { detail, .. } => LedgerFacts::Damaged {
            detail: detail.clone(),
        },
        LedgerError::NotALedger { .. } => LedgerFacts::Damaged {
            detail: "it is no database of orch's any more".to_owned(),
        },
        LedgerError::Lost { evidence, .. } => LedgerFacts::Lost {
            evidence: evidence.clone(),
        },
        error => LedgerFacts::Unreadable(Trouble {
            what: in_full(error),
            hints: Vec::new(),
        }),
    }
}

async fn claude_at(program: &Path, path_var: Option<&OsStr>) -> ClaudeFacts {
    match claude::resolve::resolve(Some(program), path_var).await {
        Ok(found) => ClaudeFacts::Found {
            version: found.version,
        },
        Err(error) => ClaudeFacts::Missing(claude_trouble(&error)),
    }
}

fn claude_trouble(error: &ClaudeError) -> Trouble {
    Trouble {
        what: in_full(error),
        hints: error.hints().iter().map(|&hint| hint.to_owned()).collect(),
    }
}

/// Why the state directory, or the place where it is to be made, cannot be written.
fn not_writable(state: &StateDir) -> Option<String> {
    let dir = state.path();
    let made = dir.exists();
    let parent = dir.parent().unwrap_or(dir);
    let mut places = vec![if made {
        dir.to_owned()
    } else {
        parent.to_owned()
    }];
    places.extend(Some(state.ledger()).filter(|ledger| ledger.exists()));
    places.iter().find_map(|place| {
        let error = access(place, Access::WRITE_OK).err()?;
        Some(format!(
            "{} cannot be written: {}",
            place.display(),
            io::Error::from(error)
        ))
    })
}

/// Free bytes and files of the file system on which a path lies, or would.
fn free(path: &Path) -> io::Result<(u64, Option<u64>)> {
    let there = path.ancestors().find(|dir| dir.exists()).unwrap_or(path);
    let found = statvfs(there)?;
    let files = (found.f_files > 0).then_some(found.f_favail);
    Ok((found.f_bavail.saturating_mul(found.f_frsize), files))
}

/// Slots whose marker names a repository that is not there any more.
fn orphan_slots(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut orphans = Vec::new();
    for repository in entries_in(root)? {
        for slot in entries_in(&repository)? {
            let marker = match fs::read(slot.join("orch/slot")) {
                Ok(marker) => marker,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(e) => return Err(e),
            };
            let of = marker.split(|b| *b == b'\n').nth(1).unwrap_or_default();
            if !of.is_empty() && !Path::new(OsStr::from_bytes(of)).exists() {
                orphans.push(slot);
            }
        }
    }
    Ok(orphans)
}

fn refs_of_runs(repo: &Repository) -> anyhow::Result<Vec<RefFacts>> {
    let opened = repo.open()?;
    let mut found: BTreeMap<RunId, RefFacts> = BTreeMap::new();
    for name in opened.references_glob("refs/orch/*")?.names() {
        let name = name?;
        let mut parts = name.split('/').skip(2);
        let (Some(kind), Some(run)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Ok(run) = RunId::parse(run) else { continue };
        let facts = found.entry(run.clone()).or_insert(RefFacts {
            run,
            pins: 0,
            all: 0,
        });
        facts.all += 1;
        facts.pins += usize::from(kind == "pin");
    }
    Ok(found.into_values().collect())
}

fn is_yaml(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// An error with its causes in one line.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
