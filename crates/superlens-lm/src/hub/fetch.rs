//! [`fetch`]: the files of a model that superlens reads, and no others, from the hub into the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use superlens_tensor::io::{too_little_room, write_atomic};

use super::blob::{self, Wanted};
use super::cache::{CONFIG, INDEX, SINGLE};
use super::hash::Hasher;
use super::http::Client;
use super::place::link;
use super::spec::{Spec, is_commit};
use super::{Cache, HubError};
use crate::model::files_of_index;

/// What is read of a model beside its weights; all but the first may be absent.
const FILES: [&str; 7] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
];

/// How far a fetch is.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The file that is under way.
    pub file: &'a str,
    /// Bytes that have come in this run.
    pub bytes: u64,
    /// Bytes that were to come when it began.
    pub all: u64,
}

/// What a fetch came to.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub spec: Spec,
    pub commit: String,
    /// The folder of the model.
    pub dir: PathBuf,
    /// Names and bytes.
    pub files: BTreeMap<String, u64>,
    /// Bytes that came in this run; the others were there.
    pub bytes: u64,
}

/// What the hub says of a model.
#[derive(Deserialize)]
struct About {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Gets the model into the cache, or the rest of it. Only what the hub lists and superlens reads is fetched; each file is held against its hash.
/// The revision's name is written last: until then the model counts as not there.
///
/// # Errors
/// Being offline, names that the hub doesn't know or doesn't give, models without safetensors, bytes that don't match their hash, too little room on
/// the disk, and connections that break too often.
pub fn fetch(cache: &Cache, spec: &Spec, watch: &mut dyn FnMut(Watch)) -> Result<Fetched, HubError> {
    let client = Client::new(cache, spec.typed())?;
    let about = about(&client, spec)?;
    let listed: BTreeSet<&str> = about.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    let weights = weights(spec, &listed)?;
    let folder = cache.root.join(spec.folder());
    let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshots").join(&about.sha));
    fs::create_dir_all(&blobs).map_err(HubError::at(&blobs))?;
    let mut run =
        Run { client: &client, spec, commit: &about.sha, blobs: &blobs, snapshot: &snapshot, watch, bytes: 0 };
    let small: Vec<&str> = FILES.into_iter().filter(|file| listed.contains(file)).chain([weights]).collect();
    let mut files = BTreeMap::new();
    if weights == INDEX {
        files.extend(run.get(&small)?);
        let shards = shards(spec, &snapshot, &listed)?;
        files.extend(run.get(&shards.iter().map(String::as_str).collect::<Vec<_>>())?);
    } else {
        files.extend(run.get(&small)?);
    }
    let bytes = run.bytes;
    if !is_commit(&spec.revision) {
        let name = folder.join("refs").join(&spec.revision);
        let parent = name.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(HubError::at(parent))?;
        write_atomic(&name, about.sha.as_bytes()).map_err(HubError::at(&name))?;
    }
    Ok(Fetched { spec: spec.clone(), commit: about.sha, dir: snapshot, files, bytes })
}

/// Which commit a revision is and which files it has.
fn about(client: &Client, spec: &Spec) -> Result<About, HubError> {
    let url = client.address(&format!("api/models/{}/revision/{}", spec.id, spec.revision.replace('/', "%2F")));
    let text = client.patiently(|| client.text(&url))?;
    let odd = |what: String| HubError::system(spec.typed(), format!("what the hub says of it can't be read: {what}"));
    let about: About = serde_json::from_slice(&text).map_err(|e| odd(e.to_string()))?;
    if is_commit(&about.sha) { Ok(about) } else { Err(odd(format!("{:?} is no commit", about.sha))) }
}

/// The file that holds the weights or names those which do.
fn weights<'a>(spec: &Spec, listed: &BTreeSet<&'a str>) -> Result<&'a str, HubError> {
    let wrong = |what: String| Err(HubError::input(spec.typed(), what));
    if !listed.contains(CONFIG) {
        return wrong(format!("has no {CONFIG} on the hub; this is no transformer that superlens reads"));
    }
    if let Some(file) = [SINGLE, INDEX].into_iter().find_map(|file| listed.get(file)) {
        return Ok(file);
    }
    match listed.iter().find(|file| file.starts_with("pytorch_model") && file.contains(".bin")) {
        Some(file) => wrong(format!(
            "has {file} but no {SINGLE} on the hub; pickles of models are not read: save it by `model.save_pretrained(folder)`, or look for \
             a revision with safetensors"
        )),
        None => wrong(format!("has neither {SINGLE} nor {INDEX} on the hub")),
    }
}

/// The shards that the index of a snapshot names.
fn shards(spec: &Spec, snapshot: &Path, listed: &BTreeSet<&str>) -> Result<BTreeSet<String>, HubError> {
    let index = snapshot.join(INDEX);
    let shards = files_of_index(&index).map_err(|e| HubError::input(spec.typed(), e.to_string()))?;
    let plain =
        |file: &str| file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !file.starts_with('.');
    match shards.iter().find(|file| !plain(file) || !listed.contains(file.as_str())) {
        None => Ok(shards),
        Some(file) => {
            Err(HubError::input(spec.typed(), format!("its {INDEX} names {file:?}, which the hub does not have")))
        }
    }
}

/// A fetch under way.
struct Run<'a> {
    client: &'a Client<'a>,
    spec: &'a Spec,
    commit: &'a str,
    blobs: &'a Path,
    snapshot: &'a Path,
    watch: &'a mut dyn FnMut(Watch),
    /// Bytes that have come.
    bytes: u64,
}

impl Run<'_> {
    /// Gets these files and puts them in their places; their names and sizes.
    fn get(&mut self, names: &[&str]) -> Result<Vec<(String, u64)>, HubError> {
        let wanted = names.iter().map(|name| self.ask(name)).collect::<Result<Vec<_>, _>>()?;
        let missing = wanted.iter().fold(0u64, |sum, file| sum.saturating_add(file.size - file.have(self.blobs)));
        self.check_room(missing)?;
        let all = self.bytes.saturating_add(missing);
        for file in &wanted {
            let (before, had) = (self.bytes, file.have(self.blobs));
            (self.watch)(Watch { file: &file.name, bytes: before, all });
            let (watch, bytes) = (&mut self.watch, &mut self.bytes);
            blob::get(self.client, self.blobs, file, &mut |have| {
                // A server may begin anew.
                *bytes = before + have.saturating_sub(had);
                watch(Watch { file: &file.name, bytes: *bytes, all });
            })?;
            link(self.blobs, &file.etag, self.snapshot, &file.name)
                .map_err(HubError::at(&self.snapshot.join(&file.name)))?;
        }
        Ok(wanted.into_iter().map(|file| (file.name, file.size)).collect())
    }

    /// What the hub says of a file.
    fn ask(&self, name: &str) -> Result<Wanted, HubError> {
        let url = self.client.address(&format!("{}/resolve/{}/{name}", self.spec.id, self.commit));
        let head = self.client.patiently(|| self.client.head(&url))?;
        if Hasher::of(&head.etag, head.size).is_none() {
            let what = format!("the hub names no hash that it can be checked by ({:?})", head.etag);
            return Err(HubError::system(name, what));
        }
        Ok(Wanted { name: name.to_owned(), url, etag: head.etag, size: head.size })
    }

    fn check_room(&self, missing: u64) -> Result<(), HubError> {
        let Some(room) = too_little_room(self.blobs, missing) else { return Ok(()) };
        let (blobs, missing, room) = (self.blobs.display(), words(missing), words(room));
        let what = format!(
            "{missing} are missing, and {blobs} has room for {room}; make room, or name another place by HF_HUB_CACHE"
        );
        Err(HubError::input(self.spec.typed(), what))
    }
}

/// Bytes as one says them.
fn words(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{bytes} bytes"),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
