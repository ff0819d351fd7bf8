//! One file of the hub, to disk: goes on where it was ended, and is in its place whole and as its hash says, or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::Response;

use super::HubError;
use super::hash::Hasher;
use super::http::{Client, Trouble, header};

const PIECE: usize = 256 << 10;
/// So much between two breaks counts as progress.
const PROGRESS: u64 = 1 << 20;

/// A file that is to be fetched.
#[derive(Debug)]
pub(super) struct Wanted {
    pub name: String,
    pub url: String,
    /// Its hash, and its name among the blobs.
    pub etag: String,
    pub size: u64,
}

impl Wanted {
    fn blob(&self, blobs: &Path) -> PathBuf {
        blobs.join(&self.etag)
    }

    fn part(&self, blobs: &Path) -> PathBuf {
        blobs.join(format!("{}.incomplete", self.etag))
    }

    fn is_there(&self, blobs: &Path) -> bool {
        fs::metadata(self.blob(blobs)).is_ok_and(|about| about.len() == self.size)
    }

    /// Bytes that are on disk already.
    pub fn have(&self, blobs: &Path) -> u64 {
        if self.is_there(blobs) {
            return self.size;
        }
        fs::metadata(self.part(blobs)).map_or(0, |about| about.len()).min(self.size)
    }
}

/// Fetches what is missing of `wanted`; `watch` is told how many bytes of it are there.
///
/// # Errors
/// Bytes that are not those of the hash, of which nothing stays; what the hub refuses; connections that break too often, and what the system
/// refuses, after which the next fetch goes on.
pub(super) fn get(client: &Client, blobs: &Path, wanted: &Wanted, watch: &mut dyn FnMut(u64)) -> Result<(), HubError> {
    if wanted.is_there(blobs) {
        return Ok(());
    }
    let path = wanted.part(blobs);
    let on_disk = HubError::at(&path);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(&on_disk)?;
    // Where files can't be locked, nothing is lost but this check.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(HubError::system(&wanted.name, format!("{} is being written by another process", path.display())));
    }
    if wanted.is_there(blobs) {
        return fs::remove_file(&path).map_err(&on_disk);
    }
    let mut growing = Growing { file, path: &path, wanted, hasher: None, have: 0 };
    growing.go_on()?;
    let (mut patience, mut told) = (client.patience(), growing.have);
    while growing.have < wanted.size {
        match growing.more(client, watch) {
            Ok(()) => {}
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Broken(why)) => {
                if growing.have >= told.saturating_add(PROGRESS) {
                    patience.renew();
                }
                told = growing.have;
                patience.wait(&why)?;
            }
        }
    }
    growing.finish(&wanted.blob(blobs))
}

/// A blob of which the rest is still to come.
struct Growing<'a> {
    file: File,
    path: &'a Path,
    wanted: &'a Wanted,
    /// Of the bytes so far.
    hasher: Option<Hasher>,
    have: u64,
}

impl Growing<'_> {
    /// Takes over what an earlier run wrote.
    fn go_on(&mut self) -> Result<(), HubError> {
        let on_disk = HubError::at(self.path);
        let len = self.file.metadata().map_err(&on_disk)?.len();
        if len > self.wanted.size {
            return self.restart();
        }
        let mut hasher = self.fresh()?;
        let mut piece = vec![0; PIECE];
        self.have = 0;
        while self.have < len {
            let n = self.file.read(&mut piece).map_err(&on_disk)?;
            if n == 0 {
                break;
            }
            hasher.update(&piece[..n]);
            self.have += n as u64;
        }
        self.hasher = Some(hasher);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        let on_disk = HubError::at(self.path);
        self.file.set_len(0).map_err(&on_disk)?;
        self.file.seek(SeekFrom::Start(0)).map_err(&on_disk)?;
        (self.hasher, self.have) = (Some(self.fresh()?), 0);
        Ok(())
    }

    fn fresh(&self) -> Result<Hasher, HubError> {
        let odd =
            || HubError::system(&self.wanted.name, format!("its hash {:?} is none of the hub's", self.wanted.etag));
        Hasher::of(&self.wanted.etag, self.wanted.size).ok_or_else(odd)
    }

    /// One request for the rest.
    fn more(&mut self, client: &Client, watch: &mut dyn FnMut(u64)) -> Result<(), Trouble> {
        let response = client.get(&self.wanted.url, self.have)?;
        match response.status().as_u16() {
            206 if self.have > 0 => self.check_range(&response)?,
            // A server that sends everything, or knows of no such range.
            200 => self.restart()?,
            status => {
                self.restart()?;
                return Err(Trouble::Broken(format!("{} is answered with {status}", self.wanted.name)));
            }
        }
        if let Some(len) =
            response.body().content_length().filter(|len| self.have.checked_add(*len) != Some(self.wanted.size))
        {
            return Err(self
                .wrong(&format!("expected {} bytes, {} of them here, and {len} are sent", self.wanted.size, self.have))
                .into());
        }
        let mut body = response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let n = body.read(&mut piece)?;
            if n == 0 {
                let ended = self.have < self.wanted.size;
                return if ended { Err(Trouble::Broken("the connection ended too early".into())) } else { Ok(()) };
            }
            if self.have + n as u64 > self.wanted.size {
                return Err(self.wrong(&format!("expected {} bytes, more are sent", self.wanted.size)).into());
            }
            self.file.write_all(&piece[..n]).map_err(HubError::at(self.path))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&piece[..n]);
            }
            self.have += n as u64;
            watch(self.have);
        }
    }

    /// Whether a part of the file is the one that was asked for.
    fn check_range(&self, response: &Response<Body>) -> Result<(), HubError> {
        let range = header(response.headers(), "content-range").unwrap_or_default();
        let (have, size) = (self.have, self.wanted.size);
        let expected = format!("bytes {have}-{}/{size}", size - 1);
        if range == expected { Ok(()) } else { Err(self.wrong(&format!("expected `{expected}`, `{range}` is sent"))) }
    }

    /// Nothing stays of a file that can't be right.
    fn wrong(&self, what: &str) -> HubError {
        let _ = fs::remove_file(self.path);
        HubError::system(&self.wanted.name, format!("{what}; nothing of it is kept: fetch it again"))
    }

    fn finish(mut self, blob: &Path) -> Result<(), HubError> {
        let found = self.hasher.take().map(Hasher::finish).unwrap_or_default();
        if found != self.wanted.etag {
            return Err(self.wrong(&format!("wrong bytes: expected the hash {}, found {found}", self.wanted.etag)));
        }
        self.file.sync_all().map_err(HubError::at(self.path))?;
        fs::rename(self.path, blob).map_err(HubError::at(blob))
    }
}
