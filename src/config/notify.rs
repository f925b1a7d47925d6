//! Who is told of what: the `notify` list of settings files.

use super::read::{Given, Raw, scalar, word_of};
use crate::plan::is_mail_address;
use crate::plan::syntax::{Node, NodeKind};

/// Longest list: each entry is tried for each notice.
const SUBSCRIPTIONS_MAX: usize = 16;

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What it wants to hear of.
    pub on: Vec<Occasion>,
    /// How it is told.
    pub by: Channel,
}

/// What a person may want to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// Work waits for a usage limit for longer than ten minutes.
    Limit,
    /// The breaker opened: nothing new starts for a while, or at all.
    Breaker,
    /// Only a person can let something go on.
    Gate,
    /// A task has failed.
    TaskFailed,
    /// A task was completed.
    TaskDone,
    /// The run ended.
    RunEnded,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A shell command.
    Run(String),
    /// A hook: a shell command that may do more than tell, and has run, however it ended.
    Hook(String),
    /// A POST of JSON. The address is a secret: whoever knows it can write there.
    Webhook(String),
    /// The desktop's own notifications.
    Desktop,
    /// A mail, by the machine's `sendmail`.
    Email(String),
}

impl Occasion {
    /// All of them, with their words in settings.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("limit", Self::Limit),
        ("breaker", Self::Breaker),
        ("gate", Self::Gate),
        ("task_failed", Self::TaskFailed),
        ("task_done", Self::TaskDone),
        ("run_ended", Self::RunEnded),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Breaker => "breaker",
            Self::Gate => "gate",
            Self::TaskFailed => "task_failed",
            Self::TaskDone => "task_done",
            Self::RunEnded => "run_ended",
        }
    }

    /// What is told where nothing is said: whatever may need a person. Tasks that went well are many.
    fn usual() -> Vec<Self> {
        let all = Self::WORDS.map(|(_, occasion)| occasion);
        all.into_iter().filter(|o| *o != Self::TaskDone).collect()
    }
}

impl Subscription {
    /// A hook.
    pub fn hook(on: &[Occasion], command: &str) -> Self {
        Self {
            on: on.to_vec(),
            by: Channel::Hook(command.to_owned()),
        }
    }

    /// A mail on whatever may need a person, to an address that a plan was checked to have.
    pub fn email(address: &str) -> Self {
        Self {
            on: Occasion::usual(),
            by: Channel::Email(address.to_owned()),
        }
    }
}

impl Channel {
    /// In words that give no secret away.
    pub fn in_words(&self) -> String {
        match self {
            Self::Run(command) => format!("run `{command}`"),
            Self::Hook(command) => format!("hook `{command}`"),
            Self::Webhook(url) => format!("webhook at {}", host(url)),
            Self::Desktop => "desktop".to_owned(),
            Self::Email(address) => format!("mail to {address}"),
        }
    }
}

/// The part of an address that is no secret.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

impl super::show::Show for Vec<Subscription> {
    fn show(&self) -> String {
        if self.is_empty() {
            return "none".to_owned();
        }
        let one = |s: &Subscription| {
            let on: Vec<&str> = s.on.iter().map(|o| o.as_str()).collect();
            format!("{} on {}", s.by.in_words(), on.join(" "))
        };
        self.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// Reads the list.
pub(super) fn subscriptions(given: &Given<'_>) -> Result<Vec<Subscription>, String> {
    let items = match given.raw {
        Raw::Text(_) => return Err("it can only be written in a settings file".to_owned()),
        Raw::Node(Node {
            kind: NodeKind::Sequence { items, .. },
            ..
        }) => items,
        Raw::Node(_) => {
            return Err("write a list: `- {on: [run_ended], run: COMMAND}`".to_owned());
        }
    };
    if items.len() > SUBSCRIPTIONS_MAX {
        return Err(format!("it has more than {SUBSCRIPTIONS_MAX} entries"));
    }
    items
        .iter()
        .enumerate()
        .map(|(n, item)| subscription(item).map_err(|wrong| format!("entry {}: {wrong}", n + 1)))
        .collect()
}

fn subscription(node: &Node<'_>) -> Result<Subscription, String> {
    let NodeKind::Mapping { entries, .. } = &node.kind else {
        return Err("it must be a mapping: `{on: [...], run: COMMAND}`".to_owned());
    };
    let (mut on, mut by) = (None, None);
    for (key, value) in entries {
        let word = key.as_scalar().unwrap_or_default();
        let channel = match word {
            "on" => {
                if on.replace(occasions(value)?).is_some() {
                    return Err("`on` stands there twice".to_owned());
                }
                continue;
            }
            "run" => Channel::Run(word_of(value)?.to_owned()),
            "webhook" => webhook(word_of(value)?)?,
            "email" => email(word_of(value)?)?,
            "desktop" => match scalar(value)? {
                "true" => Channel::Desktop,
                other => {
                    return Err(format!(
                        "`desktop: {other}` says nothing; write `desktop: true`, or remove the entry"
                    ));
                }
            },
            other => {
                return Err(format!(
                    "`{other}` is not one of on, run, webhook, desktop, email"
                ));
            }
        };
        if by.replace(channel).is_some() {
            return Err("it is told in two ways; write one entry for each".to_owned());
        }
    }
    Ok(Subscription {
        on: on.unwrap_or_else(Occasion::usual),
        by: by.ok_or("it does not say how: run, webhook, desktop or email")?,
    })
}

fn occasions(node: &Node<'_>) -> Result<Vec<Occasion>, String> {
    let words: Vec<&str> = match &node.kind {
        NodeKind::Sequence { items, .. } => items.iter().map(word_of).collect::<Result<_, _>>()?,
        _ => vec![word_of(node)?],
    };
    if words.is_empty() {
        return Err("`on` is empty; leave it out to be told of whatever may need you".to_owned());
    }
    let one = |word: &&str| {
        let found = Occasion::WORDS.iter().find(|(known, _)| known == word);
        found.map(|(_, occasion)| *occasion).ok_or_else(|| {
            let known: Vec<&str> = Occasion::WORDS.iter().map(|(word, _)| *word).collect();
            format!("`{word}` is not one of {}", known.join(", "))
        })
    };
    let mut on: Vec<Occasion> = words.iter().map(one).collect::<Result<_, _>>()?;
    on.sort_unstable();
    on.dedup();
    Ok(on)
}

fn webhook(url: &str) -> Result<Channel, String> {
    let usable = (url.starts_with("https://") || url.starts_with("http://"))
        && !host(url).is_empty()
        && !url.contains(|c: char| c.is_whitespace() || c.is_control());
    match usable {
        true => Ok(Channel::Webhook(url.to_owned())),
        false => Err("the webhook is not an http or https address".to_owned()),
    }
}

/// An address goes onto a header line.
fn email(address: &str) -> Result<Channel, String> {
    match is_mail_address(address) {
        true => Ok(Channel::Email(address.to_owned())),
        false => Err(format!(
            "`{}` is not a mail address",
            address.escape_debug()
        )),
    }
}
