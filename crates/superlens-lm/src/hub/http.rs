//! [`Client`]: requests to the hub. Redirects are followed here and not by the HTTP client, so that it is plain to see who gets the token.

use std::io;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::{Cache, HubError};

const CONNECT: Duration = Duration::from_secs(30);
/// A connection on which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 6;
/// Tries in a row without progress.
const TRIES: u32 = 5;
/// No list of files is longer.
const LONGEST_LIST: u64 = 32 << 20;

/// Why a request gave nothing.
pub(super) enum Trouble {
    /// Another try may go better.
    Broken(String),
    Refused(HubError),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Trouble::Refused(error)
    }
}

pub(super) struct Client<'a> {
    agent: Agent,
    cache: &'a Cache,
    home: Uri,
    /// The model that is asked for, as it is typed.
    model: String,
}

/// What the hub says of a file without sending it.
#[derive(Debug)]
pub(super) struct Head {
    pub etag: String,
    pub size: u64,
}

impl<'a> Client<'a> {
    /// # Errors
    /// An endpoint that is no address, and being offline.
    pub fn new(cache: &'a Cache, model: String) -> Result<Client<'a>, HubError> {
        if cache.offline {
            let root = cache.root.display();
            return Err(HubError::input(
                model,
                format!(
                    "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is fetched; unset it, or use what is in {root}"
                ),
            ));
        }
        let home: Option<Uri> = cache.endpoint.parse().ok();
        let Some(home) = home.filter(|uri| origin(uri).is_some() && uri.query().is_none()) else {
            return Err(HubError::input(
                &cache.endpoint,
                "expected the address of a hub, http://… or https://…, as --endpoint or HF_ENDPOINT",
            ));
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .accept_encoding("identity")
            .user_agent(concat!("superlens/", env!("CARGO_PKG_VERSION")));
        Ok(Client { agent: config.build().new_agent(), cache, home, model })
    }

    /// An address on the hub.
    pub fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.cache.endpoint)
    }

    /// The bytes at `url` from `from` on, wherever redirects lead.
    pub fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Trouble> {
        let mut uri = self.uri(url)?;
        for _ in 0..MOST_REDIRECTS {
            let response = self.send(&uri, false, from)?;
            let Some(next) = self.redirect(&uri, &response)? else { return self.checked(response, &uri) };
            uri = next;
        }
        Err(self.refused(&uri, "leads in a circle of redirects").into())
    }

    /// What the hub says of the file at `url`. A redirect to another host is where its bytes are; what they are is said before that.
    pub fn head(&self, url: &str) -> Result<Head, Trouble> {
        let mut uri = self.uri(url)?;
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..MOST_REDIRECTS {
            let response = self.send(&uri, true, 0)?;
            let next = self.redirect(&uri, &response)?;
            linked_etag = linked_etag.or_else(|| header(response.headers(), "x-linked-etag"));
            linked_size = linked_size.or_else(|| header(response.headers(), "x-linked-size"));
            match next {
                Some(next) if origin(&next) == origin(&self.home) => uri = next,
                next => {
                    let response = if next.is_some() { response } else { self.checked(response, &uri)? };
                    let own = |name| header(response.headers(), name).filter(|_| next.is_none());
                    let etag = linked_etag.or_else(|| own("etag"));
                    let size = linked_size.or_else(|| own("content-length")).and_then(|text| text.parse().ok());
                    let (Some(etag), Some(size)) = (etag, size) else {
                        return Err(self
                            .refused(&uri, "comes without a hash or a length, so that it can't be checked")
                            .into());
                    };
                    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
                    return Ok(Head { etag, size });
                }
            }
        }
        Err(self.refused(&uri, "leads in a circle of redirects").into())
    }

    /// What is at `url`, a short text.
    pub fn text(&self, url: &str) -> Result<Vec<u8>, Trouble> {
        let body = self.get(url, 0)?.into_body();
        body.into_with_config().limit(LONGEST_LIST).read_to_vec().map_err(|e| self.trouble(e))
    }

    /// Tries until it goes well, is refused, or has not gone well too often.
    pub fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Trouble>) -> Result<T, HubError> {
        let mut patience = self.patience();
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Broken(why)) => patience.wait(&why)?,
            }
        }
    }

    pub fn patience(&self) -> Patience<'_> {
        Patience { client_model: &self.model, first: self.cache.patience, failed: 0 }
    }

    fn uri(&self, url: &str) -> Result<Uri, HubError> {
        url.parse().map_err(|e| HubError::input(url, format!("is no address: {e}")))
    }

    /// One request. Only the hub itself is told the token.
    fn send(&self, uri: &Uri, only_head: bool, from: u64) -> Result<Response<Body>, Trouble> {
        let mut request = if only_head { self.agent.head(uri) } else { self.agent.get(uri) };
        if let Some(token) = self.cache.token.as_ref().filter(|_| origin(uri) == origin(&self.home)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call().map_err(|e| self.trouble(e))
    }

    /// Where a response leads, if elsewhere.
    fn redirect(&self, uri: &Uri, response: &Response<Body>) -> Result<Option<Uri>, HubError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let to = header(response.headers(), "location").unwrap_or_default();
        let absolute = match (to.starts_with('/') && !to.starts_with("//"), origin(uri)) {
            (true, Some((scheme, host, port))) => format!("{scheme}://{host}:{port}{to}"),
            _ => to.clone(),
        };
        let next = absolute.parse::<Uri>().ok().filter(|next| origin(next).is_some());
        let next = next.ok_or_else(|| self.refused(uri, &format!("leads to {to:?}, which is no address")))?;
        if self.home.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
            return Err(self.refused(uri, "leads to a connection that is not encrypted; nothing is fetched over it"));
        }
        Ok(Some(next))
    }

    /// A response with what was asked for, or what the hub says instead.
    fn checked(&self, response: Response<Body>, uri: &Uri) -> Result<Response<Body>, Trouble> {
        let status = response.status().as_u16();
        let model = self.model.as_str();
        let said = match (status, header(response.headers(), "x-error-code").as_deref()) {
            (200 | 206 | 416, _) => return Ok(response),
            (_, Some("GatedRepo")) => {
                "is given only to those who accepted its terms on the hub; do that and set HF_TOKEN"
            }
            (_, Some("RevisionNotFound")) => "the hub has no such revision of it",
            (401, _) => {
                "the hub has no such model, or does not show it to everybody (401); check the name, or set HF_TOKEN"
            }
            (403, _) => "the hub does not give it to you (403); check what HF_TOKEN may read",
            (404, _) => "the hub has no such model, revision or file (404); check the name",
            (408 | 429 | 500..=599, _) => {
                return Err(Trouble::Broken(format!("{} answers {status}", self.cache.endpoint)));
            }
            _ => return Err(self.refused(uri, &format!("is answered with {status}")).into()),
        };
        Err(HubError::input(model, said).into())
    }

    fn refused(&self, uri: &Uri, what: &str) -> HubError {
        // Without its query, which may hold a signature.
        let (host, path) = (uri.host().unwrap_or_default(), uri.path());
        HubError::system(&self.model, format!("{host}{path} {what}"))
    }

    fn trouble(&self, error: ureq::Error) -> Trouble {
        let endpoint = &self.cache.endpoint;
        match error {
            ureq::Error::Http(e) => HubError::input(&self.model, format!("no request can be made of this: {e}")).into(),
            ureq::Error::BodyExceedsLimit(most) => {
                HubError::system(&self.model, format!("{endpoint} sends a list of more than {most} bytes")).into()
            }
            ureq::Error::HostNotFound => Trouble::Broken(format!("{endpoint}: no such host, or no network")),
            other => Trouble::Broken(format!("{endpoint}: {other}")),
        }
    }
}

/// How often in a row something may fail.
pub(super) struct Patience<'a> {
    client_model: &'a str,
    first: Duration,
    failed: u32,
}

impl Patience<'_> {
    /// Waits before another try.
    ///
    /// # Errors
    /// It failed too often.
    pub fn wait(&mut self, why: &str) -> Result<(), HubError> {
        self.failed += 1;
        if self.failed == TRIES {
            let what = format!("{why} ({TRIES} tries); what has come is kept: the same again goes on");
            return Err(HubError::system(self.client_model, what));
        }
        std::thread::sleep(self.first * 2u32.pow(self.failed - 1));
        Ok(())
    }

    /// Something has come.
    pub fn renew(&mut self) {
        self.failed = 0;
    }
}

impl From<io::Error> for Trouble {
    /// Of reading from a connection.
    fn from(error: io::Error) -> Self {
        Trouble::Broken(format!("the connection broke: {error}"))
    }
}

/// Scheme, host and port of an address over HTTP.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let usual = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    Some((uri.scheme_str()?, host, uri.port_u16().unwrap_or(usual)))
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
