//! Bringing notices to people: shell commands, webhooks, the desktop, mail. Bounded in time and in tries.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};

use super::Notice;
use super::marks::{self, Marking, Marks};
use crate::config::notify::{Channel, Subscription};
use crate::crash::{point, synced};
use crate::ids::RunId;
use crate::process::{Errand, Errands};
use crate::store::StateDir;

/// Pauses between tries; one more try than pauses.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Longest time of one command.
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// Longest time of one hook.
const HOOK_MAX: Duration = Duration::from_secs(600);

/// Longest time of one webhook, from the look-up of its name to the last byte of its answer.
const WEBHOOK_MAX: Duration = Duration::from_secs(10);

/// Mails by the interface that every mail program offers. The id keeps mails of the same notice apart from others, and
/// lets mail programs pass over a second one.
const EMAIL: &str = r#"printf 'To: %s\nSubject: orch: %s\nMessage-ID: <%s@orch.invalid>\n\n%s\n' "$ORCH_EMAIL" "$ORCH_EVENT" "$ORCH_EVENT_ID" "$ORCH_MESSAGE" | sendmail -i -- "$ORCH_EMAIL""#;

/// Shows a notice on a desktop, where there is one.
const DESKTOP: &str = if cfg!(target_os = "macos") {
    r#"osascript -e 'on run argv' -e 'display notification (item 2 of argv) with title (item 1 of argv)' -e 'end run' "orch: $ORCH_EVENT" "$ORCH_MESSAGE""#
} else {
    r#"notify-send --app-name=orch -- "orch: $ORCH_EVENT" "$ORCH_MESSAGE""#
};

/// Delivers the notices of one orch.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) state: StateDir,
    /// Where commands run: the top of the repository.
    pub(super) directory: PathBuf,
    /// Set when a notice did not even come here.
    pub(super) lost: Arc<AtomicBool>,
}

impl Courier {
    /// Has the next start know that this run had somebody to tell.
    pub(super) fn begin(&self, run: &RunId) {
        if self.mark(run, Marking::begun) {
            synced("notices", [self.state.run(run).notices().as_path()]);
        }
    }

    /// Delivers `missed`, then what comes, until nothing more comes. `run` is the one that goes on meanwhile.
    pub(super) fn work(
        &self,
        run: &RunId,
        missed: Vec<Notice>,
        queue: mpsc::Receiver<Notice>,
        closing: oneshot::Receiver<()>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.deliver_all(run, missed, queue, closing)),
            Err(error) => tracing::warn!(%error, "nobody is notified"),
        }
    }

    async fn deliver_all(
        &self,
        run: &RunId,
        missed: Vec<Notice>,
        mut queue: mpsc::Receiver<Notice>,
        mut closing: oneshot::Receiver<()>,
    ) {
        let mut all = true;
        let mut last = 0;
        for notice in missed {
            all &= self.deliver(&notice, &mut closing).await;
        }
        while let Some(notice) = queue.recv().await {
            last = notice.seq;
            all &= self.deliver(&notice, &mut closing).await;
        }
        if all && !self.lost.load(Ordering::Relaxed) {
            self.mark(run, |marking| marking.settled(last));
        }
    }

    /// Whether the mark is there. Without it the notice is delivered again by the next start.
    fn mark(&self, run: &RunId, mark: impl FnOnce(&mut Marking) -> io::Result<()>) -> bool {
        let path = self.state.run(run).notices();
        let marked = Marking::open(&path).and_then(|mut marking| mark(&mut marking));
        if let Err(error) = &marked {
            tracing::warn!(path = %path.display(), %error, "what is delivered cannot be noted");
        }
        marked.is_ok()
    }

    /// Whether everybody who wants the notice has it.
    async fn deliver(&self, notice: &Notice, closing: &mut oneshot::Receiver<()>) -> bool {
        let path = self.state.run(&notice.run).notices();
        let marks = match Marks::read(&path) {
            Ok(marks) => marks.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot see who was told of what");
                Marks::default()
            }
        };
        let mut all = true;
        let wanting = self
            .subscriptions
            .iter()
            .filter(|s| s.on.contains(&notice.occasion) && !marks.has(&notice.id, s));
        for subscription in wanting {
            match self.deliver_to(subscription, notice, closing).await {
                Ok(()) => {
                    point("notice-delivered");
                    self.mark(&notice.run, |marking| {
                        marking.delivered(&notice.id, subscription)
                    });
                }
                Err(error) => {
                    all = false;
                    let to = subscription.by.in_words();
                    tracing::warn!(id = notice.id, to, "not delivered: {error:#}");
                }
            }
        }
        all
    }

    async fn deliver_to(
        &self,
        subscription: &Subscription,
        notice: &Notice,
        closing: &mut oneshot::Receiver<()>,
    ) -> anyhow::Result<()> {
        let name = format!("{}-{}", notice.id, marks::name_of(subscription));
        let errand = Errands::noted_in(self.state.errands()).begin(&name)?;
        let errand = errand.context("an orch whose run is over is at it")?;
        let told = self
            .try_to_deliver(notice, &subscription.by, &errand, closing)
            .await;
        errand.done()?;
        told
    }

    async fn try_to_deliver(
        &self,
        notice: &Notice,
        channel: &Channel,
        errand: &Errand,
        closing: &mut oneshot::Receiver<()>,
    ) -> anyhow::Result<()> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(error) = self.deliver_once(notice, channel, errand).await else {
                return Ok(());
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            tracing::info!(
                id = notice.id,
                to = channel.in_words(),
                "not yet delivered: {error:#}"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // The run is over, and somebody waits for its exit code.
                _ = &mut *closing => return Err(error),
            }
        }
    }

    async fn deliver_once(
        &self,
        notice: &Notice,
        channel: &Channel,
        errand: &Errand,
    ) -> anyhow::Result<()> {
        let (text, most, email) = match channel {
            Channel::Run(command) => (command.as_str(), COMMAND_MAX, None),
            Channel::Hook(command) => {
                // It has run, and may have done half of its work: that is for its writer, not for another try.
                if let Err(error) = self.run(errand, HOOK_MAX, command, notice, None).await {
                    tracing::warn!(id = notice.id, hook = command, "the hook failed: {error:#}");
                }
                return Ok(());
            }
            Channel::Desktop => (DESKTOP, COMMAND_MAX, None),
            Channel::Email(address) => (EMAIL, COMMAND_MAX, Some(address.as_str())),
            Channel::Webhook(url) => return post(url, notice),
        };
        self.run(errand, most, text, notice, email).await
    }

    /// Runs a shell command, with the notice in its environment and, as JSON, on its standard input.
    async fn run(
        &self,
        errand: &Errand,
        most: Duration,
        text: &str,
        notice: &Notice,
        email: Option<&str>,
    ) -> anyhow::Result<()> {
        let log = self.state.run(&notice.run).notify_log();
        if let Some(dir) = log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&log)?;
        let (name, mark) = errand.variable();
        let mut child = tokio::process::Command::new("/bin/sh")
            .arg("-c")
            .arg(text)
            .current_dir(&self.directory)
            .envs(variables(notice, email))
            .env(name, mark)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start /bin/sh")?;
        let json = serde_json::to_vec(notice)?;
        let told = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A command that does not read it has no use for it.
                stdin.write_all(&json).await.ok();
            }
            child.wait().await
        };
        match tokio::time::timeout(most, told).await {
            Ok(status) => match status? {
                status if status.success() => Ok(()),
                status => bail!("the command ended with {status}"),
            },
            Err(_) => {
                // Its children, too.
                errand.end()?;
                bail!("the command took longer than {} s", most.as_secs())
            }
        }
    }
}

/// What a command finds in its environment.
fn variables(notice: &Notice, email: Option<&str>) -> BTreeMap<&'static str, String> {
    let mut variables = BTreeMap::from([
        ("ORCH_EVENT_ID", notice.id.clone()),
        ("ORCH_EVENT", notice.kind.to_owned()),
        ("ORCH_RUN", notice.run.to_string()),
        ("ORCH_PLAN", notice.plan.clone()),
        ("ORCH_MESSAGE", notice.text.clone()),
    ]);
    variables.extend(
        notice
            .task
            .as_ref()
            .map(|task| ("ORCH_TASK", task.to_string())),
    );
    if let Some(outcome) = notice.outcome {
        variables.insert("ORCH_OUTCOME", outcome.in_words().to_owned());
        variables.insert("ORCH_EXIT_CODE", outcome.exit_code().to_string());
    }
    variables.extend(email.map(|address| ("ORCH_EMAIL", address.to_owned())));
    variables
}

/// The address never gets into an error: it is a secret.
fn post(url: &str, notice: &Notice) -> anyhow::Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(WEBHOOK_MAX))
        .build()
        .into();
    let sent = agent
        .post(url)
        .header("content-type", "application/json")
        .header("idempotency-key", &notice.id)
        .send(serde_json::to_vec(notice)?);
    match sent {
        Ok(_) => Ok(()),
        Err(ureq::Error::StatusCode(status)) => bail!("it answered with HTTP {status}"),
        Err(ureq::Error::Timeout(_)) => {
            bail!("it took longer than {} s", WEBHOOK_MAX.as_secs())
        }
        Err(ureq::Error::Io(error)) => bail!("it cannot be reached: {}", error.kind()),
        Err(ureq::Error::HostNotFound) => bail!("its name is not known"),
        Err(ureq::Error::ConnectionFailed) => bail!("it cannot be reached"),
        Err(ureq::Error::Tls(why)) => bail!("no secure connection: {why}"),
        Err(_) => bail!("the request failed"),
    }
}
