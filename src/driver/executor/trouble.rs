//! Why the files of a slot could not be read: what follows depends on whether another day would help.

use std::io::ErrorKind;
use std::path::Path;

use crate::driver::site::Site;

/// Less room than this on a disk, and whatever git says may be because of it.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// Why the files of a slot could not be read.
pub(super) enum Trouble {
    /// The machine refused; on another day the same files can be read.
    Machine(anyhow::Error),
    /// The files themselves, as far as can be told: the same would be met again.
    Files(anyhow::Error),
}

impl Trouble {
    /// The trouble behind an error that came while the files of a slot were read.
    pub(super) fn of(site: &Site, error: anyhow::Error) -> Self {
        let kind = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<std::io::Error>())
            .map(std::io::Error::kind);
        let refused = matches!(
            kind,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
        );
        let places = [site.repo.common_dir(), &site.slots];
        if refused || places.into_iter().any(is_nearly_full) {
            Self::Machine(error)
        } else {
            Self::Files(error)
        }
    }
}

/// Whether so little room is left that git may have failed for it, which its exit code does not tell.
fn is_nearly_full(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < ROOM_BYTES_MIN)
}
