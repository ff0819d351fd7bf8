//! `superlens fetch`: a model from the Hugging Face hub. The only command that opens a connection.

use std::io::{self, Write};
use std::time::Instant;

use superlens_lm::hub::{Cache, HubError, Spec, Watch, fetch};

use crate::args::{Fetch, Global};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

pub fn run(args: &Fetch, global: Global) -> Result<(), Failure> {
    let spec = Spec::parse(&args.model)?;
    let mut cache = cache();
    if let Some(endpoint) = &args.endpoint {
        endpoint.trim_end_matches('/').clone_into(&mut cache.endpoint);
    }
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "asking the hub");
    let start = Instant::now();
    let mut watch = |watch: Watch| {
        let rate = watch.bytes as f64 / start.elapsed().as_secs_f64().max(1e-3);
        let stage =
            format!("{}, {:.1} of {:.1} MB, {:.1} MB a second", watch.file, mb(watch.bytes), mb(watch.all), rate / 1e6);
        progress.at(watch.bytes as f64 / watch.all.max(1) as f64, &stage);
    };
    interrupt::tell_how_to_go_on("the same command".into());
    let fetched = fetch(&cache, &spec, &mut watch)?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({
            "id": fetched.spec.id, "revision": fetched.spec.revision, "commit": fetched.commit, "dir": fetched.dir, "files": fetched.files,
            "fetched_bytes": fetched.bytes, "seconds": seconds,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    for (name, bytes) in &fetched.files {
        writeln!(out, "{:10.1} MB  {name}", mb(*bytes))?;
    }
    writeln!(out, "{:.1} MB fetched in {seconds:.1} s, every file as its hash says", mb(fetched.bytes))?;
    writeln!(out, "{}: the model; superlens model {} shows it", fetched.dir.display(), args.model)?;
    Ok(out.flush()?)
}

/// The user's cache of models.
pub fn cache() -> Cache {
    Cache::from_env(&|name| std::env::var_os(name))
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        if error.system { Failure::Other(anyhow::Error::msg(error)) } else { Failure::input(error) }
    }
}
