//! `superlens fetch` through the real binary, against a hub on this machine: what a kill leaves is gone on with, and the model is then found by
//! its name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// Whether the weights stop coming halfway, the connection still open.
    stalls: AtomicBool,
    /// Methods, paths and ranges.
    asked: Mutex<Vec<String>>,
}

impl Hub {
    fn start() -> (Arc<Hub>, String) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families/gpt2");
        let file = |name: &str| (name.to_owned(), fs::read(folder.join(name)).unwrap());
        let files = ["config.json", "model.safetensors"].map(file).into();
        let hub = Arc::new(Hub { files, stalls: AtomicBool::new(true), asked: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let here = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let hub = here.clone();
                thread::spawn(move || hub.answer(stream));
            }
        });
        (hub, endpoint)
    }

    fn answer(&self, mut stream: TcpStream) {
        let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|l| !l.is_empty())
            .collect();
        let Some(first) = lines.first() else { return };
        let range = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let from: usize = range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
        self.asked.lock().unwrap().push(format!("{first} {from}"));
        let path = first.split(' ').nth(1).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let siblings: Vec<Value> = self.files.keys().map(|name| json!({"rfilename": name})).collect();
        let about = json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes();
        let bytes = self.files.get(name).unwrap_or(&about);
        let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let mut head = format!(
            "HTTP/1.1 {} X\r\nConnection: close\r\nX-Linked-Etag: \"{hash}\"\r\n",
            if from > 0 { 206 } else { 200 }
        );
        head.push_str(&format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
        head.push_str(&format!("Content-Length: {}\r\n\r\n", bytes.len() - from));
        let _ = stream.write_all(head.as_bytes());
        if first.starts_with("GET") {
            let halts = name == "model.safetensors" && self.stalls.load(Ordering::SeqCst);
            let _ = stream.write_all(&bytes[from..if halts { bytes.len() / 2 } else { bytes.len() }]);
            let _ = stream.flush();
            while halts && self.stalls.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn superlens(root: &Path, endpoint: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command
        .args(words)
        .env("HF_HUB_CACHE", root)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_TOKEN", "x")
        .env("NO_PROXY", "127.0.0.1");
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().for_each(|variable| _ = command.env_remove(variable));
    command
}

fn json_of(command: &mut Command) -> Value {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_killed_fetch_goes_on_and_the_model_is_found_by_its_name() {
    let (hub, endpoint) = Hub::start();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("hub");
    let weights = &hub.files["model.safetensors"];
    let half = weights.len() / 2;

    let mut child =
        superlens(&root, &endpoint, &["fetch", "org/tiny", "--quiet"]).stderr(Stdio::null()).spawn().unwrap();
    let blobs = root.join("models--org--tiny/blobs");
    let part = || {
        let entries = fs::read_dir(&blobs).ok()?.flatten();
        let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".incomplete");
        entries.into_iter().find(name).and_then(|entry| entry.metadata().ok()).map(|about| about.len() as usize)
    };
    let start = Instant::now();
    while part() != Some(half) {
        assert!(start.elapsed() < Duration::from_secs(20), "the first half did not come: {:?}", part());
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!root.join("models--org--tiny/refs").exists());
    let told = superlens(&root, &endpoint, &["model", "org/tiny"]).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("superlens fetch org/tiny"));

    hub.stalls.store(false, Ordering::SeqCst);
    let fetched = json_of(&mut superlens(&root, &endpoint, &["fetch", "org/tiny", "--json"]));
    assert_eq!(fetched["fetched_bytes"], weights.len() - half);
    assert_eq!((fetched["commit"].as_str(), fetched["revision"].as_str()), (Some(COMMIT), Some("main")));
    let last = hub.asked.lock().unwrap().last().cloned().unwrap();
    assert!(last.starts_with("GET /org/tiny/resolve/") && last.ends_with(&format!(" {half}")), "{last}");

    // By its name, with no hub to ask.
    let nowhere = "http://127.0.0.1:1";
    let about = json_of(&mut superlens(&root, nowhere, &["model", "org/tiny", "--json"]));
    assert_eq!(about["family"], "gpt2");
    let out = scratch.path().join("x.safetensors");
    let words = ["run-model", "--model", "org/tiny", "--token-ids", "1,2", "--out", out.to_str().unwrap()];
    assert!(superlens(&root, nowhere, &words).output().unwrap().status.success());
}
