//! [`Endpoint`]: chat completions of an OpenAI-compatible server, with patience and a memory.
//!
//! What comes from the server is data: it is bounded, and what of it is shown is short and without control characters. The key goes into one header
//! and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use superlens::neurons::simulate::{Chat, ChatError, Request};
use ureq::Agent;
use ureq::http::{HeaderMap, Uri};

use super::answers::{Answer, Answers};
use crate::args::{Parameter, Server};
use crate::failure::{Failure, say};

/// No response is longer.
const LONGEST: u64 = 4 << 20;
/// Characters of what a server says that are shown.
const SHOWN: usize = 200;
/// Before the first request that is sent again; twice as long before each other one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A server that wants to be left alone for longer is.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Endpoint {
    agent: Agent,
    url: String,
    key: Option<String>,
    model: String,
    omit: Vec<Parameter>,
    retries: u32,
    /// Between the starts of two requests.
    apart: Duration,
    /// When the next may start.
    next: Mutex<Instant>,
    answers: Answers,
    seed: u64,
    pub spent: Spent,
}

/// What was asked so far.
#[derive(Default)]
pub struct Spent {
    /// Requests that were sent, those that failed too.
    pub sent: AtomicU64,
    /// Answers that were kept from before.
    pub kept: AtomicU64,
    /// As the server counts, without what was kept from before.
    pub prompt_tokens: AtomicU64,
    pub completion_tokens: AtomicU64,
}

/// How one request ended.
enum Ended {
    Answer(Answer),
    /// Another try may go better, after this long if the server says so.
    Again(String, Option<Duration>),
    No(ChatError),
}

impl Endpoint {
    /// `base` and `key` come from the environment where no flag says them.
    ///
    /// # Errors
    /// No address or a bad one, no key or a bad one, a folder for answers that can't be made.
    pub fn open(server: &Server, base: Option<String>, key: Option<String>, seed: u64) -> Result<Endpoint, Failure> {
        let url = address(server.endpoint.clone().or(base).filter(|url| !url.is_empty()))?;
        let variable = &server.key_env;
        let key = match key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()) {
            _ if server.no_key => None,
            Some(key) if key.bytes().all(|b| b.is_ascii_graphic()) => Some(key),
            Some(_) => {
                return Err(Failure::Input(format!(
                    "{variable}: holds characters that no key has; set it to the key alone"
                )));
            }
            None => {
                return Err(Failure::Input(format!(
                    "{variable} is not set; set it to the key, name another variable by --key-env, or say --no-key for a server that asks for none"
                )));
            }
        };
        if key.is_some() && url.starts_with("http://") && !is_here(&url) {
            say("warning: the key is sent without encryption; use https, or --no-key if the server asks for none");
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(server.timeout)))
            .user_agent(concat!("superlens/", env!("CARGO_PKG_VERSION")));
        Ok(Endpoint {
            agent: config.build().new_agent(),
            url,
            key,
            model: server.model.clone(),
            omit: server.omit.clone(),
            retries: server.retries,
            apart: server.per_minute.map_or(Duration::ZERO, |n| Duration::from_secs(60) / n),
            next: Mutex::new(Instant::now()),
            answers: Answers::open(&server.cache)?,
            seed,
            spent: Spent::default(),
        })
    }

    /// The body of a request. Another attempt at the same has another seed, so that it is another request.
    fn body(&self, request: &Request) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}],
        });
        let parameters = [
            (Parameter::Temperature, "temperature", json!(0)),
            (Parameter::MaxTokens, "max_tokens", json!(request.max_tokens)),
            (Parameter::Seed, "seed", json!(self.seed.wrapping_add(u64::from(request.attempt)) & 0x3fff_ffff)),
        ];
        for (parameter, name, value) in parameters {
            if !self.omit.contains(&parameter) {
                body[name] = value;
            }
        }
        body
    }

    /// Waits until the next request may start.
    fn wait_for_turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + self.apart;
            at
        };
        thread::sleep(at.saturating_duration_since(Instant::now()));
    }

    fn send(&self, body: &[u8]) -> Ended {
        self.wait_for_turn();
        self.spent.sent.fetch_add(1, Ordering::Relaxed);
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return Ended::Again(shown(&error.to_string()), None),
        };
        let (status, later) = (response.status().as_u16(), retry_after(response.headers()));
        let bytes = match response.into_body().into_with_config().limit(LONGEST).read_to_vec() {
            Ok(bytes) => bytes,
            Err(ureq::Error::BodyExceedsLimit(_)) if status == 200 => {
                return Ended::No(ChatError::Unreadable(format!("a response of more than {} MB", LONGEST >> 20)));
            }
            Err(ureq::Error::BodyExceedsLimit(_)) => Vec::new(),
            Err(error) => return Ended::Again(shown(&error.to_string()), None),
        };
        match status {
            200 => match parse(&bytes) {
                Ok(answer) => Ended::Answer(answer),
                Err(why) => Ended::No(ChatError::Unreadable(why)),
            },
            408 | 429 | 500..=599 => Ended::Again(format!("is answered with {status}: {}", said(&bytes)), later),
            300..=399 => Ended::No(ChatError::Ended(format!(
                "{}: leads elsewhere ({status}); give the address it leads to",
                self.url
            ))),
            _ => Ended::No(ChatError::Ended(format!("{}: is answered with {status}: {}", self.url, said(&bytes)))),
        }
    }

    /// Sends until something comes, is refused, or has failed too often.
    fn patiently(&self, body: &[u8]) -> Result<Answer, ChatError> {
        let mut wait = FIRST_WAIT;
        let mut failed = 0;
        loop {
            let (why, later) = match self.send(body) {
                Ended::Answer(answer) => return Ok(answer),
                Ended::No(error) => return Err(error),
                Ended::Again(why, later) => (why, later),
            };
            failed += 1;
            let ended = |more: String| {
                ChatError::Ended(format!(
                    "{}: {why}{more}; what was answered is kept: the same again goes on",
                    self.url
                ))
            };
            if failed > self.retries {
                return Err(ended(format!(" ({failed} tries)")));
            }
            if let Some(later) = later.filter(|later| *later > PATIENCE) {
                return Err(ended(format!(" (and asks to wait for {} s)", later.as_secs())));
            }
            thread::sleep(later.unwrap_or(wait));
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }
}

impl Chat for Endpoint {
    fn ask(&self, request: &Request) -> Result<String, ChatError> {
        let body = self.body(request);
        let name = Answers::name(&json!({"body": body, "attempt": request.attempt}));
        if let Some(answer) = self.answers.get(&name) {
            self.spent.kept.fetch_add(1, Ordering::Relaxed);
            return Ok(answer.content);
        }
        let answer = self.patiently(body.to_string().as_bytes())?;
        self.spent.prompt_tokens.fetch_add(answer.prompt_tokens, Ordering::Relaxed);
        self.spent.completion_tokens.fetch_add(answer.completion_tokens, Ordering::Relaxed);
        let kept = self.answers.put(&name, &answer);
        kept.map_err(|e| {
            ChatError::Ended(format!("--cache: the answer can't be kept: {e}; make room, or name another folder"))
        })?;
        Ok(answer.content)
    }
}

/// Where chat completions are, of a server's address.
fn address(given: Option<String>) -> Result<String, Failure> {
    let wanted =
        "give the address of an OpenAI-compatible server, as in --endpoint http://localhost:8080/v1 or OPENAI_BASE_URL";
    let given = given.ok_or_else(|| Failure::Input(format!("no address: {wanted}")))?;
    let uri: Option<Uri> = given.parse().ok();
    let good = |uri: &Uri| {
        let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@')) && uri.query().is_none();
        matches!(uri.scheme_str(), Some("http" | "https")) && plain && uri.host().is_some_and(|host| !host.is_empty())
    };
    if !uri.as_ref().is_some_and(good) {
        // Not shown: it may hold a password.
        return Err(Failure::Input(format!(
            "the address is none of http://… or https://…, or holds a name or a query; {wanted}"
        )));
    }
    let base = given.trim_end_matches('/').trim_end_matches("/chat/completions");
    Ok(format!("{base}/chat/completions"))
}

/// Whether an address is of this machine.
fn is_here(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

/// In seconds; dates are not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The text of a chat completion.
fn parse(bytes: &[u8]) -> Result<Answer, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "a response that is no JSON".to_owned())?;
    let content =
        value["choices"][0]["message"]["content"].as_str().ok_or("a response without choices[0].message.content")?;
    let count = |key: &str| value["usage"][key].as_u64().unwrap_or(0).min(1 << 40);
    Ok(Answer {
        content: content.to_owned(),
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
    })
}

/// What a server says of an error.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1 << 16)]).into_owned();
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let told = value["error"]["message"].as_str().or(value["error"].as_str()).or(value["message"].as_str());
    let shown = shown(told.unwrap_or(&text));
    if shown.is_empty() { "(nothing is said)".into() } else { shown }
}

/// Short, in one line, without control characters.
fn shown(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() > SHOWN { format!("{}…", line.chars().take(SHOWN).collect::<String>()) } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_chat_completions() {
        for given in
            ["http://localhost:8080/v1", "http://localhost:8080/v1/", "http://localhost:8080/v1/chat/completions"]
        {
            assert_eq!(address(Some(given.into())).unwrap(), "http://localhost:8080/v1/chat/completions");
        }
        for bad in ["localhost", "ftp://x/v1", "http://user:secret@x/v1", "http://x/v1?key=secret", "http://", "\u{0}"]
        {
            let Err(Failure::Input(message)) = address(Some(bad.into())) else { panic!("{bad}") };
            assert!(!message.contains("secret"));
        }
        assert!(
            is_here("http://127.0.0.1:1/v1") && is_here("http://[::1]/v1") && !is_here("http://localhost.evil.org/v1")
        );
    }

    #[test]
    fn what_a_server_says_is_shown_short_and_plain() {
        assert_eq!(said(br#"{"error": {"message": "no\u001b[31m such\n\nmodel"}}"#), "no [31m such model");
        assert_eq!(said(b""), "(nothing is said)");
        assert_eq!(said(&[b'x'; 100_000]).chars().count(), SHOWN + 1);
        for bad in [
            &b"{}"[..],
            b"[]",
            b"null",
            br#"{"choices": []}"#,
            br#"{"choices": [{"message": {"content": null}}]}"#,
            b"\xff",
        ] {
            assert!(parse(bad).is_err());
        }
        let good = parse(br#"{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1}}"#).unwrap();
        assert_eq!((good.content.as_str(), good.prompt_tokens), ("x", 0));
    }
}
