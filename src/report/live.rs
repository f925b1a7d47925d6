//! The live region of a terminal: a bar over the plan and a line for each running task, below the lines that stay.

use std::collections::BTreeMap;
use std::io::Stderr;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::doing::Doing;
use super::paint::in_one_line;
use super::summary::{rounded, stage_in_words, tokens_in};
use crate::engine::Engine;
use crate::engine::view::{Stage, TaskState, TaskView};
use crate::ids::TaskId;
use crate::time::{Now, for_people};

/// How often elapsed times are redrawn while something runs.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// Running tasks that are shown; a screen is not endless.
const ROWS_MAX: usize = 12;
/// Most of a task's name that its row shows.
const NAME_CHARS_MAX: usize = 32;

/// The region.
#[derive(Debug)]
pub(super) struct Region {
    _keys: Option<UnshownKeys>,
    screen: MultiProgress,
    bar: ProgressBar,
    rows: BTreeMap<TaskId, ProgressBar>,
    doing: BTreeMap<TaskId, Doing>,
}

impl Region {
    /// An empty region on stderr.
    pub(super) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{bar:28.green} {pos}/{len} {msg}")
            .expect("the template is a constant");
        let bar = screen.add(ProgressBar::new(0).with_style(style));
        Self {
            _keys: UnshownKeys::on(std::io::stderr()),
            screen,
            bar,
            rows: BTreeMap::new(),
            doing: BTreeMap::new(),
        }
    }

    /// Prints a line that stays above the region.
    pub(super) fn line(&self, text: &str) -> std::io::Result<()> {
        self.screen.println(text)
    }

    /// Takes over what agents are doing right now.
    pub(super) fn look(&mut self, doing: BTreeMap<TaskId, Doing>) {
        self.doing = doing;
    }

    /// Redraws it.
    pub(super) fn draw(&mut self, engine: &Engine, now: Now) {
        let (mut settled, mut total) = (0, 0);
        let mut shown = Vec::new();
        for view in engine.tasks() {
            total += 1;
            settled += u64::from(view.state.is_settled());
            if matches!(view.state, TaskState::Running(_) | TaskState::Landing)
                && shown.len() < ROWS_MAX
            {
                shown.push(view);
            }
        }
        self.bar.set_length(total);
        self.bar.set_position(settled);
        let cost = engine.run().usage.cost;
        self.bar.set_message(if cost.0 == 0 {
            String::new()
        } else {
            format!("~{cost}")
        });
        self.rows.retain(|task, row| {
            let stays = shown.iter().any(|v| v.node.id == *task);
            if !stays {
                row.finish_and_clear();
            }
            stays
        });
        for view in shown {
            let text = row(&view, self.doing.get(&view.node.id), now);
            let screen = &self.screen;
            let bar = &self.bar;
            let row = self.rows.entry(view.node.id.clone()).or_insert_with(|| {
                let style =
                    ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
                screen.insert_before(bar, ProgressBar::new_spinner().with_style(style))
            });
            row.set_message(text);
            row.tick();
        }
        self.bar.tick();
    }

    /// Takes the region off the screen.
    pub(super) fn clear(&mut self) {
        for row in self.rows.values() {
            row.finish_and_clear();
        }
        self.rows.clear();
        self.bar.finish_and_clear();
    }
}

/// A terminal that does not show `^C` where the cursor stands: that moves it below the region, a line of which would then
/// stay behind.
#[derive(Debug)]
struct UnshownKeys {
    terminal: Stderr,
    before: Termios,
}

impl UnshownKeys {
    /// None where that cannot be had, or would stop orch: a terminal is set up by whom it listens to.
    fn on(terminal: Stderr) -> Option<Self> {
        let before = tcgetattr(&terminal).ok()?;
        let mut unshown = before.clone();
        unshown.local_modes.remove(LocalModes::ECHOCTL);
        let is_ours = is_foreground(&terminal) && before.local_modes.contains(LocalModes::ECHOCTL);
        let is_set = is_ours && tcsetattr(&terminal, OptionalActions::Now, &unshown).is_ok();
        is_set.then_some(Self { terminal, before })
    }
}

impl Drop for UnshownKeys {
    fn drop(&mut self) {
        if is_foreground(&self.terminal)
            && let Err(error) = tcsetattr(&self.terminal, OptionalActions::Now, &self.before)
        {
            tracing::debug!(%error, "the terminal no longer shows control keys");
        }
    }
}

fn is_foreground(terminal: &Stderr) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

/// `  2.1 Basket  executing 1 min 05 s, attempt 2, 18.2k tokens, ~$0.0710, Bash cargo test`.
fn row(view: &TaskView<'_>, doing: Option<&Doing>, now: Now) -> String {
    let mut parts = vec![format!(
        "  {} {}  {} {}",
        view.node.id,
        short(&view.node.name),
        stage(&view.state),
        for_people(now.wall.ms_since(view.since))
    )];
    if view.attempt > 1 {
        parts.push(format!("attempt {}", view.attempt));
    }
    // What its session did is counted by the task as soon as it has been read.
    let doing = doing.filter(|_| view.state == TaskState::Running(Stage::Executing));
    let used = doing.map_or(view.usage, |doing| view.usage.plus(doing.used));
    let tokens = tokens_in(&used) + used.output_tokens;
    if tokens > 0 {
        parts.push(format!("{} tokens", rounded(tokens)));
    }
    if used.cost.0 > 0 {
        parts.push(format!("~{}", used.cost));
    }
    parts.extend(doing.and_then(|doing| doing.last_tool.clone()));
    parts.join(", ")
}

/// A name that leaves room for what the task is doing.
fn short(name: &str) -> String {
    let name = in_one_line(name);
    match name.char_indices().nth(NAME_CHARS_MAX) {
        None => name,
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn stage(state: &TaskState) -> &'static str {
    match state {
        TaskState::Running(stage) => stage_in_words(*stage),
        _ => "landing",
    }
}
