//! The agent program's error texts, for what its fields do not tell. Data, collected from releases 1.0.60 to 2.1.329.

use super::model;
use crate::engine::ending::Ending;
use crate::engine::limit::LimitScope;

/// Parts of texts, in lower case with a plain apostrophe, in the order in which they are tried.
const FORMS: [(&str, Ending); 54] = [
    // Says "usage limit" to say that it is none.
    ("not your usage limit", Ending::Throttled),
    // Limits that no waiting lifts: a person has to pay or to allow.
    ("credit balance is too low", Ending::Billing),
    ("out of usage · add funds", Ending::Billing),
    ("out of usage · contact your admin", Ending::Billing),
    ("seat type doesn't include", Ending::Billing),
    ("usage allocation has been disabled", Ending::Billing),
    ("usage limit is set to $0", Ending::Billing),
    ("requires usage credits", Ending::Billing),
    ("this service is disabled for your org", Ending::Billing),
    // Limits that end by themselves.
    ("usage limit", Ending::UsageLimit),
    ("session limit", Ending::UsageLimit),
    ("weekly limit", Ending::UsageLimit),
    ("5-hour limit", Ending::UsageLimit),
    ("opus limit", Ending::UsageLimit),
    ("sonnet limit", Ending::UsageLimit),
    ("fable limit", Ending::UsageLimit),
    ("fable 5 limit", Ending::UsageLimit),
    ("hit your limit", Ending::UsageLimit),
    ("spending cap reached", Ending::UsageLimit),
    ("out of usage credits", Ending::UsageLimit),
    ("out of extra usage", Ending::UsageLimit),
    ("spend limit", Ending::UsageLimit),
    ("limit reached", Ending::UsageLimit),
    ("not logged in", Ending::Auth),
    ("please run /login", Ending::Auth),
    ("invalid api key", Ending::Auth),
    ("invalid auth token", Ending::Auth),
    ("failed to authenticate", Ending::Auth),
    ("disabled organization", Ending::Auth),
    ("organization has disabled", Ending::Auth),
    ("prompt is too long", Ending::Context),
    ("context window", Ending::Context),
    ("request too large", Ending::Context),
    ("safeguards flagged", Ending::Refused),
    ("violate our usage policy", Ending::Refused),
    ("issue with the selected model", Ending::Environment),
    ("request rejected (429)", Ending::Throttled),
    ("temporarily limiting requests", Ending::Throttled),
    ("overloaded", Ending::Throttled),
    ("internal server error", Ending::Throttled),
    ("service unavailable", Ending::Throttled),
    ("bad gateway", Ending::Throttled),
    ("gateway timeout", Ending::Throttled),
    ("empty or malformed response", Ending::Throttled),
    ("connection refused", Ending::Throttled),
    ("connection dropped", Ending::Throttled),
    ("connection error", Ending::Throttled),
    ("unable to connect", Ending::Throttled),
    ("request timed out", Ending::Throttled),
    ("econnreset", Ending::Throttled),
    ("econnrefused", Ending::Throttled),
    ("etimedout", Ending::Throttled),
    ("enotfound", Ending::Throttled),
    ("fetch failed", Ending::Throttled),
];

/// The end that the text of an error record names.
pub(super) fn ending(text: &str) -> Option<Ending> {
    let text = plain(text);
    FORMS
        .iter()
        .find(|(form, _)| text.contains(form))
        .map(|(_, ending)| *ending)
}

/// Whose limit a text speaks of, in the order in which they are tried; by all others the account as a whole is meant.
const SCOPES: [(&str, Whose); 12] = [
    ("opus limit", Whose::Model("opus")),
    ("opus weekly limit", Whose::Model("opus")),
    ("sonnet limit", Whose::Model("sonnet")),
    ("sonnet weekly limit", Whose::Model("sonnet")),
    ("fable limit", Whose::Model("fable")),
    ("fable 5 limit", Whose::Model("fable")),
    ("org's monthly", Whose::Organisation),
    ("5-hour limit", Whose::Window("five_hour")),
    ("session limit", Whose::Window("five_hour")),
    ("weekly limit", Whose::Window("seven_day")),
    ("usage credits", Whose::Window("overage")),
    ("spend limit", Whose::Window("overage")),
];

#[derive(Clone, Copy)]
enum Whose {
    Model(&'static str),
    Window(&'static str),
    Organisation,
}

/// Whose limit the text of an error record names.
pub(super) fn scope(text: &str) -> LimitScope {
    let text = plain(text);
    let found = SCOPES.iter().find(|(form, _)| text.contains(form));
    match found.map(|(_, whose)| *whose) {
        Some(Whose::Model(name)) => model(name),
        Some(Whose::Window(window)) => LimitScope::Account {
            window: window.to_owned(),
        },
        Some(Whose::Organisation) => LimitScope::Organisation,
        None => LimitScope::Unknown,
    }
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace('\u{2019}', "'")
}

/// Whether standard error tells that the program did not take its start order: an unknown option, an unreadable file,
/// bypassed permissions as root. No other attempt would fare better.
pub(super) fn is_refused_start(stderr: &str) -> bool {
    stderr.lines().any(|line| {
        line.starts_with("error: ")
            || line.starts_with("Error: ")
            || line.contains("cannot be used with root/sudo privileges")
    })
}

/// Whether a session that was to be resumed is not there any more.
pub(super) fn is_lost_session(text: &str) -> bool {
    text.contains("No conversation found with session ID")
}
