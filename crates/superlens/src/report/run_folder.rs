//! A run folder that is either whole or not there.
//!
//! Everything is written into a hidden folder beside the destination, synced, and put in place by a rename at the end. An
//! error, a dropped [`RunFolder`] or [`Staging::remove`] (for a Ctrl-C handler) removes the hidden folder and leaves the
//! destination as it was.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Component, Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use super::{
    ReportError,
    manifest::{Manifest, Settings, now},
};

/// Everything that superlens puts at the top of a run folder.
const OURS: [&str; 9] = [
    "config.toml",
    "manifest.json",
    "metrics.jsonl",
    "checkpoints",
    "sae",
    "coefficients.safetensors",
    "report.json",
    "report.html",
    "figures",
];

/// A run folder in the making.
#[derive(Debug)]
pub struct RunFolder {
    staging: Staging,
    /// Where the staging folder is, or was.
    path: PathBuf,
    destination: PathBuf,
    settings: Settings,
    start: String,
}

/// A folder of files of the field, which is no run: made beside its place and put there whole, as a [`RunFolder`] is.
#[derive(Debug)]
pub struct NewFolder {
    staging: Staging,
    path: PathBuf,
    destination: PathBuf,
}

impl NewFolder {
    /// Makes the staging folder. The destination may not exist yet, or be an empty folder.
    ///
    /// # Errors
    /// Any other destination; a folder that cannot be made.
    pub fn create(destination: &Path) -> Result<Self, ReportError> {
        let destination = resolve(destination)?;
        check_free(&destination)?;
        let path = make_beside(&destination, "new")?;
        let staging = Staging(Arc::new(Mutex::new(Some(path.clone()))));
        Ok(Self { staging, path, destination })
    }

    /// Where files may be written until [`NewFolder::finish`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle for a Ctrl-C handler.
    pub fn staging(&self) -> Staging {
        self.staging.clone()
    }

    /// Puts the folder in place.
    ///
    /// # Errors
    /// The destination has become something else meanwhile; then it is as it was before.
    pub fn finish(self) -> Result<(), ReportError> {
        let mut staging = self.staging.lock();
        let path = staging.as_ref().ok_or(ReportError::Stopped)?;
        check_free(&self.destination)?;
        swap(path, &self.destination)?;
        *staging = None;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        self.staging.remove();
    }
}

/// Whether there is nothing, or an empty folder.
fn check_free(destination: &Path) -> Result<(), ReportError> {
    match fs::read_dir(destination).map(|mut entries| entries.next().is_none()) {
        Ok(true) => check_movable(destination),
        Err(e) if e.kind() == ErrorKind::NotFound && fs::symlink_metadata(destination).is_err() => Ok(()),
        _ => Err(ReportError::NotFree { path: destination.to_owned() }),
    }
}

/// The staging folder, to be shared with whoever may have to remove it in haste.
#[derive(Clone, Debug)]
pub struct Staging(Arc<Mutex<Option<PathBuf>>>);

impl Staging {
    /// Removes the staging folder. Waits while the finished folder is being put in place, and then does nothing;
    /// afterwards nothing more is written.
    pub fn remove(&self) {
        if let Some(path) = self.lock().take() {
            // Nothing can be done about a folder that will not go; it is hidden and never mistaken for a run.
            let _ = fs::remove_dir_all(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunFolder {
    /// Checks the destination and makes the staging folder, with `config.toml` in it.
    ///
    /// The destination may not exist yet, be an empty folder, or be a run folder of superlens with nothing else in it,
    /// which is replaced at the end.
    ///
    /// # Errors
    /// Any other destination; a folder that cannot be made.
    pub fn create(destination: &Path, settings: Settings) -> Result<Self, ReportError> {
        let destination = resolve(destination)?;
        check_replaceable(&destination)?;
        let path = make_beside(&destination, "new")?;
        let staging = Staging(Arc::new(Mutex::new(Some(path.clone()))));
        let run = Self { staging, path, destination, settings, start: now() };
        let config = toml::to_string_pretty(&run.settings.config)
            .map_err(|e| ReportError::Unwritable { file: "config.toml", message: e.to_string() })?;
        run.write("config.toml", config.as_bytes())?;
        Ok(run)
    }

    /// Where files may be written until [`RunFolder::finish`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the folder will be.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// A handle for a Ctrl-C handler.
    pub fn staging(&self) -> Staging {
        self.staging.clone()
    }

    /// Writes one file, `name` relative to the folder, with the folders above it.
    ///
    /// # Errors
    /// The file cannot be written; [`ReportError::Stopped`] after [`Staging::remove`].
    ///
    /// # Panics
    /// If `name` leads out of the folder: names are ours, never a user's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        let inside = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        assert!(inside && !name.is_empty(), "{name:?} is not a name inside a run folder");
        // Held while writing, so that a removal never meets a file that appears behind it.
        let staging = self.staging.lock();
        let path = staging.as_ref().ok_or(ReportError::Stopped)?.join(name);
        write_synced(&path, bytes).map_err(failed(&path, "writing it"))
    }

    /// Writes `manifest.json` and puts the folder in place; returns where it is.
    ///
    /// # Errors
    /// The destination has become something else meanwhile or cannot be replaced; then it is as it was before.
    pub fn finish(self) -> Result<PathBuf, ReportError> {
        let manifest = Manifest {
            superlens: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.settings.revision.clone(),
            seed: self.settings.seed,
            threads: self.settings.threads,
            inputs: self.settings.inputs.clone(),
            start: self.start.clone(),
            end: now(),
            status: "done".to_owned(),
        };
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| ReportError::Unwritable { file: "manifest.json", message: e.to_string() })?;
        self.write("manifest.json", (text + "\n").as_bytes())?;

        let mut staging = self.staging.lock();
        let path = staging.as_ref().ok_or(ReportError::Stopped)?;
        swap(path, &self.destination)?;
        *staging = None;
        Ok(self.destination.clone())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        self.staging.remove();
    }
}

/// Puts `new` in the place of `destination`. What was there is moved aside first and comes back if anything fails.
fn swap(new: &Path, destination: &Path) -> Result<(), ReportError> {
    let parent = parent_of(destination);
    fs::create_dir_all(parent).map_err(failed(parent, "making the folder"))?;
    check_replaceable(destination)?;
    let in_place = failed(destination, "putting the finished folder in place");
    if !destination.exists() {
        fs::rename(new, destination).map_err(in_place)?;
        sync_folder(parent);
        return Ok(());
    }
    let aside = make_beside(destination, "old")?;
    let kept = aside.join("run");
    if let Err(e) = fs::rename(destination, &kept) {
        let _ = fs::remove_dir(&aside);
        return Err(failed(destination, "moving the earlier run aside")(e));
    }
    if let Err(e) = fs::rename(new, destination) {
        if fs::rename(&kept, destination).is_ok() {
            let _ = fs::remove_dir(&aside);
        }
        return Err(in_place(e));
    }
    sync_folder(parent);
    if let Err(e) = fs::remove_dir_all(&aside) {
        tracing::warn!("{}: the earlier run could not be removed: {e}", aside.display());
    }
    Ok(())
}

/// The destination as an absolute path whose last part is a name; an existing one with its links followed.
fn resolve(destination: &Path) -> Result<PathBuf, ReportError> {
    if destination.exists() {
        return destination.canonicalize().map_err(failed(destination, "finding the folder"));
    }
    match destination.file_name() {
        Some(_) => std::path::absolute(destination).map_err(failed(destination, "finding the folder")),
        None => Err(ReportError::NoName { path: destination.to_owned() }),
    }
}

/// Whether the destination is free, empty, or an earlier run and nothing but that.
fn check_replaceable(destination: &Path) -> Result<(), ReportError> {
    let refuse = |found: String| Err(ReportError::NotARun { path: destination.to_owned(), found });
    let kind = match fs::symlink_metadata(destination) {
        Ok(meta) => meta.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(destination, "looking at it")(e)),
    };
    if kind.is_symlink() {
        return refuse("it is a link to something that is not there".to_owned());
    }
    if !kind.is_dir() {
        return refuse("it is a file".to_owned());
    }
    let entries = fs::read_dir(destination).and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect());
    let mut names: Vec<OsString> = entries.map_err(failed(destination, "listing it"))?;
    // In order, so that the same folder always gives the same message.
    names.sort();
    if let Some(foreign) = names.iter().find(|name| !OURS.iter().any(|ours| name == ours)) {
        return refuse(format!("it holds {}", foreign.display()));
    }
    if !names.is_empty() && !is_run(destination) {
        return refuse("its manifest.json is missing or not one of a superlens run".to_owned());
    }
    check_movable(destination)
}

/// Whether `manifest.json` has the marks of a run.
fn is_run(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Marks {
        #[serde(rename = "superlens")]
        _superlens: String,
        #[serde(rename = "status")]
        _status: String,
    }
    fs::read(folder.join("manifest.json")).is_ok_and(|bytes| serde_json::from_slice::<Marks>(&bytes).is_ok())
}

/// The working directory would be pulled from under the caller's feet, and a mount point cannot be renamed. Better said
/// now than after the work.
fn check_movable(destination: &Path) -> Result<(), ReportError> {
    let fixed = |what| Err(ReportError::Fixed { path: destination.to_owned(), what });
    let working = std::env::current_dir().and_then(|d| d.canonicalize());
    if working.is_ok_and(|working| working.starts_with(destination)) {
        return fixed("the working directory or above it");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
        if device(destination) != device(parent_of(destination)) {
            return fixed("a mount point");
        }
    }
    Ok(())
}

/// Makes a hidden folder in the nearest folder above `destination` that exists, hence on the same file system, and
/// leaves nothing else behind should the run fail.
fn make_beside(destination: &Path, purpose: &str) -> Result<PathBuf, ReportError> {
    let parent = parent_of(destination).ancestors().find(|a| a.is_dir()).unwrap_or(Path::new("/"));
    let name = destination.file_name().unwrap_or(OsStr::new("run"));
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for attempt in 0..1000 {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".superlens-{purpose}-{}-{attempt}", process::id()));
        let path = parent.join(hidden);
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => last = e,
            Err(e) => return Err(failed(parent, "making a folder in it")(e)),
        }
    }
    Err(failed(parent, "making a folder in it")(last))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(parent_of(path))?;
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename last through a power cut, where the system can do that; the rename itself has already happened.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> ReportError {
    let path = path.to_owned();
    move |source| ReportError::Io { path: path.clone(), doing, source }
}
