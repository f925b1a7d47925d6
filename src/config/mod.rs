//! Settings: the layers that can give them, and the one place where the layers meet ([`resolve`]).
//!
//! Highest first: command line, environment (`ORCH_*`), plan, `orch.yaml`, the project file of claude-plan-orchestrator
//! (`seed` below), the user's file, default. Every value knows which of them it came from. Texts are handed in: nothing
//! here reads a file or a variable. `docs/settings.md` has a line for each key.

mod layer;
pub mod notify;
mod read;
mod show;
#[cfg(test)]
mod tests;
mod together;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{self, Diagnostic};
use crate::plan::bounds::Bound;
use crate::plan::checks::VerifyCommand;
use crate::plan::conflicts::KnownAnswer;
use crate::plan::{Plan, Runner};
use layer::LayerKind;
use notify::Subscription;
use read::Given;
use show::Show;

/// How many agents run at once under `--parallel` when nothing else says a number.
const PARALLEL_JOBS: u32 = 4;

/// Retries inside the `claude` program. Its own default of 10 keeps an attempt silent for three minutes; waiting is the
/// engine's.
const CLAUDE_MAX_RETRIES: u32 = 2;

/// Enough to read, change and try code. What is left out lets an agent leave its worktree (`EnterWorktree`), talk to
/// other sessions (`SendMessage`) or outlive its turn (`ScheduleWakeup`, `Monitor`).
const CLAUDE_TOOLS: [&str; 6] = ["Bash", "Edit", "Read", "Write", "Grep", "Glob"];

/// The models of the ladder, the least first.
const LADDER: [&str; 3] = ["haiku", "sonnet", "opus"];

/// A value and who decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a settings file.
    File {
        /// The file, as people call it.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// In the plan.
    Plan {
        /// The plan file, as people call it.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// In an environment variable.
    Environment(String),
    /// On the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Plan { name, key } => write!(f, "{name}, {key}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What an agent may do without being asked; in a session without a person, what is not allowed is denied. Only modes
/// in which an unattended session can finish are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Everything; deny rules still bind. The only mode that lets an agent write below `.claude/`.
    #[default]
    Bypass,
    /// The session's own tools, but no writes below `.claude/` and `.git/`.
    DontAsk,
    /// Edits of files; commands only where the person's own settings allow them.
    AcceptEdits,
}

/// Which MCP servers a session has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mcp {
    /// None.
    #[default]
    None,
    /// Those of the project's `.mcp.json`.
    Project,
    /// Those of a file; a relative path starts at the repository's root.
    File(PathBuf),
}

/// What happens at a usage limit, or when the day's budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLimit {
    /// The run waits for its end.
    #[default]
    Wait,
    /// The run ends with an exit code of its own.
    Stop,
}

/// Money in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Usd(pub u64);

/// A part of a whole in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMille(pub u32);

/// How agents are kept from the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// Not at all.
    #[default]
    None,
}

/// For how long the record of a gate counts for a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// Within the run.
    #[default]
    Run,
    /// In later runs as well: a person says that the gates depend on nothing but the tree and the probed environment.
    Hermetic,
}

/// Makes [`Settings`], its layers and the table of keys from one list: field, type, default, key, how it is read.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $key:literal by $read:path;)+) => {
        /// Every setting in force.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $field: Setting<$type>,)+
        }

        /// What one layer, or several of them, say.
        #[derive(Debug, Default)]
        struct Partial {
            $($field: Option<Setting<$type>>,)+
        }

        impl Partial {
            /// Where both say something, `self` holds.
            fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field),)+ }
            }

            fn or_defaults(self) -> Settings {
                Settings {
                    $($field: self.$field.unwrap_or_else(|| Setting {
                        value: $default,
                        origin: Origin::Default,
                    }),)+
                }
            }
        }

        /// All keys, in the order in which they are shown.
        const KEYS: &[Key] = &[$(Key {
            name: $key,
            set: |partial, given, origin| {
                partial.$field = Some(Setting { value: $read(given)?, origin });
                Ok(())
            },
        },)+];

        impl Settings {
            /// Key, value in words and origin of every setting, in a fixed order.
            pub fn rows(&self) -> Vec<(&'static str, String, &Origin)> {
                vec![$(($key, self.$field.value.show(), &self.$field.origin),)+]
            }
        }
    };
}

/// A key of settings files.
struct Key {
    /// With dots between levels.
    name: &'static str,
    /// Reads a value into the layer, or says what is wrong with it.
    set: fn(&mut Partial, &Given<'_>, Origin) -> Result<(), String>,
}

settings! {
    /// How many agents may run at once; at least 1.
    jobs: u32 = 1, "jobs" by read::jobs;
    /// What does tasks that name no runner.
    runner: Runner = Runner::Claude, "runner" by read::runner;
    /// The model of tasks and roles that name none; without it the runner decides.
    model: Option<String> = None, "model" by read::model;
    /// Longest time one attempt may take.
    timeout: Duration = Duration::from_secs(60 * 60), "timeout" by read::work_time;
    /// How long a session may be silent while no tool call is open.
    stall_timeout: Duration = Duration::from_secs(10 * 60), "stall_timeout" by read::work_time;
    /// How long the agent program may take to say anything at all.
    start_timeout: Duration = Duration::from_secs(2 * 60), "start_timeout" by read::work_time;
    /// Attempts of tasks when neither they nor the plan say a number; at least 1.
    max_attempts: u32 = crate::plan::schema::MAX_ATTEMPTS_DEFAULT, "max_attempts" by read::max_attempts;
    /// Longest first pause before another attempt; the pause is a random part of it, and doubles with each failure in a row.
    backoff_base: Duration = Duration::from_secs(1), "backoff_base" by read::pause;
    /// Longest such pause.
    backoff_max: Duration = Duration::from_secs(60), "backoff_max" by read::pause;
    /// Failures in a row, of at least two tasks, after which nothing new starts for a while; 0: never.
    circuit_breaker_threshold: u32 = 3, "circuit_breaker_threshold" by read::failures_or_none;
    /// How long that while is, before one attempt tries again.
    circuit_breaker_reset_timeout: Duration = Duration::from_secs(300), "circuit_breaker_reset_timeout" by read::pause;
    /// What happens at a usage limit, or when the day's budget is spent.
    limits_on_limit: OnLimit = OnLimit::Wait, "limits.on_limit" by read::on_limit;
    /// How long after a limit's reset work goes on.
    limits_margin: Duration = Duration::from_secs(60), "limits.margin" by read::pause;
    /// How full a usage window may be reported to be before nothing new starts.
    usage_pause_at: Option<PerMille> = None, "usage.pause_at" by read::some_percent;
    /// Longest time of a run, counted from each start.
    max_duration: Option<Duration> = None, "max_duration" by read::longest;
    /// Whether attempts after failures get better models.
    model_escalation_enabled: bool = false, "model_escalation.enabled" by read::switch;
    /// The models, the least first.
    model_escalation_ladder: Vec<String> = LADDER.map(str::to_owned).into(), "model_escalation.ladder" by read::ladder;
    /// The model of first attempts of tasks that name none.
    model_escalation_starting_model: Option<String> = None, "model_escalation.starting_model" by read::model;
    /// Failures on one rung before the next is tried.
    model_escalation_escalate_after: u32 = 2, "model_escalation.escalate_after" by read::failures;
    /// The highest rung; the ladder's last if none.
    model_escalation_max_model: Option<String> = None, "model_escalation.max_model" by read::model;
    /// What a run may cost before parts are taken off; 0: no bound.
    budget_quota_ceiling_usd: Usd = Usd(0), "budget.quota_ceiling_usd" by read::usd;
    /// Which part of the ceiling may be spent.
    budget_max_quota_percent: PerMille = PerMille(1000), "budget.max_quota_percent" by read::percent;
    /// What of the ceiling is left alone.
    budget_reserved_budget_usd: Usd = Usd(0), "budget.reserved_budget_usd" by read::usd;
    /// What an attempt of which nothing is known is expected to cost.
    budget_default_reserve: Usd = Usd(1_000_000), "budget.default_reserve" by read::usd;
    /// What an agent program may spend beyond its cap, because it looks only between requests.
    budget_overshoot: Usd = Usd(500_000), "budget.overshoot" by read::usd;
    /// What one attempt may cost.
    budget_attempt_usd: Option<Usd> = None, "budget.attempt.usd" by read::some_usd;
    /// Tokens of one attempt, after which its session is not continued.
    budget_attempt_tokens: Option<u64> = None, "budget.attempt.tokens" by read::tokens;
    /// Sessions of one attempt, continued ones included.
    budget_attempt_sessions: Option<u32> = None, "budget.attempt.sessions" by read::sessions;
    /// What all attempts of a task may cost.
    budget_task_usd: Option<Usd> = None, "budget.task.usd" by read::some_usd;
    /// Tokens of all attempts of a task.
    budget_task_tokens: Option<u64> = None, "budget.task.tokens" by read::tokens;
    /// Sessions of all attempts of a task.
    budget_task_sessions: Option<u32> = None, "budget.task.sessions" by read::sessions;
    /// Time that the agents of a task may take, added up.
    budget_task_time: Option<Duration> = None, "budget.task.time" by read::spent_time;
    /// What a run may cost.
    budget_run_usd: Option<Usd> = None, "budget.run.usd" by read::some_usd;
    /// Tokens of a run.
    budget_run_tokens: Option<u64> = None, "budget.run.tokens" by read::tokens;
    /// Sessions of a run.
    budget_run_sessions: Option<u32> = None, "budget.run.sessions" by read::sessions;
    /// Time that the agents of a run may take, added up.
    budget_run_time: Option<Duration> = None, "budget.run.time" by read::spent_time;
    /// What all runs of the repository may cost in a day.
    budget_day_usd: Option<Usd> = None, "budget.day.usd" by read::some_usd;
    /// Tokens of all runs of the repository in a day.
    budget_day_tokens: Option<u64> = None, "budget.day.tokens" by read::tokens;
    /// Sessions of all runs of the repository in a day.
    budget_day_sessions: Option<u32> = None, "budget.day.sessions" by read::sessions;
    /// Time that agents may take in a day, added up.
    budget_day_time: Option<Duration> = None, "budget.day.time" by read::spent_time;
    /// Whether a session that ended without a status is resumed once to ask for it.
    ask_status: bool = true, "ask_status" by read::switch;
    /// How long an agent may go on while no orch lives.
    unsupervised_max: Duration = Duration::from_secs(30 * 60), "unsupervised_max" by read::work_time;
    /// How long a process tree has between SIGTERM and SIGKILL.
    kill_grace: Duration = Duration::from_secs(5), "kill_grace" by read::grace;
    /// Largest size of each of an agent's two output streams, in bytes.
    output_max: u64 = 256 << 20, "output_max" by read::output_bytes;
    /// How agents are kept from the rest of the machine.
    confinement: Confinement = Confinement::None, "confinement" by read::confinement;
    /// Whether a run keeps the machine from falling asleep.
    keep_awake: bool = true, "keep_awake" by read::switch;
    /// Where slots are made; without it below the user's state directory.
    slots_dir: Option<PathBuf> = None, "slots_dir" by read::absolute_dir;
    /// Shell commands that make a fresh slot usable, in order.
    setup_run: Vec<String> = Vec::new(), "setup.run" by read::commands;
    /// Globs of files after whose change a slot is set up again.
    setup_when_changed: Vec<String> = Vec::new(), "setup.when_changed" by read::globs;
    /// Commands that judge every landing commit, in order.
    verify_commands: Vec<VerifyCommand> = Vec::new(), "verify.commands" by read::verify;
    /// Longest time of one verify command that says none itself.
    verify_timeout: Duration = Duration::from_secs(30 * 60), "verify.timeout" by read::work_time;
    /// Whether ignored files are removed from a gate slot before each use.
    verify_clean: bool = false, "verify.clean" by read::switch;
    /// Commands whose output tells one environment of gates from another.
    verify_env_probe: Vec<String> = Vec::new(), "verify.env_probe" by read::commands;
    /// How many landing commits are verified at once, each in a gate slot of its own.
    verify_parallel: u32 = 1, "verify.parallel" by read::gate_slots;
    /// Whether records of earlier runs count for the same tree.
    verify_cache: Cache = Cache::Run, "verify.cache" by read::cache;
    /// Whether a run needs a required verify command for every task that changes something.
    verify_require: bool = false, "verify.require" by read::switch;
    /// Whether gates must pass with the base's own files, too, where a task may change protected ones.
    verify_require_base_files: bool = false, "verify.require_base_files" by read::switch;
    /// Whether approvals count only with a signature.
    approvals_signed: bool = false, "approvals.signed" by read::switch;
    /// Globs of paths that no candidate may change, beside those that are protected by default.
    protect_add: Vec<String> = Vec::new(), "protect.add" by read::globs;
    /// Globs of paths that are protected by default, and in this project are not.
    protect_remove: Vec<String> = Vec::new(), "protect.remove" by read::globs;
    /// How conflicts in some files are settled without anybody being asked.
    merge: Vec<KnownAnswer> = Vec::new(), "merge" by read::answers;
    /// Whether a session is asked to resolve a conflict that has no known answer, before the task is done again.
    merge_resolver: bool = true, "merge_resolver" by read::switch;
    /// Where the project's roles lie, from the repository's root.
    agents_dir: PathBuf = PathBuf::from(".claude/agents"), "agents_dir" by read::project_dir;
    /// How the project is built; told to agents.
    build_command: Option<String> = None, "build_command" by read::command;
    /// How the project is tested; told to agents.
    test_command: Option<String> = None, "test_command" by read::command;
    /// How the project's development server is started; told to agents.
    dev_server_command: Option<String> = None, "dev_server_command" by read::command;
    /// The port of that server; told to agents.
    dev_server_port: Option<u16> = None, "dev_server_port" by read::port;
    /// Who is told of what.
    notify: Vec<Subscription> = Vec::new(), "notify" by notify::subscriptions;
    /// What runs before anything else of a run does; unless it succeeds, nothing starts.
    hooks_before_run: Option<String> = None, "hooks.before_run" by read::command;
    /// What runs after each task that was completed or has failed.
    hooks_after_task: Option<String> = None, "hooks.after_task" by read::command;
    /// What runs after a run.
    hooks_after_run: Option<String> = None, "hooks.after_run" by read::command;
    /// Commands that judge the target when the plan is through, in order.
    smoke: Vec<VerifyCommand> = Vec::new(), "smoke" by read::verify;
    /// Whether commits get a `Signed-off-by` line.
    commit_sign_off: bool = false, "commit.sign_off" by read::switch;
    /// How many of the newest runs keep their directories and refs, whatever their age.
    gc_keep_runs: u32 = 20, "gc.keep_runs" by read::run_count;
    /// How old a run must be before its directory and refs may go.
    gc_keep_days: u32 = 30, "gc.keep_days" by read::days;
    /// The `claude` program: a path, or a name to look up in `PATH`.
    claude_binary: PathBuf = PathBuf::from("claude"), "claude.binary" by read::program;
    /// What an agent may do without being asked.
    claude_permission: Permission = Permission::Bypass, "claude.permission" by read::permission;
    /// Whether agents may run as root with permissions bypassed.
    claude_allow_root: bool = false, "claude.allow_root" by read::switch;
    /// Which MCP servers a session has.
    claude_mcp: Mcp = Mcp::None, "claude.mcp" by read::mcp;
    /// The tools of sessions whose role names none.
    claude_tools: Vec<String> = CLAUDE_TOOLS.map(str::to_owned).into(), "claude.tools" by read::tools;
    /// Retries of requests inside the program, before an attempt counts as throttled.
    claude_max_retries: u32 = CLAUDE_MAX_RETRIES, "claude.max_retries" by read::retries;
}

impl Settings {
    /// Commands that judge every landing commit: those of `verify`, else `build_command` and `test_command`.
    pub fn verify(&self) -> Vec<VerifyCommand> {
        if self.verify_commands.origin != Origin::Default {
            return self.verify_commands.value.clone();
        }
        let told = [("build", &self.build_command), ("test", &self.test_command)];
        let command = |(name, setting): (&str, &Setting<Option<String>>)| {
            let run = setting.value.as_deref()?;
            Some(VerifyCommand {
                name: name.to_owned(),
                ..VerifyCommand::plain(run)
            })
        };
        told.into_iter().filter_map(command).collect()
    }

    /// Every setting with its origin as the ledger keeps them: `jobs` -> `4 (orch.yaml:2)`.
    pub fn for_record(&self) -> BTreeMap<String, String> {
        let entry = |(key, value, origin): (&str, String, &Origin)| {
            (key.to_owned(), format!("{value} ({origin})"))
        };
        self.rows().into_iter().map(entry).collect()
    }
}

/// Everything that can say something about settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// The command line.
    pub flags: Flags<'a>,
    /// The environment; only `ORCH_*` is looked at.
    pub environment: Option<&'a BTreeMap<String, String>>,
    /// What the plan says.
    pub plan: Option<PlanLayer<'a>>,
    /// `orch.yaml` at the repository's root.
    pub project: Option<Layer<'a>>,
    /// `.claude/orchestrator-config.yaml`.
    pub seed: Option<Layer<'a>>,
    /// `orch/config.yaml` in the user's configuration directory.
    pub user: Option<Layer<'a>>,
    /// What `~/` stands for.
    pub home: Option<&'a Path>,
}

/// The settings of the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags<'a> {
    /// `--jobs`.
    pub jobs: Option<u32>,
    /// `--parallel`: several jobs, even if nothing says how many.
    pub parallel: bool,
    /// `--runner`.
    pub runner: Option<&'a str>,
    /// `--model`.
    pub model: Option<&'a str>,
    /// `--require-verify`.
    pub require_verify: bool,
    /// Flags that give a setting as it is: the flag, the setting, the value.
    pub others: &'a [(&'static str, &'static str, &'a str)],
}

/// The settings of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanLayer<'a> {
    /// The file, as people call it.
    pub name: &'a str,
    /// `meta.jobs`.
    pub jobs: Option<u32>,
    /// `meta.runner`.
    pub runner: Option<Runner>,
    /// `meta.max_attempts_default`.
    pub max_attempts: Option<u32>,
    /// `meta.smoke`.
    pub smoke: Option<&'a [VerifyCommand]>,
    /// What bounds its runs.
    pub bounds: &'a [Bound],
    /// `meta.merge`.
    pub merge: Option<&'a [KnownAnswer]>,
}

impl<'a> PlanLayer<'a> {
    /// What a checked plan says.
    pub fn of(name: &'a str, plan: &'a Plan) -> Self {
        Self {
            name,
            jobs: plan.meta.jobs,
            runner: plan.meta.runner,
            max_attempts: plan.meta.max_attempts_default,
            smoke: plan.meta.smoke.as_deref(),
            bounds: &plan.meta.bounds,
            merge: plan.meta.merge.as_deref(),
        }
    }
}

/// A settings file.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The file, as people call it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What is wrong with one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, variable or flag.
    pub name: String,
    /// Its text, in which the spans count.
    pub text: String,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// For people: with places, lines and carets.
    pub fn render(&self, color: bool) -> String {
        diagnostic::render(&self.name, &self.text, &self.diagnostics, color)
    }

    /// For programs: each with line and column.
    pub fn located(&self) -> Vec<diagnostic::Located<'_>> {
        diagnostic::locate(&self.name, &self.text, &self.diagnostics)
    }
}

/// Settings that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// What is suspicious about their sources.
    pub warnings: Vec<Problems>,
}

/// Lets the layers meet: the highest that says something about a key decides it.
///
/// # Errors
/// Everything that is wrong with any source, also where a higher layer decides the key; warnings included.
pub fn resolve(sources: &Sources<'_>) -> Result<Resolved, Vec<Problems>> {
    let mut problems = Vec::new();
    let home = sources.home;
    let mut file = |layer: Option<Layer<'_>>, kind| {
        layer.map_or_else(Partial::default, |layer| {
            layer::of_file(layer, kind, home, &mut problems)
        })
    };
    let project = file(sources.project, LayerKind::Own);
    let seed = file(sources.seed, LayerKind::Seed);
    let user = file(sources.user, LayerKind::Own);
    let environment = sources.environment.map_or_else(Partial::default, |vars| {
        layer::of_environment(vars, home, &mut problems)
    });
    let plan = sources.plan.map_or_else(Partial::default, |plan| {
        layer::of_plan(plan, home, &mut problems)
    });
    let merged = layer::of_flags(&sources.flags, home, &mut problems)
        .over(environment)
        .over(plan)
        .over(project)
        .over(seed)
        .over(user);

    if problems
        .iter()
        .any(|p| diagnostic::has_errors(&p.diagnostics))
    {
        return Err(problems);
    }
    let mut settings = merged.or_defaults();
    if sources.flags.parallel && settings.jobs.origin == Origin::Default {
        settings.jobs = Setting {
            value: PARALLEL_JOBS,
            origin: Origin::Flag("--parallel"),
        };
    }
    together::check(&settings, &mut problems);
    if problems
        .iter()
        .any(|p| diagnostic::has_errors(&p.diagnostics))
    {
        return Err(problems);
    }
    Ok(Resolved {
        settings,
        warnings: problems,
    })
}
