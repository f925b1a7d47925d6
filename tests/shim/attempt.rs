//! An attempt to try a shim with: its directory, its order, and ways to talk with a scripted agent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orch::ids::{RunId, TaskId, Ticket};
use orch::process::{
    AgentEnd, AgentRun, Confinement, ExitReport, Launch, Marker, ProcessIdentity, Running,
    ShimSpec, read_exit, run_to_end, spawn,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;

pub(crate) const ORCH: &str = env!("CARGO_BIN_EXE_orch");
/// Longer than anything here takes on a busy machine; it only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const DISTANT_MS: u64 = 600_000;

/// An attempt directory with everything a shim needs, and a living orch.
pub(crate) struct Attempt {
    dir: tempfile::TempDir,
    pub(crate) spec: ShimSpec,
    pub(crate) orch_lock: Option<File>,
}

impl Attempt {
    /// An attempt whose agent is a shell script.
    pub(crate) fn with_script(script: &str) -> Self {
        Self::with_command("/bin/sh", &["-c", script])
    }

    pub(crate) fn with_command(program: &str, args: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("orch-shim-test-")
            .tempdir()
            .expect("made");
        let path = dir.path();
        let name = path.file_name().expect("named").to_string_lossy();
        let slot = path.join("slot");
        fs::create_dir(&slot).expect("made");
        fs::write(path.join("prompt"), "do it\n").expect("written");
        let lock = File::create(path.join("orch.lock")).expect("made");
        lock.lock().expect("locked");
        let path_variable = std::env::var("PATH").expect("set");
        let ticket = Ticket {
            task: TaskId::parse("1.10").expect("an id"),
            attempt: 2,
            epoch: 3,
        };
        let spec = ShimSpec {
            version: ShimSpec::VERSION,
            launch: Launch {
                program: PathBuf::from(program),
                args: args.iter().map(ToString::to_string).collect(),
                env: BTreeMap::from([("PATH".to_owned(), path_variable)]),
                cwd: slot,
            },
            stdin: path.join("prompt"),
            stdout: path.join("stdout"),
            stderr: path.join("stderr"),
            marker: Marker::new(RunId::parse(&name).expect("an id"), ticket),
            timeout_ms: DISTANT_MS,
            output_bytes_max: 1 << 30,
            unsupervised_ms_max: DISTANT_MS,
            grace_ms: DISTANT_MS,
            orch_lock: path.join("orch.lock"),
            confinement: Confinement::None,
        };
        Self {
            dir,
            spec,
            orch_lock: Some(lock),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn spawn(&self) -> Running {
        spawn(Path::new(ORCH), self.path(), &self.spec).expect("started")
    }

    pub(crate) async fn report(&self) -> ExitReport {
        let run = run_to_end(Path::new(ORCH), self.path(), &self.spec);
        patiently(run).await.expect("ran to its end")
    }

    pub(crate) async fn run(&self) -> AgentRun {
        ran(self.report().await)
    }

    pub(crate) async fn not_started(&self) -> String {
        match self.report().await.agent {
            AgentEnd::NotStarted { error } => error,
            AgentEnd::Ended(run) => panic!("it ran: {run:?}"),
        }
    }

    pub(crate) async fn ended(&self, running: Running) -> AgentRun {
        patiently(running.wait()).await.expect("waited");
        ran(read_exit(self.path()).expect("readable").expect("reported"))
    }

    /// Lines that the agent writes to `$MESSAGES`; to be asked for before the start.
    pub(crate) fn messages(&mut self) -> Messages {
        let fifo = self.fifo("MESSAGES");
        let open = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(fifo);
        Messages(BufReader::new(open.expect("opened")).lines())
    }

    /// A named pipe whose path the agent finds in the variable `name`.
    pub(crate) fn fifo(&mut self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let text = path.to_str().expect("UTF-8").to_owned();
        self.spec.launch.env.insert(name.to_owned(), text);
        path
    }

    pub(crate) fn shim(&self) -> ProcessIdentity {
        let text = fs::read(self.path().join("shim.pid")).expect("written");
        serde_json::from_slice(&text).expect("an identity")
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.spec.stdout).expect("readable")
    }
}

pub(crate) struct Messages(Lines<BufReader<pipe::Receiver>>);

impl Messages {
    pub(crate) async fn next(&mut self) -> String {
        let line = patiently(self.0.next_line()).await.expect("readable");
        line.expect("never closed")
    }

    pub(crate) async fn next_pid(&mut self) -> i32 {
        self.next().await.parse().expect("a pid")
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.expect("in time")
}

pub(crate) fn ran(report: ExitReport) -> AgentRun {
    match report.agent {
        AgentEnd::Ended(run) => run,
        AgentEnd::NotStarted { error } => panic!("not started: {error}"),
    }
}

pub(crate) fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().expect("a state").starts_with('Z'))
}

/// Waits for the end of a process that is nobody's child here.
pub(crate) async fn gone(pid: i32) {
    while is_running(pid) {
        tokio::task::yield_now().await;
    }
}
