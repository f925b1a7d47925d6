//! Values in words: how people see settings in listings and in the ledger.

use std::path::PathBuf;
use std::time::Duration;

use super::{Cache, Confinement, Mcp, OnLimit, PerMille, Permission, Usd};
use crate::plan::Runner;
use crate::plan::checks::VerifyCommand;
use crate::plan::conflicts::KnownAnswer;
use crate::time;

impl Permission {
    /// The words of settings: short ones, and the program's own.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("bypass", Self::Bypass),
        ("dont-ask", Self::DontAsk),
        ("accept-edits", Self::AcceptEdits),
        ("bypassPermissions", Self::Bypass),
        ("dontAsk", Self::DontAsk),
        ("acceptEdits", Self::AcceptEdits),
    ];

    /// The short word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::DontAsk => "dont-ask",
            Self::AcceptEdits => "accept-edits",
        }
    }
}

/// A value in words.
pub(super) trait Show {
    fn show(&self) -> String;
}

macro_rules! show_as_displayed {
    ($($type:ty),+) => {
        $(impl Show for $type {
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

show_as_displayed!(u16, u32, u64, bool, String, Runner);

impl Show for PathBuf {
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        time::for_people(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Show for Vec<String> {
    fn show(&self) -> String {
        match self.as_slice() {
            [] => "none".to_owned(),
            items => items.join(", "),
        }
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or("not set".to_owned(), T::show)
    }
}

impl Show for Permission {
    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Show for Mcp {
    fn show(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Project => "project".to_owned(),
            Self::File(path) => path.show(),
        }
    }
}

impl Show for Vec<VerifyCommand> {
    fn show(&self) -> String {
        let names: Vec<String> = self.iter().map(|command| command.name.clone()).collect();
        names.show()
    }
}

impl Show for Vec<KnownAnswer> {
    fn show(&self) -> String {
        let answers: Vec<String> = self.iter().map(KnownAnswer::to_string).collect();
        answers.show()
    }
}

impl Show for Cache {
    fn show(&self) -> String {
        match self {
            Self::Run => "run".to_owned(),
            Self::Hermetic => "hermetic".to_owned(),
        }
    }
}

impl Show for Confinement {
    fn show(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
        }
    }
}

impl Show for OnLimit {
    fn show(&self) -> String {
        match self {
            Self::Wait => "wait".to_owned(),
            Self::Stop => "stop".to_owned(),
        }
    }
}

impl Show for Usd {
    /// With cents, and with what stands behind them if there is something.
    fn show(&self) -> String {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        match part % 10_000 {
            0 => format!("${whole}.{:02}", part / 10_000),
            _ => format!("${whole}.{part:06}"),
        }
    }
}

impl Show for PerMille {
    fn show(&self) -> String {
        match self.0 % 10 {
            0 => format!("{}%", self.0 / 10),
            tenth => format!("{}.{tenth}%", self.0 / 10),
        }
    }
}
