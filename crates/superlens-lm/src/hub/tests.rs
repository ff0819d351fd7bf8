//! Fetching, against a hub of our own on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::stub::{Asked, COMMIT, Files, Reply, Stub};
use super::{Cache, Fetched, HubError, Spec, Watch, fetch};
use crate::model;

const SHARD: &str = "model-00001-of-00002.safetensors";

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families").join(name)
}

fn sharded() -> Files {
    Files::of(&family("llama-sharded"))
}

/// An empty cache that is filled from `stub`.
fn cache(stub: &Stub) -> (tempfile::TempDir, Cache) {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache {
        root: root.path().join("hub"),
        endpoint: stub.endpoint.clone(),
        token: Some("secret".into()),
        offline: false,
        patience: Duration::from_millis(1),
    };
    (root, cache)
}

fn get(cache: &Cache) -> Result<Fetched, HubError> {
    fetch(cache, &Spec::parse("org/tiny").unwrap(), &mut |_| {})
}

/// A hub that has `files`, whose answers `change` may spoil.
fn hub(files: Files, change: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::start(move |asked| change(asked, files.answer(asked, None)))
}

/// Names of all files below a folder.
fn below(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(below(&entry.path()).into_iter().map(|n| format!("{name}/{n}"))),
            false => all.push(name),
        }
    }
    all.sort();
    all
}

fn model_folder(cache: &Cache) -> PathBuf {
    cache.root.join("models--org--tiny")
}

/// Whatever went wrong, no snapshot has a file that isn't the hub's, and no name says that the model is there.
fn nothing_half_written(cache: &Cache, files: &Files) {
    let snapshot = model_folder(cache).join("snapshots").join(COMMIT);
    for name in below(&snapshot) {
        assert_eq!(fs::read(snapshot.join(&name)).unwrap(), files.0[&name], "{name}");
    }
    assert!(!model_folder(cache).join("refs").exists());
    assert!(cache.find("org/tiny").is_err());
}

/// What becomes of a reply.
type Change = fn(&Asked, Reply) -> Reply;

#[test]
fn a_sharded_model_is_fetched_and_computes_what_it_does_in_its_folder() {
    let mut files = sharded();
    files.0.insert("README.md".into(), b"not read".to_vec());
    files.0.insert("merges.txt".into(), vec![]);
    let stub = hub(files.clone(), |_, reply| reply);
    let (_root, cache) = cache(&stub);
    let mut seen = Vec::new();
    let mut watch = |w: Watch| seen.push((w.bytes, w.all));
    let fetched = fetch(&cache, &Spec::parse("org/tiny").unwrap(), &mut watch).unwrap();

    let wanted: Vec<&String> = files.0.keys().filter(|name| *name != "README.md").collect();
    assert_eq!(fetched.files.keys().collect::<Vec<_>>(), wanted);
    let all: usize = wanted.iter().map(|name| files.0[*name].len()).sum();
    assert_eq!((fetched.bytes, fetched.commit.as_str()), (all as u64, COMMIT));
    assert_eq!(seen.last(), Some(&(all as u64, all as u64)));
    assert!(seen.is_sorted_by_key(|(bytes, _)| *bytes));
    assert!(stub.gets("README.md").is_empty());

    let folder = model_folder(&cache);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    for name in wanted {
        let link = fetched.dir.join(name);
        assert_eq!(fs::read(&link).unwrap(), files.0[name]);
        #[cfg(unix)]
        assert_eq!(fs::read_link(link).unwrap(), Path::new("../../blobs").join(files.etag(name)));
    }
    assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), fetched.files.len());

    let found = cache.find("org/tiny").unwrap();
    assert_eq!(found, fetched.dir);
    let (here, there) = (model::load(&found).unwrap(), model::load(&family("llama-sharded")).unwrap());
    assert_eq!(format!("{:?}", here.weights), format!("{:?}", there.weights));

    let requests = stub.asked().len();
    assert_eq!(get(&cache).unwrap().bytes, 0, "a second time nothing is missing");
    assert!(stub.asked()[requests..].iter().all(|a| a.method == "HEAD" || a.path.starts_with("/api/")));
}

#[test]
fn a_model_in_one_file_at_a_revision() {
    let stub = hub(Files::of(&family("gpt2")), |_, reply| reply);
    let (_root, cache) = cache(&stub);
    let spec = Spec::parse("org/tiny@refs/pr/1").unwrap();
    let fetched = fetch(&cache, &spec, &mut |_| {}).unwrap();
    assert_eq!(cache.find("org/tiny@refs/pr/1").unwrap(), fetched.dir);
    assert!(cache.find("org/tiny").is_err(), "main was not asked for");
    model::load(&fetched.dir).unwrap();
    fetch(&cache, &Spec::parse(&format!("org/tiny@{COMMIT}")).unwrap(), &mut |_| {}).unwrap();
    assert_eq!(below(&model_folder(&cache).join("refs")), ["refs/pr/1"]);
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    let broken = AtomicUsize::new(0);
    let stub = hub(sharded(), move |asked, mut reply| {
        if asked.method == "GET" && asked.path.ends_with(SHARD) && broken.fetch_add(1, Ordering::SeqCst) < 2 {
            reply.cut = Some(10_000);
        }
        reply
    });
    let (_root, cache) = cache(&stub);
    let fetched = get(&cache).unwrap();
    model::load(&fetched.dir).unwrap();
    let from: Vec<_> = stub.gets(SHARD).iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(10_000), Some(20_000)]);
    let all: u64 = fetched.files.values().sum();
    assert_eq!(fetched.bytes, all);
}

#[test]
fn what_an_ended_fetch_left_is_gone_on_with() {
    let files = sharded();
    let down = hub(files.clone(), |asked, mut reply| {
        if asked.method == "GET" && asked.path.ends_with(SHARD) {
            reply.cut = Some(if asked.from.is_none() { 10_000 } else { 0 });
        }
        reply
    });
    let (_root, mut cache) = cache(&down);
    let error = get(&cache).unwrap_err();
    assert!(error.system && error.to_string().ends_with("what has come is kept: the same again goes on"), "{error}");
    assert_eq!(down.gets(SHARD).len(), 5, "it gives up after so many tries");
    nothing_half_written(&cache, &files);
    let part = model_folder(&cache).join("blobs").join(format!("{}.incomplete", files.etag(SHARD)));
    assert_eq!(fs::metadata(&part).unwrap().len(), 10_000);

    let up = hub(files.clone(), |_, reply| reply);
    cache.endpoint.clone_from(&up.endpoint);
    let fetched = get(&cache).unwrap();
    assert_eq!(up.gets(SHARD)[0].from, Some(10_000));
    assert!(up.gets("config.json").is_empty(), "what is whole is not fetched again");
    model::load(&fetched.dir).unwrap();
    assert!(!part.exists());
}

#[test]
fn a_fetch_that_panics_midway_leaves_what_can_be_gone_on_with() {
    let files = sharded();
    let stub = hub(files.clone(), |_, reply| reply);
    let (_root, cache) = cache(&stub);
    let spec = Spec::parse("org/tiny").unwrap();
    let ended = std::panic::catch_unwind(|| {
        fetch(&cache, &spec, &mut |watch| assert!(!(watch.file == SHARD && watch.bytes > 3000), "ended here"))
    });
    assert!(ended.is_err());
    nothing_half_written(&cache, &files);
    assert!(below(&model_folder(&cache).join("blobs")).iter().any(|name| name.ends_with(".incomplete")));
    model::load(&get(&cache).unwrap().dir).unwrap();
}

#[test]
fn a_server_that_knows_no_ranges_begins_anew() {
    let files = sharded();
    let whole = files.0[SHARD].clone();
    let stub = hub(files.clone(), move |asked, reply| match asked.from {
        Some(_) => Reply { status: 200, body: whole.clone(), ..Reply::default() },
        None => reply,
    });
    let (_root, cache) = cache(&stub);
    let blobs = model_folder(&cache).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", files.etag(SHARD))), &files.0[SHARD][..500]).unwrap();
    let fetched = get(&cache).unwrap();
    assert_eq!(stub.gets(SHARD).iter().map(|a| a.from).collect::<Vec<_>>(), [Some(500)]);
    model::load(&fetched.dir).unwrap();
}

/// Of each kind of wrong answer: the line says what is wrong, and nothing of the file stays.
#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    type Change = fn(&Asked, Reply) -> Reply;
    let cases: &[(&str, &str, Change)] = &[
        (SHARD, "wrong bytes: expected the hash", |_, mut r| {
            r.body[40] ^= 1;
            r
        }),
        ("config.json", "wrong bytes: expected the hash", |_, mut r| {
            r.body[40] ^= 1;
            r
        }),
        (SHARD, "31967 are sent", |_, mut r| {
            r.body.pop();
            r
        }),
        (SHARD, "31969 are sent", |_, mut r| {
            r.body.push(0);
            r
        }),
        (SHARD, "expected `bytes 10000-31967/31968`, `bytes 0-31967/31968` is sent", |asked, mut r| {
            if asked.from.is_none() {
                r.cut = Some(10_000);
            } else {
                r.headers.retain(|(name, _)| name != "Content-Range");
                r = r.with("Content-Range", "bytes 0-31967/31968");
            }
            r
        }),
    ];
    for &(name, says, change) in cases {
        let files = sharded();
        let stub = hub(files.clone(), move |asked, reply| {
            if asked.method == "GET" && asked.path.ends_with(name) { change(asked, reply) } else { reply }
        });
        let (_root, cache) = cache(&stub);
        let error = get(&cache).unwrap_err();
        let told = error.to_string();
        assert!(error.system && told.starts_with(name) && told.contains(says) && !told.contains('\n'), "{told}");
        nothing_half_written(&cache, &files);
        let left = below(&model_folder(&cache).join("blobs"));
        assert!(left.iter().all(|blob| !blob.starts_with(&files.etag(name))), "{left:?}");
    }
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let files = sharded();
    let other = files.clone();
    let elsewhere = Stub::start(move |asked| other.answer_elsewhere(asked));
    let at = elsewhere.endpoint.clone();
    let here = files.clone();
    let stub = Stub::start(move |asked| here.answer(asked, Some(&at)));
    let (_root, cache) = cache(&stub);
    model::load(&get(&cache).unwrap().dir).unwrap();
    assert!(stub.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer secret")));
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2, "a request for each shard, none for what the hub has said of it");
    assert!(asked.iter().all(|asked| asked.token.is_none()));
}

#[test]
fn a_model_that_has_moved_is_followed() {
    let stub = hub(sharded(), |_, reply| reply);
    let moved = Stub::start({
        let to = stub.endpoint.clone();
        move |asked| Reply::status(307).with("Location", format!("{to}{}", asked.path.replace("/old/", "/org/")))
    });
    let inside = {
        let files = sharded();
        Stub::start(move |asked| match asked.path.contains("/old/") {
            true => Reply::status(307).with("Location", asked.path.replace("/old/", "/org/")),
            false => files.answer(asked, None),
        })
    };
    let spec = Spec::parse("old/tiny").unwrap();
    let (_root, cache) = cache(&inside);
    fetch(&cache, &spec, &mut |_| {}).unwrap();
    assert!(cache.find("old/tiny").is_ok());
    // What is said of a file must come from the hub, not from where it leads.
    let cache = Cache { endpoint: moved.endpoint.clone(), root: cache.root.join("other"), ..cache };
    let told = fetch(&cache, &spec, &mut |_| {}).unwrap_err().to_string();
    assert!(told.contains("without a hash"), "{told}");
}

#[test]
fn what_the_hub_refuses_is_told() {
    let cases: &[(Change, &str)] = &[
        (|_, _| Reply::status(404), "no such model"),
        (|_, _| Reply::status(401), "set HF_TOKEN"),
        (|_, _| Reply::status(403), "what HF_TOKEN may read"),
        (|_, _| Reply::status(403).with("X-Error-Code", "GatedRepo"), "accepted its terms"),
        (|_, _| Reply::status(404).with("X-Error-Code", "RevisionNotFound"), "no such revision"),
        (
            |asked, r| if asked.path.ends_with(SHARD) { Reply::status(404) } else { r },
            "no such model, revision or file",
        ),
    ];
    for (change, says) in cases {
        let stub = hub(sharded(), *change);
        let (_root, cache) = cache(&stub);
        let error = get(&cache).unwrap_err();
        assert!(!error.system && error.to_string().contains(says), "{error}");
        nothing_half_written(&cache, &sharded());
    }
}

#[test]
fn what_makes_no_sense_is_told() {
    let cases: &[(Change, &str)] = &[
        (|_, _| Reply::status(503), "answers 503 (5 tries)"),
        (|_, _| Reply::status(418), "is answered with 418"),
        (|_, _| Reply::status(302), "which is no address"),
        (|_, _| Reply::status(302).with("Location", "ftp://x/y"), "which is no address"),
        (|asked, _| Reply::status(302).with("Location", asked.path.clone()), "circle of redirects"),
        (
            |_, mut r| {
                r.body = b"<html>".to_vec();
                r
            },
            "can't be read",
        ),
        (
            |_, mut r| {
                r.body = br#"{"sha": "../.."}"#.to_vec();
                r
            },
            "is no commit",
        ),
        (
            |asked, mut r| {
                if asked.method == "HEAD" {
                    r.headers.clear()
                }
                r
            },
            "without a hash",
        ),
        (
            |asked, r| {
                if asked.method == "HEAD" {
                    Reply { headers: vec![("ETag".into(), "\"../../x\"".into())], ..r }
                } else {
                    r
                }
            },
            "no hash",
        ),
    ];
    for (change, says) in cases {
        let stub = hub(sharded(), *change);
        let (_root, cache) = cache(&stub);
        let error = get(&cache).unwrap_err();
        assert!(error.system && error.to_string().contains(says), "{error}");
        nothing_half_written(&cache, &sharded());
    }
}

#[test]
fn models_that_can_not_be_read_are_not_fetched() {
    let only = |names: &[&str]| Files(names.iter().map(|name| (name.to_string(), b"{}".to_vec())).collect());
    let index = |file: &str| {
        let mut files = sharded();
        let text = format!(r#"{{"weight_map": {{"a": "{file}"}}}}"#);
        files.0.insert("model.safetensors.index.json".into(), text.into_bytes());
        files
    };
    let cases = [
        (only(&["config.json", "pytorch_model.bin"]), "has pytorch_model.bin but no model.safetensors"),
        (only(&["config.json", "pytorch_model.bin.index.json"]), "pickles of models are not read"),
        (only(&["config.json", "tf_model.h5"]), "has neither model.safetensors nor"),
        (only(&["model.safetensors"]), "has no config.json"),
        (index("../../../x"), "of the same folder"),
        (index("absent.safetensors"), "which the hub does not have"),
    ];
    for (files, says) in cases {
        let stub = hub(files.clone(), |_, reply| reply);
        let (_root, cache) = cache(&stub);
        let error = get(&cache).unwrap_err();
        assert!(!error.system && error.to_string().contains(says), "{error}");
        nothing_half_written(&cache, &files);
    }
}

#[test]
fn more_than_the_disk_has_room_for_is_not_begun() {
    let stub = hub(sharded(), |asked, mut reply| {
        if asked.method == "HEAD" {
            reply.headers.retain(|(name, _)| name != "X-Linked-Size");
            reply = reply.with("X-Linked-Size", "9000000000000000000");
        }
        reply
    });
    let (_root, cache) = cache(&stub);
    let told = get(&cache).unwrap_err().to_string();
    assert!(told.contains("are missing, and") && told.contains("has room for"), "{told}");
    assert!(stub.gets("").iter().all(|asked| asked.path.starts_with("/api/")));
}

#[test]
fn offline_nothing_is_asked() {
    let stub = hub(sharded(), |_, reply| reply);
    let (_root, cache) = cache(&stub);
    let told = get(&Cache { offline: true, ..cache.clone() }).unwrap_err().to_string();
    assert!(told.contains("HF_HUB_OFFLINE") && stub.asked().is_empty(), "{told}");
    assert!(cache.find("org/tiny").is_err() && stub.asked().is_empty(), "looking up opens no connection");
    assert!(!cache.root.exists());
}

#[test]
fn an_endpoint_that_is_none_is_told() {
    let root = tempfile::tempdir().unwrap();
    for endpoint in ["", "huggingface.co", "ftp://x", "http://", "http://a b", "file:///etc"] {
        let cache = Cache {
            root: root.path().to_owned(),
            endpoint: endpoint.into(),
            token: None,
            offline: false,
            patience: Duration::ZERO,
        };
        let told = get(&cache).unwrap_err();
        assert!(!told.system && told.to_string().contains("--endpoint"), "{told}");
    }
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cache = Cache {
        root: root.path().to_owned(),
        endpoint: format!("http://{dead}"),
        token: None,
        offline: false,
        patience: Duration::ZERO,
    };
    let told = get(&cache).unwrap_err();
    assert!(told.system && told.to_string().contains("(5 tries)"), "{told}");
}

#[test]
fn two_at_once_do_not_write_one_file() {
    let files = sharded();
    let stub = hub(files.clone(), |_, reply| reply);
    let (_root, cache) = cache(&stub);
    let blobs = model_folder(&cache).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.incomplete", files.etag("config.json")));
    let other = fs::File::create(&part).unwrap();
    other.lock().unwrap();
    let told = get(&cache).unwrap_err().to_string();
    assert!(told.contains("another process"), "{told}");
    drop(other);
    get(&cache).unwrap();
}
