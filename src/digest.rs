//! Digests as orch writes them: SHA-256, in lower-case hexadecimal.

use sha2::{Digest as _, Sha256};

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
