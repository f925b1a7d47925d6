//! Paths and globs as a plan writes them: all lie inside the repository, and none is git's own.

use super::reader::{Fields, Reader, Spanned, quote};
use crate::diagnostic::Diagnostic;

/// The globs of a key, each once.
pub(super) fn globs<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>, key: &str) -> Vec<String> {
    let globs = reader.texts(fields, key, "globs").unwrap_or_default();
    check_globs(reader, &globs);
    let globs = reader.without_repeats(globs, key);
    globs.into_iter().map(|glob| glob.text.to_owned()).collect()
}

/// Says which globs cannot be used.
pub(super) fn check_globs(reader: &mut Reader<'_>, globs: &[Spanned<'_>]) {
    for glob in globs {
        let problem = match globset::Glob::new(glob.text) {
            Err(e) => Some(format!("is no glob: {}", e.kind())),
            Ok(_) if glob.text.starts_with('!') => {
                Some("excludes, which globs here cannot".to_owned())
            }
            Ok(_) => path_problem(glob.text).map(str::to_owned),
        };
        if let Some(problem) = problem {
            reader.push(
                Diagnostic::error("unusable-glob", format!("{} {problem}", quote(glob.text)))
                    .at(glob.span.clone())
                    .help("globs are relative to the repository, as in `src/**/*.rs`"),
            );
        }
    }
}

/// Why a text cannot be a path, or a glob of paths, inside the repository.
fn path_problem(path: &str) -> Option<&'static str> {
    if path.starts_with('/') || path.starts_with('~') {
        return Some("is not relative to the repository");
    }
    let mut parts = path.split('/').map(|part| part.to_ascii_lowercase());
    parts.find_map(|part| match part.as_str() {
        ".." => Some("leads out of the repository"),
        ".git" => Some("is git's own"),
        _ => None,
    })
}

/// Why a text cannot be the path of one file inside the repository, as git writes it.
pub(super) fn plain_path_problem(path: &str) -> Option<&'static str> {
    let is_plain = path.split('/').all(|part| !matches!(part, "" | "."));
    path_problem(path).or((!is_plain).then_some("is not a plain path"))
}
