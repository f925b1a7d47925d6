//! Where symbolic links of a tree lead, told from their texts alone.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::fold;

/// How many links may stand one behind the other.
pub(super) const LINKS_DEEP: usize = 4;

/// Whether a link at `path` leads out of the repository, or into git's own directory.
pub(super) fn leads_out(path: &Path, target: &[u8]) -> bool {
    match resolved(path, target) {
        Some(target) => target
            .components()
            .any(|part| fold(&part.as_os_str().to_string_lossy()) == ".git"),
        None => true,
    }
}

/// Where a link leads, from the top of the repository; `None` if that is outside.
pub(super) fn resolved(link: &Path, target: &[u8]) -> Option<PathBuf> {
    let target = Path::new(std::str::from_utf8(target).ok()?);
    let mut place = link.parent().map(Path::to_owned).unwrap_or_default();
    for part in target.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !place.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

/// The place that a path leads to over links; itself, if none stands in it.
pub fn followed(path: &Path, links: &BTreeMap<PathBuf, Vec<u8>>) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..LINKS_DEEP {
        let next = place.ancestors().find_map(|above| {
            let target = resolved(above, links.get(above)?)?;
            let rest = place.strip_prefix(above).ok()?;
            Some(match rest.as_os_str().is_empty() {
                true => target,
                false => target.join(rest),
            })
        });
        match next {
            Some(next) => place = next,
            None => break,
        }
    }
    place
}
