//! [`write_atomic`]: a file that is there whole or not at all.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// How temporary files are called.
const PREFIX: &str = ".";
const SUFFIX: &str = ".part";

/// Removes the temporary files that killed processes left in `folder`. For folders that nobody else writes to; what can't be removed stays.
pub fn remove_parts(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_part(&entry.file_name()) {
            // It does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is one of [`write_atomic`]'s that is not in its place yet.
pub fn is_part(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// The bytes that the disk of `folder` has room for, where those are fewer than `bytes`. A file system that doesn't tell is asked by writing.
pub fn too_little_room(folder: &Path, bytes: u64) -> Option<u64> {
    fs4::available_space(folder).ok().filter(|room| *room < bytes)
}

/// Writes `bytes` to `path` so that a reader, a crash or Ctrl-C never meets half of them: into a temporary
/// file in the same folder, synced, then renamed over `path`. What was at `path` is replaced.
///
/// # Errors
/// Any of the system's; `path` is then as it was, and the temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // tempfile's own default is 0600; a report should be as readable as any other file (less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    // The rename itself lives in the folder. Elsewhere a folder can't be opened as a file.
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn writes_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two, longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two, longer");
        assert_eq!(names(dir.path()), ["report.json"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".x1y2z3.part", "weights", ".gitignore", "a.part"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        remove_parts(dir.path());
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, [".gitignore", "a.part", "weights"]);
        remove_parts(&dir.path().join("none"));
    }

    #[test]
    fn a_failure_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        // A folder with something in it can't be replaced by a file.
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), b"").unwrap();
        assert!(write_atomic(&path, b"bytes").is_err());
        assert_eq!(names(dir.path()), ["taken"]);
        assert!(write_atomic(&dir.path().join("no such folder/file"), b"bytes").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_the_mode_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, b"").unwrap();
        let path = dir.path().join("atomic");
        write_atomic(&path, b"").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
