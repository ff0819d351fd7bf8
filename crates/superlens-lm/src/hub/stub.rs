//! A small hub for the tests: answers on a port of this machine as the real one does, and remembers what it was asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use super::hash::Hasher;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Where the range begins that was asked for.
    pub from: Option<usize>,
    pub token: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The length that is announced, if not the body's.
    pub length: Option<usize>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `bytes`, from `from` on.
    fn bytes(bytes: &[u8], from: Option<usize>) -> Reply {
        match from {
            None => Reply { status: 200, body: bytes.to_vec(), ..Reply::default() },
            Some(from) if from < bytes.len() => Reply { status: 206, body: bytes[from..].to_vec(), ..Reply::default() }
                .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            Some(_) => Reply::status(416),
        }
    }

    fn send(&self, to: &mut TcpStream, head: bool) -> std::io::Result<()> {
        let length = self.length.unwrap_or(self.body.len());
        let mut text = format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {length}\r\n", self.status);
        self.headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        to.write_all(format!("{text}\r\n").as_bytes())?;
        if !head {
            to.write_all(&self.body[..self.cut.unwrap_or(self.body.len())])?;
        }
        to.flush()
    }
}

pub struct Stub {
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

impl Stub {
    /// Answers until the test ends.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Stub { endpoint, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests for the bytes of `file`.
    pub fn gets(&self, file: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|a| a.method == "GET" && a.path.ends_with(file)).collect()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method, path, from: None, token: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "range" => asked.from = value.trim_start_matches("bytes=").trim_end_matches('-').parse().ok(),
            "authorization" => asked.token = Some(value.to_owned()),
            _ => {}
        }
    }
    let reply = answer(&asked);
    let head = asked.method == "HEAD";
    log.lock().unwrap().push(asked);
    // Who asked may have hung up.
    let _ = reply.send(&mut stream, head);
}

/// The files of a model as a hub has them.
#[derive(Clone, Debug)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// Those of a folder, less the references beside the model.
    pub fn of(dir: &Path) -> Files {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        };
        Files(entries.map(read).filter(|(name, _)| name != "reference.safetensors").collect())
    }

    /// The hash by which the hub names a file; large files are those of weights.
    pub fn etag(&self, name: &str) -> String {
        let bytes = &self.0[name];
        let kind = if is_large(name) { 64 } else { 40 };
        let mut hasher = Hasher::of(&"0".repeat(kind), bytes.len() as u64).unwrap();
        hasher.update(bytes);
        hasher.finish()
    }

    /// What the hub at this moment says of `org/tiny`; large files lie at `elsewhere`, if that is given.
    pub fn answer(&self, asked: &Asked, elsewhere: Option<&str>) -> Reply {
        if let Some(revision) = asked.path.strip_prefix("/api/models/org/tiny/revision/") {
            if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
                return Reply::status(404).with("X-Error-Code", "RevisionNotFound");
            }
            let siblings: Vec<_> = self.0.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
            let about = serde_json::json!({"id": "org/tiny", "sha": COMMIT, "siblings": siblings});
            return Reply::bytes(about.to_string().as_bytes(), None);
        }
        let name = asked.path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
        let Some(bytes) = name.and_then(|name| self.0.get(name)) else { return Reply::status(404) };
        let (name, etag) = (name.unwrap(), self.etag(name.unwrap()));
        let reply = match elsewhere.filter(|_| is_large(name)) {
            Some(host) => Reply::status(302).with("Location", format!("{host}/lfs/{name}?signature=x")),
            None => Reply::bytes(bytes, asked.from),
        };
        if is_large(name) {
            reply
                .with("ETag", "\"of the redirect\"")
                .with("X-Linked-Etag", format!("\"{etag}\""))
                .with("X-Linked-Size", bytes.len().to_string())
        } else {
            reply.with("ETag", format!("\"{etag}\""))
        }
    }

    /// What the place says where large files are.
    pub fn answer_elsewhere(&self, asked: &Asked) -> Reply {
        let name = asked.path.trim_start_matches("/lfs/").trim_end_matches("?signature=x");
        self.0.get(name).map_or(Reply::status(404), |bytes| Reply::bytes(bytes, asked.from))
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}
