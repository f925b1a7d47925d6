//! What a candidate changes and may not: protected paths, tests that are gone, and more than its limits allow. Judged from
//! two trees, before anything of the candidate is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::Repository;

use super::site::Site;
use crate::engine::ending::{AttemptEnd, Ending};
use crate::engine::scope::{Exception, Rules, Scope};
use crate::git::collect::{Change, ChangeKind};
use crate::git::tree::{
    Content, Contents, file_in, files_in, line_changes, links_in, paths_between,
};
use crate::ids::{ObjectId, TaskId};
use crate::plan::checks::{ChangeLimits, Checks, Schema, Want};
use crate::plan::graph::{Gates, When};
use crate::verify::protect::{Entry, Moved, Protection, Touched, Trees, followed, scripts};

/// Paths named in one sentence.
const PATHS_SHOWN: usize = 10;

/// Symbolic links with what they say.
type Links = BTreeMap<PathBuf, Vec<u8>>;

/// What is said of the difference between two trees.
#[derive(Debug)]
pub(super) struct Judged {
    /// Why it is not taken, if it is not.
    pub(super) refused: Option<AttemptEnd>,
    /// By what it was judged.
    pub(super) scope: Scope,
}

/// Judges the changes between `base` and `new`, of which the plan and statuses are left out.
pub(super) fn judged(
    site: &Site,
    task: &TaskId,
    checks: &Checks,
    changes: &[Change],
    [base, new]: [&ObjectId; 2],
) -> anyhow::Result<Judged> {
    let repo = site.repo.open()?;
    let links = links_in(&repo, base)?;
    let rules = rules(site, &repo, task, checks, base, &links)?;
    let moved = changes.iter().map(moved).collect::<Vec<_>>();
    let touched = touched(&repo, &rules, &moved, [base, new], links)?;
    // Where a person is asked about what was made, they are shown what is protected, and decide about it.
    let (allowed, offences): (Vec<Touched>, Vec<Touched>) = touched
        .into_iter()
        .partition(|touched| touched.allowed || rules.asks);
    let refused = match offences.is_empty() {
        false => Some(refusal(&offences)),
        true => over_limits(&repo, checks.limits, changes, [base, new])?,
    };
    let exceptions = allowed.into_iter().map(|touched| Exception {
        path: touched.path.display().to_string(),
        why: touched.why,
    });
    Ok(Judged {
        refused,
        scope: Scope {
            exceptions: exceptions.collect(),
            rules,
        },
    })
}

/// The protected paths that a commit changes against the one it was built on, the plan aside.
pub(super) fn protected_paths(
    site: &Site,
    repo: &Repository,
    task: &TaskId,
    checks: &Checks,
    [base, new]: [&ObjectId; 2],
) -> anyhow::Result<Vec<PathBuf>> {
    let links = links_in(repo, base)?;
    let rules = rules(site, repo, task, checks, base, &links)?;
    let mut moved = Vec::new();
    let (before, after) = (Contents::of(repo, base)?, Contents::of(repo, new)?);
    for path in paths_between(repo, base, new)? {
        if site.plan.tracked().map(Path::new) != Some(path.as_path()) {
            let at = |tree: &Contents<'_>| -> Result<Option<PathBuf>, git2::Error> {
                Ok(tree.at(&path)?.map(|_| path.clone()))
            };
            moved.push(Moved {
                from: at(&before)?,
                to: at(&after)?,
            });
        }
    }
    let touched = touched(repo, &rules, &moved, [base, new], links)?;
    Ok(touched.into_iter().map(|touched| touched.path).collect())
}

/// The rules for a candidate on `base`.
fn rules(
    site: &Site,
    repo: &Repository,
    task: &TaskId,
    checks: &Checks,
    base: &ObjectId,
    links: &Links,
) -> anyhow::Result<Rules> {
    let gates = checks.verify.iter().map(|c| {
        // Variables can say what is run as well as the text: `BASH_ENV`, `NODE_OPTIONS`.
        let set = c
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let text = set.chain([c.run.clone()]).collect();
        (format!("the gate `{}`", c.name), text)
    });
    let setup = site
        .settings
        .setup_run
        .value
        .iter()
        .map(|text| ("`setup`".to_owned(), text.clone()));
    let gated = checks.gates() != Gates::None;
    let run = match gated {
        true => scripts::run_by(&gates.chain(setup).collect::<Vec<_>>(), &|path: &Path| {
            file_in(repo, base, &followed(path, links))
        })?,
        false => BTreeMap::new(),
    };
    let run = run
        .into_iter()
        .map(|(path, by)| (path.display().to_string(), by));
    let plan = site.plan.current();
    let task = plan.task(task);
    let approval = task.and_then(|task| task.approval.as_deref());
    let mut protect = checks.protect.clone();
    protect.extend(judges(site, checks).map(|path| globset::escape(&path)));
    Ok(Rules {
        files: task.map(|task| task.files.to_vec()).unwrap_or_default(),
        asks: approval.is_some_and(|approval| approval.when == When::After),
        protect,
        unprotect: checks.unprotect.clone(),
        allow_protected: checks.allow_protected.clone(),
        gated,
        run: run.collect(),
    })
}

/// Files beside the gates' own that decide what lands: schemas of outputs, and who may sign approvals.
fn judges<'s>(site: &'s Site, checks: &'s Checks) -> impl Iterator<Item = String> + 's {
    let schemas = checks.outputs.iter().flat_map(|output| &output.wants);
    let schemas = schemas.filter_map(|want| match want {
        Want::JsonSchema(Schema::File(path)) => Some(path.clone()),
        Want::JsonSchema(Schema::Inline(_))
        | Want::Exists(_)
        | Want::Contains(_)
        | Want::NotContains(_) => None,
    });
    let signers = site
        .signers
        .iter()
        .filter(|signers| signers.commit.is_some());
    schemas.chain(signers.map(|signers| signers.file.clone()))
}

fn touched(
    repo: &Repository,
    rules: &Rules,
    moved: &[Moved],
    [base, new]: [&ObjectId; 2],
    mut links: Links,
) -> anyhow::Result<Vec<Touched>> {
    let (before, after) = (Contents::of(repo, base)?, Contents::of(repo, new)?);
    for path in moved.iter().filter_map(|change| change.to.as_deref()) {
        if let Some(Content::Link(target)) = after.at(path)? {
            links.insert(path.to_owned(), target);
        }
    }
    let trees = Trees {
        base: &|path: &Path| Ok::<_, git2::Error>(before.at(path)?.map(entry)),
        new: &|path: &Path| Ok(after.at(path)?.map(entry)),
        files: &|| files_in(repo, base),
        links: &links,
    };
    Ok(Protection::new(rules)?.touched(moved, &trees)?)
}

fn moved(change: &Change) -> Moved {
    let here = Some(change.path.clone());
    let (from, to) = match &change.kind {
        ChangeKind::Added => (None, here),
        ChangeKind::Deleted => (here, None),
        ChangeKind::Modified | ChangeKind::TypeChanged => (here.clone(), here),
        ChangeKind::Renamed { from } => (Some(from.clone()), here),
    };
    Moved { from, to }
}

fn entry(content: Content) -> Entry {
    match content {
        Content::File { bytes, executable } => Entry::File { bytes, executable },
        Content::Link(target) => Entry::Link(target),
        Content::Submodule => Entry::Submodule,
        Content::Directory => Entry::Directory,
    }
}

fn refusal(offences: &[Touched]) -> AttemptEnd {
    let shown: Vec<String> = offences
        .iter()
        .take(PATHS_SHOWN)
        .map(|touched| format!("`{}` {}", touched.path.display(), touched.why))
        .collect();
    let more = match offences.len().saturating_sub(PATHS_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let paths: Vec<String> = offences
        .iter()
        .take(PATHS_SHOWN)
        .map(|touched| serde_json::Value::from(touched.path.display().to_string()).to_string())
        .collect();
    AttemptEnd::new(
        Ending::OutOfScope,
        format!(
            "it changed protected paths, which only a person can allow (`allow_protected`): {}{more}. For a person: \
             `allow_protected: [{}]` on the task lets it through; where a path decides nothing in this project, \
             `protect: {{remove: [...]}}` in orch.yaml",
            shown.join("; "),
            paths.join(", ")
        ),
    )
}

/// Why the changes are too many, if they are.
fn over_limits(
    repo: &Repository,
    limits: ChangeLimits,
    changes: &[Change],
    [base, new]: [&ObjectId; 2],
) -> anyhow::Result<Option<AttemptEnd>> {
    let files = changes.len();
    let lines = match limits.lines {
        Some(_) => {
            let paths: Vec<PathBuf> = changes
                .iter()
                .flat_map(Change::paths)
                .map(Path::to_owned)
                .collect();
            line_changes(repo, base, new, &paths)?
        }
        None => 0,
    };
    let told: Vec<String> = [
        (limits.files, files, "files"),
        (limits.lines, lines, "lines"),
    ]
    .into_iter()
    .filter_map(|(limit, found, what)| {
        let limit =
            limit.filter(|limit| usize::try_from(*limit).is_ok_and(|limit| found > limit))?;
        Some(format!(
            "{found} {what} are changed, and {limit} is the task's limit"
        ))
    })
    .collect();
    Ok((!told.is_empty()).then(|| AttemptEnd::new(Ending::OutOfScope, told.join("; "))))
}
