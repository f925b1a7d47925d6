//! Readers of the record stream: lines and a live region for people, NDJSON for scripts, tables for both.
//!
//! Reporting cannot fail a run and decides nothing. stdout is data: records under `--format json`, and the summary at the
//! end. Everything else is talk and goes to stderr.

pub mod account;
pub mod bounds;
pub mod costs;
mod doing;
mod lines;
mod live;
pub mod ndjson;
pub mod paint;
pub mod summary;
pub mod table;
mod together;

use std::collections::BTreeMap;
use std::io::Write;

pub use doing::{Board, Doing};

use crate::engine::Engine;
use crate::engine::record::{Record, Stamped};
use crate::engine::view::{TaskState, Wait};
use crate::ids::TaskId;
use crate::time::{Now, Wall};
use lines::{Line, Tone};
use live::Region;
use paint::Paint;
use together::Together;

/// Tells of a run while it goes on.
#[derive(Debug)]
pub struct Reporter {
    voice: Voice,
    paint: Paint,
    /// What is to be told in one line, and may go on.
    together: Option<Together>,
    /// Said once, that something could not be said.
    mute: bool,
}

#[derive(Debug)]
enum Voice {
    /// Plain lines on stderr.
    Lines,
    /// Lines above a live region.
    Live(Box<Region>),
    /// Each record as a line of JSON on stdout.
    Json,
}

impl Reporter {
    /// For a pipe or a log: one plain line a record.
    pub fn lines(paint: Paint) -> Self {
        Self {
            voice: Voice::Lines,
            paint,
            together: None,
            mute: false,
        }
    }

    /// For a terminal: the same lines above a live region.
    pub fn live(paint: Paint) -> Self {
        Self {
            voice: Voice::Live(Box::new(Region::new())),
            paint,
            together: None,
            mute: false,
        }
    }

    /// For scripts: records as NDJSON.
    pub fn json() -> Self {
        Self {
            voice: Voice::Json,
            paint: Paint::plain(),
            together: None,
            mute: false,
        }
    }

    /// Tells of new records; of the last of them perhaps only at [`Self::pause`].
    pub fn records(&mut self, engine: &Engine, stamped: &[Stamped], now: Now) {
        if let Voice::Json = self.voice {
            self.json_lines(stamped);
            return;
        }
        let name = |task: &TaskId| {
            engine
                .view(task)
                .map_or_else(String::new, |v| paint::in_one_line(&v.node.name))
        };
        for record in stamped {
            if let Some((how, task)) = together::of(record) {
                match &mut self.together {
                    Some(those) if those.how == how => those.add(task),
                    _ => {
                        self.pause();
                        self.together = Some(Together::begin(how, task, record.at));
                    }
                }
                continue;
            }
            self.pause();
            if let Some(line) = lines::of(record, &name) {
                self.tell(record.at, &line);
            }
            if matches!(record.record, Record::RunResumed { .. }) {
                self.remind(engine, record);
            }
        }
        if let Voice::Live(region) = &mut self.voice {
            region.draw(engine, now);
        }
    }

    /// Tells again what an earlier orch asked of a person.
    fn remind(&mut self, engine: &Engine, record: &Stamped) {
        let is_asked = |state: &TaskState| {
            matches!(
                state,
                TaskState::Waiting {
                    reason: Wait::Approval,
                    ..
                }
            )
        };
        for view in engine.tasks().filter(|view| is_asked(&view.state)) {
            let line = lines::still_asked(&view.node.id);
            self.tell(record.at, &line);
        }
    }

    /// Tells what there is to tell of the records so far: no more of them come for now.
    pub fn pause(&mut self) {
        if let Some(those) = self.together.take() {
            self.tell(those.at, &those.line());
        }
    }

    /// Says a sentence that no record holds; on stderr whatever the voice, as it is talk.
    pub fn say(&mut self, text: &str) {
        self.print(&self.paint.bad(text));
    }

    /// Resolves when the live region should be drawn again; never, where there is none.
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + 'static {
        let live = matches!(self.voice, Voice::Live(_));
        async move {
            if live {
                tokio::time::sleep(live::EVERY).await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Draws the live region, where there is one.
    pub fn draw(&mut self, engine: &Engine, doing: BTreeMap<TaskId, Doing>, now: Now) {
        if let Voice::Live(region) = &mut self.voice {
            region.look(doing);
            region.draw(engine, now);
        }
    }

    /// Ends the telling: the live region goes away.
    pub fn finish(&mut self) {
        if let Voice::Live(region) = &mut self.voice {
            region.clear();
        }
    }

    fn tell(&mut self, at: Wall, line: &Line) {
        let time = at.to_utc().map(|t| {
            t.with_timezone(&chrono::Local)
                .format("%H:%M:%S")
                .to_string()
        });
        let time = self.paint.dim(&time.unwrap_or_default());
        let text = paint::quoted(&line.text);
        let text = match line.tone {
            Tone::Plain => text,
            Tone::Good => self.paint.good(&text),
            Tone::Bad => self.paint.bad(&text),
            Tone::Dim => self.paint.dim(&text),
        };
        self.print(&format!("{time}  {text}"));
    }

    fn print(&mut self, text: &str) {
        let printed = match &self.voice {
            Voice::Live(region) => region.line(text),
            Voice::Lines | Voice::Json => writeln!(std::io::stderr().lock(), "{text}"),
        };
        self.told(printed);
    }

    fn json_lines(&mut self, stamped: &[Stamped]) {
        let printed = ndjson::lines(stamped).map_err(Into::into).and_then(|text| {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        });
        self.told(printed);
    }

    /// A reader that went away must not end the run: the ledger has it all.
    fn told(&mut self, printed: std::io::Result<()>) {
        if let Err(error) = printed
            && !self.mute
        {
            self.mute = true;
            tracing::warn!(%error, "progress can no longer be shown; the run goes on, `orch status` tells of it");
        }
    }
}
