//! Files of a snapshot: links to blobs, or copies where there are no links.

use std::fs;
use std::io;
use std::path::Path;

/// Puts blob `hash` in its place as `name` of `snapshot`; what was there is replaced. The place is relative, so that a cache can be moved.
pub(super) fn link(blobs: &Path, hash: &str, snapshot: &Path, name: &str) -> io::Result<()> {
    let (to, at) = (Path::new("../../blobs").join(hash), snapshot.join(name));
    if fs::read_link(&at).is_ok_and(|now| now == to) {
        return Ok(());
    }
    fs::create_dir_all(snapshot)?;
    let beside = snapshot.join(format!(".{name}.part"));
    let _ = fs::remove_file(&beside);
    if symlink(&to, &beside).is_err() {
        fs::copy(blobs.join(hash), &beside)?;
    }
    fs::rename(&beside, &at)
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(windows)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, at)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_place_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots/c"));
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join("1"), "one").unwrap();
        fs::write(blobs.join("2"), "two").unwrap();
        for (hash, text) in [("1", "one"), ("2", "two"), ("2", "two")] {
            link(&blobs, hash, &snapshot, "x").unwrap();
            assert_eq!(fs::read_to_string(snapshot.join("x")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&snapshot).unwrap().count(), 1);
    }
}
