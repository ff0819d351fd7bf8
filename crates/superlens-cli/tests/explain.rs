//! `superlens explain` through the real binary; for `simulate` against a small server on this machine.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "../../superlens/tests/simulated/mod.rs"]
mod simulated;

/// What the server says: status, headers, body.
struct Reply(u16, String, Vec<u8>);

fn chat(content: &str) -> Reply {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10});
    let body = json!({"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage});
    Reply(200, String::new(), body.to_string().into_bytes())
}

/// What an honest model says to this body.
fn honest(body: &Value) -> Reply {
    chat(&simulated::answer(body["messages"][1]["content"].as_str().unwrap()))
}

struct Stub {
    base: String,
    /// Heads and bodies.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Stub {
    /// Answers `by` the number of the request and its body, until the test ends.
    fn start(by: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, by) = (asked.clone(), Arc::new(by));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, by) = (log.clone(), by.clone());
                thread::spawn(move || serve(stream, &log, &*by));
            }
        });
        Stub { base, asked }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<(String, Value)>>, by: &(dyn Fn(usize, &Value) -> Reply + Sync)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() || length == 0 {
        return;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let number = {
        let mut log = log.lock().unwrap();
        log.push((head, body.clone()));
        log.len() - 1
    };
    let Reply(status, headers, bytes) = by(number, &body);
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", bytes.len());
    // Who asked may have hung up.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
}

/// A folder with the records of `n` units.
fn folder(n: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for unit in simulated::units(n, &superlens_tensor::Rng::new(4)) {
        let record = superlens::neurons::files::openai::NeuronRecord { layer: 3, examples: unit, ..Default::default() };
        let path = folder.path().join(format!("{}.json", record.examples.unit));
        superlens::neurons::files::openai::write(&path, &record).unwrap();
    }
    folder
}

fn simulate(folder: &Path, stub: &Stub, more: &str) -> Output {
    let mut command = command(folder, "explain simulate 0.json 1.json --model m --quiet --json");
    command.args(more.split_whitespace()).args(["--endpoint", &stub.base]);
    command.env("OPENAI_API_KEY", "sk-very-secret").output().unwrap()
}

fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(words.split_whitespace()).current_dir(folder);
    for variable in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    command
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn document(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line, and this exit code.
fn fails(output: &Output, code: i32, says: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.lines().count() == 1 && told.starts_with("error: ") && told.contains(says), "{told}");
    assert!(output.stdout.is_empty() && !told.contains("secret") && !told.contains('\x1b'), "{told}");
}

#[test]
fn a_good_run_scores_well_and_the_same_again_asks_nothing() {
    let (folder, stub) = (folder(2), Stub::start(|_, body| honest(body)));
    let first = document(&simulate(folder.path(), &stub, "--shuffled"));
    let summary = &first["summary"];
    assert!(summary["correlation"]["mean"].as_f64().unwrap() > 0.95, "{summary}");
    assert!(summary["explained_variance_calibrated"]["mean"].as_f64().unwrap() > 0.9, "{summary}");
    assert!(summary["shuffled_correlation"]["mean"].as_f64().unwrap().abs() < 0.1, "{summary}");
    assert_eq!((&first["units"][1]["layer"], &first["units"][1]["unit"]), (&json!(3), &json!(1)));
    let asked = stub.count();
    assert_eq!((&first["estimate"]["requests"], &first["spent"]["sent"]), (&json!(asked), &json!(asked)));
    assert_eq!(first["spent"]["tokens_in"], json!(100 * asked));
    for (head, body) in stub.asked.lock().unwrap().iter() {
        assert!(head.starts_with("POST /v1/chat/completions ") && head.contains("Bearer sk-very-secret"), "{head}");
        assert_eq!((&body["model"], &body["temperature"]), (&json!("m"), &json!(0)));
    }
    for entry in fs::read_dir(folder.path().join("superlens-answers")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("secret"));
    }
    let again = document(&simulate(folder.path(), &stub, "--shuffled --parallel 1"));
    assert_eq!((stub.count(), &again["units"], &again["spent"]["kept"]), (asked, &first["units"], &json!(asked)));
    // What was explained can be given, and is not asked again.
    fs::write(folder.path().join("said.json"), first.to_string()).unwrap();
    let given = document(&simulate(folder.path(), &stub, "--explanations said.json --shuffled"));
    assert_eq!((stub.count(), &given["estimate"]["requests"]), (asked, &json!(asked - 2)));
    assert_eq!(given["summary"]["correlation"], first["summary"]["correlation"]);
}

#[test]
fn damaged_answers_are_asked_again_with_a_warning() {
    let (folder, stub) = (folder(2), Stub::start(|_, body| honest(body)));
    let first = document(&simulate(folder.path(), &stub, "--scores detection"));
    let asked = stub.count();
    let answers = folder.path().join("superlens-answers");
    for entry in fs::read_dir(&answers).unwrap() {
        fs::write(entry.unwrap().path(), "{\"content\": \"[1").unwrap();
    }
    let output = simulate(folder.path(), &stub, "--scores detection");
    assert_eq!((stub.count(), stderr(&output).matches("is damaged").count()), (2 * asked, asked));
    assert_eq!(document(&output)["units"], first["units"]);
}

#[test]
fn busy_and_failing_servers_are_waited_for() {
    let folder = folder(2);
    let stub = Stub::start(|number, body| match number {
        0 => Reply(429, "Retry-After: 1\r\n".into(), b"{\"error\": {\"message\": \"slow down\"}}".to_vec()),
        1 => Reply(500, String::new(), b"<html>".to_vec()),
        2 => Reply(503, String::new(), Vec::new()),
        _ => honest(body),
    });
    let begun = Instant::now();
    let scored = document(&simulate(folder.path(), &stub, "--scores detection --parallel 1"));
    assert!(begun.elapsed() >= Duration::from_secs(2), "one second is asked for, and two waits of half and one");
    assert_eq!(scored["spent"]["sent"], json!(stub.count()));
    assert_eq!(scored["estimate"]["requests"].as_u64().unwrap() + 3, stub.count() as u64);
    // Too often, for too long, and refused at once.
    let busy = Stub::start(|_, _| {
        Reply(429, "Retry-After: 0\r\n".into(), b"{\"error\": {\"message\": \"slow\\u001b[31m down\"}}".to_vec())
    });
    fails(&simulate(folder.path(), &busy, "--cache other --retries 2 --parallel 1"), 1, "slow [31m down (3 tries)");
    assert_eq!(busy.count(), 3);
    let later = Stub::start(|_, _| Reply(429, "Retry-After: 86400\r\n".into(), Vec::new()));
    fails(&simulate(folder.path(), &later, "--cache other --parallel 1"), 1, "86400 s");
    let refused = Stub::start(|_, _| {
        Reply(401, String::new(), [b"{\"error\": {\"message\": \"no such key ", &[b'x'; 9999][..], b"\"}}"].concat())
    });
    let output = simulate(folder.path(), &refused, "--cache other --parallel 1");
    fails(&output, 1, "401: no such key");
    assert!(output.stderr.len() < 500 && refused.count() == 1);
    let elsewhere = Stub::start(|_, _| Reply(302, "Location: http://127.0.0.1:1/\r\n".into(), Vec::new()));
    fails(&simulate(folder.path(), &elsewhere, "--cache other --parallel 1"), 1, "leads elsewhere (302)");
}

#[test]
fn answers_that_are_none_are_asked_again_and_then_missing() {
    let folder = folder(2);
    // The first attempt at each is garbage of some kind.
    let garbage = Stub::start(|number, body| match (body["seed"].as_u64().unwrap(), number % 4) {
        (0, 0) => Reply(200, String::new(), b"<html>not json</html>".to_vec()),
        (0, 1) => Reply(200, String::new(), vec![b'['; 5 << 20]),
        (0, 2) => Reply(200, String::new(), b"{\"choices\": [{\"message\": {\"content\": 5}}]}".to_vec()),
        (0, _) => chat("</think>"),
        _ => honest(body),
    });
    let scored = document(&simulate(folder.path(), &garbage, "--scores simulation,fuzzing"));
    assert!(scored["summary"]["correlation"]["mean"].as_f64().unwrap() > 0.95);
    assert_eq!(scored["summary"]["unreadable_answers"], scored["estimate"]["requests"]);
    // One activation too few, always: no number is made up.
    let short = Stub::start(|_, body| {
        let user = body["messages"][1]["content"].as_str().unwrap();
        let answer = simulated::answer(user);
        chat(&if user.contains("Tokens (") { answer.replacen("0, ", "", 1) } else { answer })
    });
    let scored = document(&simulate(folder.path(), &short, "--cache short"));
    for unit in scored["units"].as_array().unwrap() {
        assert_eq!((&unit["simulation"], &unit["missing"][0]["score"]), (&Value::Null, &json!("simulation")));
        assert_eq!(unit["missing"][0]["reason"], "31 activations for 32 tokens (3 answers)");
        assert!(unit["detection"]["accuracy"].as_f64().unwrap() > 0.8);
    }
    assert_eq!(scored["summary"]["correlation"], json!({"mean": null, "units": 0}));
}

#[test]
fn what_is_missing_or_too_dear_is_told_before_anything_is_sent() {
    let (folder, stub) = (folder(2), Stub::start(|_, body| honest(body)));
    let here = folder.path();
    let words = format!("explain simulate 0.json --model m --quiet --endpoint {}", stub.base);
    let run = |more: &str| command(here, &format!("{words} {more}")).output().unwrap();
    fails(&run(""), 2, "OPENAI_API_KEY is not set");
    fails(&run("--key-env OTHER_KEY"), 2, "OTHER_KEY is not set");
    let bad_key = command(here, &words).env("OPENAI_API_KEY", "secret\nsecret").output().unwrap();
    fails(&bad_key, 2, "OPENAI_API_KEY: holds characters");
    let no_address = command(here, "explain simulate 0.json --model m --quiet --no-key").output().unwrap();
    fails(&no_address, 2, "OPENAI_BASE_URL");
    fails(&run("--price-in 1000 --price-out 1000 --budget 0.5 --no-key"), 2, "--budget 0.5: the estimate is ");
    let dry = run("--price-in 1 --price-out 2 --dry-run --json");
    let told = document(&dry);
    let tokens = |key: &str| told[key].as_f64().unwrap();
    assert!((told["money"].as_f64().unwrap() - (tokens("tokens_in") + 2.0 * tokens("tokens_out")) / 1e6).abs() < 1e-9);
    assert_eq!(stub.count(), 0);
    assert!(!here.join("superlens-answers").exists());
    let yes = run("--price-in 1000 --price-out 1000 --budget 0.5 --no-key --yes --scores detection");
    assert_eq!(yes.status.code(), Some(0), "{}", stderr(&yes));
    assert!(stub.asked.lock().unwrap().iter().all(|(head, _)| !head.to_lowercase().contains("authorization")));
    fs::write(here.join("bad.json"), "{\"neuron_id\": NaN}").unwrap();
    let bad = command(here, "explain simulate bad.json --model m --no-key --endpoint http://127.0.0.1:1/v1")
        .output()
        .unwrap();
    fails(&bad, 2, "bad.json: ");
    let gone = run("--no-key --retries 0 --cache gone --endpoint http://127.0.0.1:1/v1");
    assert_eq!(gone.status.code(), Some(2), "given twice: {}", stderr(&gone));
    let gone = command(
        here,
        "explain simulate 0.json --model m --quiet --no-key --retries 0 --endpoint http://127.0.0.1:1/v1",
    )
    .output()
    .unwrap();
    fails(&gone, 1, "the same again goes on");
}

#[test]
fn requests_keep_their_distance() {
    let (folder, stub) = (folder(2), Stub::start(|_, body| honest(body)));
    let begun = Instant::now();
    document(&simulate(folder.path(), &stub, "--scores detection --per-minute 600 --parallel 8"));
    assert!(
        begun.elapsed() >= Duration::from_millis(100) * (stub.count() as u32 - 1),
        "{} in {:?}",
        stub.count(),
        begun.elapsed()
    );
}

fn npy(shape: [usize; 2], values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn formulas_are_found_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let rows = 2000;
    let mut rng = superlens_tensor::Rng::new(1);
    let labels: Vec<f32> = (0..3 * rows).map(|_| f32::from(rng.chance(0.3))).collect();
    let unit = |i: usize| {
        let [a, b, c] = [0, 1, 2].map(|k| labels[3 * i + k] == 1.0);
        [f32::from(a && !b), f32::from(a || c)]
    };
    let x: Vec<f32> = (0..rows).flat_map(unit).collect();
    fs::write(here.join("x.npy"), npy([rows, 2], &x)).unwrap();
    fs::write(here.join("labels.npy"), npy([rows, 3], &labels)).unwrap();
    fs::write(here.join("names.txt"), "river\nnight\nbank\n").unwrap();
    fs::write(here.join("directions.npy"), npy([1, 2], &[0.0, 1.0])).unwrap();
    let run = |more: &str| {
        command(here, &format!("explain compositional x.npy --labels labels.npy --quiet {more}")).output().unwrap()
    };
    let told = document(&run("--names names.txt --exhaustive --json"));
    let [first, second] = [0, 1].map(|i| &told["units"][i]);
    assert_eq!(
        (&first["formula"], &first["iou"], &first["kind"]),
        (&json!("river AND NOT night"), &json!(1.0), &json!("coherent"))
    );
    assert_eq!((&second["kind"], &second["optimal"]), (&json!("polysemantic"), &json!(true)));
    assert_eq!((&told["summary"]["checked"], &told["summary"]["optimal"]), (&json!(2), &json!(2)));
    let along = document(&run("--directions directions.npy --names names.txt --json"));
    assert_eq!((&along["unit"], &along["units"][0]["formula"]), (&json!("direction"), &second["formula"]));
    let text = run("--units 1 --names names.txt");
    let text = std::str::from_utf8(&text.stdout).unwrap();
    assert!(
        text.contains("polysemantic")
            && text.contains(" OR ")
            && text.contains("of 1 neurons 0 coherent, 1 polysemantic"),
        "{text}"
    );
    fails(&run("--units 2"), 2, "--units 2: expected numbers and ranges of neurons below 2");
    fails(&run("--quantile 0"), 2, "above 0");
    fails(&run("--names labels.npy"), 2, "labels.npy");
    fs::write(here.join("names.txt"), "river\n").unwrap();
    fails(&run("--names names.txt"), 2, "expected 3 lines, a name for each column of labels.npy, found 1");
    fs::write(here.join("wide.npy"), npy([1, 3], &[1.0; 3])).unwrap();
    fails(&run("--directions wide.npy"), 2, "of activations of width 3, but these have 2 columns");
    let real = command(here, "explain compositional x.npy --labels x.npy --quiet").output().unwrap();
    assert_eq!(real.status.code(), Some(0), "labels may be activations, if they are zeros and ones");
    fs::write(here.join("labels.npy"), npy([rows, 3], &labels.iter().map(|l| 0.5 * l).collect::<Vec<_>>())).unwrap();
    fails(&run(""), 2, "expected 0 or 1, found 0.5");
}
