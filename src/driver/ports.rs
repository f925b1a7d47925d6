//! Ten TCP ports for each attempt, `ORCH_PORT_0` to `ORCH_PORT_9`, so that servers of parallel tasks do not collide.
//!
//! A block is leased by a lock on a file in the user's state directory, which all runs of the user share; the lease is
//! the value, and ends with it. A block with a port in use by somebody else is passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, bail};

use crate::flock;

/// The first port: above the registered services, below the ephemeral range of Linux (32768).
const FIRST: u16 = 20_000;
/// Ports of a block.
const BLOCK: u16 = 10;
/// Blocks between `FIRST` and the ephemeral range.
const BLOCKS: u16 = 1_200;

/// Ten ports, for as long as this lives.
#[derive(Debug)]
pub(super) struct Lease {
    first: u16,
    _lock: File,
}

impl Lease {
    /// The first of the ports.
    pub(super) fn first(&self) -> u16 {
        self.first
    }

    /// Leases a free block.
    ///
    /// # Errors
    /// If the lock files cannot be made, or every block is in use.
    pub(super) fn take(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for block in 0..BLOCKS {
            if let Some(lease) = Self::try_block(directory, block)? {
                return Ok(lease);
            }
        }
        bail!(
            "every block of ports between {FIRST} and {} is in use",
            FIRST + BLOCKS * BLOCK
        )
    }

    fn try_block(directory: &Path, block: u16) -> anyhow::Result<Option<Self>> {
        let path = directory.join(block.to_string());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if !flock::take(&file).with_context(|| format!("cannot lock {}", path.display()))? {
            return Ok(None);
        }
        let first = FIRST + block * BLOCK;
        let free =
            (first..first + BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        Ok(free.then_some(Self { first, _lock: file }))
    }
}

/// The environment variables of a block.
pub(super) fn variables(first: u16) -> BTreeMap<String, String> {
    (0..BLOCK)
        .map(|i| (format!("ORCH_PORT_{i}"), (first + i).to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_share_a_port_and_a_dropped_one_is_free_again() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let one = Lease::take(dir.path()).expect("a block");
        let two = Lease::take(dir.path()).expect("a block");
        assert!(one.first().abs_diff(two.first()) >= BLOCK);
        let first = one.first();
        drop(one);
        assert_eq!(Lease::take(dir.path()).expect("a block").first(), first);
    }
}
