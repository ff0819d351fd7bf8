//! [`Hasher`]: the two hashes by which the hub names bytes.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::spec::is_hex;
use crate::store::hash::spelled;

/// A hash of bytes that are seen one stretch after the other.
pub(super) enum Hasher {
    /// Of large files: that of the bytes.
    Sha256(Sha256),
    /// Of small files: that of a git blob, which begins with its length.
    Git(Sha1),
}

impl Hasher {
    /// The hash of which `etag` is a value; `None` if it is of neither kind.
    pub fn of(etag: &str, bytes: u64) -> Option<Hasher> {
        match etag.len() {
            64 if is_hex(etag) => Some(Hasher::Sha256(Sha256::new())),
            40 if is_hex(etag) => Some(Hasher::Git(Sha1::new_with_prefix(format!("blob {bytes}\0")))),
            _ => None,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Git(hash) => hash.update(bytes),
        }
    }

    /// In hex.
    pub fn finish(self) -> String {
        match self {
            Hasher::Sha256(hash) => spelled(&hash.finalize()),
            Hasher::Git(hash) => spelled(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        let of = |etag: &str| {
            let mut hasher = Hasher::of(etag, 6).unwrap();
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            hasher.finish()
        };
        // `echo hello | git hash-object --stdin` and `echo hello | sha256sum`
        assert_eq!(of(&"0".repeat(40)), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(of(&"0".repeat(64)), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        for odd in ["", "abc", &"g".repeat(40), &"A".repeat(64)] {
            assert!(Hasher::of(odd, 0).is_none());
        }
    }
}
