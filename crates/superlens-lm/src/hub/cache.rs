//! [`Cache`]: where Hugging Face's tools keep models, and how a name is looked up there.
//!
//! ```text
//! models--owner--name/refs/main              the commit that `main` was at
//! models--owner--name/snapshots/COMMIT/FILE  a link to a blob
//! models--owner--name/blobs/HASH             the bytes
//! ```

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;
use super::spec::{Spec, is_commit};
use crate::model::files_of_index;

pub(super) const CONFIG: &str = "config.json";
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// A cache of models and where it is filled from.
#[derive(Clone)]
pub struct Cache {
    /// The folder with `models--…` in it.
    pub root: PathBuf,
    /// The hub, without a slash at its end.
    pub endpoint: String,
    /// What the hub knows the user by.
    pub token: Option<String>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// Wait before the first new try after a connection broke; twice as long each further time.
    pub patience: Duration,
}

/// Without the token, which no log should hold.
impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Cache {{ root: {:?}, endpoint: {:?}, offline: {} }}", self.root, self.endpoint, self.offline)
    }
}

impl Cache {
    /// The cache as `variable` says, which gives the variables of an environment, in the order of preference of `huggingface_hub`: for the
    /// folder `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, the user's own; for the rest `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH` (without it the file `token` of `HF_HOME`), `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`
    /// and `TRANSFORMERS_OFFLINE`. Empty variables count as unset.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<OsString>) -> Cache {
        let user = ["HOME", "USERPROFILE"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
        let user = PathBuf::from(user.unwrap_or_default());
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| raw(name).map(|value| below_user(value.into(), &user));
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        let yes =
            |name: &str| text(name).is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.to_uppercase().as_str()));
        let home = path("HF_HOME")
            .unwrap_or_else(|| path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache")).join("huggingface"));
        let root = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            if yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { fs::read_to_string(file).ok() }
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Cache {
            root,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: raw("HF_HUB_OFFLINE").map_or_else(|| yes("TRANSFORMERS_OFFLINE"), |_| yes("HF_HUB_OFFLINE")),
            patience: Duration::from_secs(1),
        }
    }

    /// The folder (or file) of a model: `spec` itself where that is a path that exists, otherwise that of the model of this name in the cache.
    /// Opens no connection.
    ///
    /// # Errors
    /// No such path and no such model, or a model of which files are missing.
    pub fn find(&self, spec: &str) -> Result<PathBuf, HubError> {
        let path = Path::new(spec);
        if path.exists() {
            return Ok(path.to_owned());
        }
        let told = |e: HubError| {
            HubError::input(spec, format!("there is no such file or folder, and no model can be called so: {}", e.what))
        };
        let name = Spec::parse(spec).map_err(told)?;
        let typed = name.typed();
        let folder = self.root.join(name.folder());
        let commit = if is_commit(&name.revision) {
            Some(name.revision.clone())
        } else {
            let file = folder.join("refs").join(&name.revision);
            fs::read_to_string(file).ok().map(|text| text.trim().to_owned()).filter(|text| is_commit(text))
        };
        let snapshot = commit.map(|commit| folder.join("snapshots").join(commit)).filter(|dir| dir.is_dir());
        let Some(snapshot) = snapshot else {
            let root = self.root.display();
            let what = format!(
                "there is no such file or folder, and no model of this name in {root}; `superlens fetch {typed}` gets it"
            );
            return Err(HubError::input(spec, what));
        };
        match missing(&snapshot)? {
            None => Ok(snapshot),
            Some(file) => Err(HubError::input(
                spec,
                format!("{} lacks {file}; `superlens fetch {typed}` gets what is missing", snapshot.display()),
            )),
        }
    }
}

/// `~/x` as the shell would have it.
fn below_user(path: PathBuf, user: &Path) -> PathBuf {
    path.strip_prefix("~").map(|rest| user.join(rest)).unwrap_or(path)
}

/// What a snapshot lacks to be a model. A link to a blob that isn't there counts as missing.
fn missing(snapshot: &Path) -> Result<Option<String>, HubError> {
    if !snapshot.join(CONFIG).exists() {
        return Ok(Some(CONFIG.into()));
    }
    if snapshot.join(SINGLE).exists() {
        return Ok(None);
    }
    let index = snapshot.join(INDEX);
    if !index.exists() {
        return Ok(Some(format!("{SINGLE} or {INDEX}")));
    }
    let shards = files_of_index(&index).map_err(|e| HubError::input(index.display().to_string(), e.what))?;
    Ok(shards.into_iter().find(|shard| !snapshot.join(shard).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn from(pairs: &[(&str, &str)]) -> Cache {
        let pairs: Vec<(String, OsString)> = pairs.iter().map(|(k, v)| (k.to_string(), v.into())).collect();
        Cache::from_env(&|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn variables_count_in_their_order() {
        let all = [
            ("HF_HUB_CACHE", "/1"),
            ("HUGGINGFACE_HUB_CACHE", "/2"),
            ("HF_HOME", "/3"),
            ("XDG_CACHE_HOME", "/4"),
            ("HOME", "/5"),
        ];
        let expected = ["/1", "/2", "/3/hub", "/4/huggingface/hub", "/5/.cache/huggingface/hub"];
        for (i, root) in expected.iter().enumerate() {
            assert_eq!(from(&all[i..]).root, Path::new(root));
        }
        assert_eq!(from(&[("HF_HOME", ""), ("HOME", "/5")]).root, Path::new(expected[4]), "empty is unset");
        assert_eq!(from(&[("HF_HOME", "~/x"), ("HOME", "/5")]).root, Path::new("/5/x/hub"));
        assert_eq!(from(&[]).endpoint, "https://huggingface.co");
        assert_eq!(from(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
        assert!(from(&[("HF_HUB_OFFLINE", "1")]).offline && from(&[("TRANSFORMERS_OFFLINE", "yes")]).offline);
        assert!(!from(&[("HF_HUB_OFFLINE", "0")]).offline && !from(&[]).offline);
    }

    #[test]
    fn the_token_comes_from_a_variable_or_a_file() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "from file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(from(&[("HF_HOME", home), ("HF_TOKEN", " given ")]).token.as_deref(), Some("given"));
        assert_eq!(from(&[("HF_HOME", home)]).token.as_deref(), Some("from file"));
        assert_eq!(from(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        assert!(!format!("{:?}", from(&[("HF_TOKEN", "secret")])).contains("secret"));
    }

    /// A cache with `org/model` in it, and these files of it.
    fn cached(files: &[(&str, &str)]) -> (tempfile::TempDir, Cache) {
        let root = tempfile::tempdir().unwrap();
        let cache = from(&[("HF_HUB_CACHE", root.path().to_str().unwrap())]);
        let folder = root.path().join("models--org--model");
        let snapshot = folder.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), COMMIT).unwrap();
        files.iter().for_each(|(name, text)| fs::write(snapshot.join(name), text).unwrap());
        (root, cache)
    }

    #[test]
    fn a_model_is_found_by_its_name_and_revision() {
        let (root, cache) = cached(&[(CONFIG, "{}"), (SINGLE, "")]);
        let snapshot = root.path().join("models--org--model/snapshots").join(COMMIT);
        for spec in ["org/model", "org/model@main", &format!("org/model@{COMMIT}")] {
            assert_eq!(cache.find(spec).unwrap(), snapshot);
        }
        for spec in ["org/other", "org/model@v2", &format!("org/model@{}", "0".repeat(40))] {
            let told = cache.find(spec).unwrap_err().to_string();
            assert!(told.contains(root.path().to_str().unwrap()), "{told}");
            assert!(told.ends_with(&format!("`superlens fetch {spec}` gets it")), "{told}");
        }
    }

    #[test]
    fn a_path_that_exists_wins() {
        let (root, cache) = cached(&[]);
        let path = root.path().to_str().unwrap();
        assert_eq!(cache.find(path).unwrap(), root.path());
        let told = cache.find(&format!("{path}/a/../b")).unwrap_err().to_string();
        assert!(told.contains("no such file or folder"), "{told}");
    }

    #[test]
    fn what_a_snapshot_lacks_is_told() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "lacks config.json"),
            (&[(CONFIG, "{}")], "lacks model.safetensors or model.safetensors.index.json"),
            (&[(CONFIG, "{}"), (INDEX, index), ("1.safetensors", "")], "lacks 2.safetensors"),
            (&[(CONFIG, "{}"), (INDEX, "no")], "is no JSON"),
            (&[(CONFIG, "{}"), (INDEX, r#"{"weight_map": {"a": "../x"}}"#)], "of the same folder"),
        ];
        for (files, says) in cases {
            let (_root, cache) = cached(files);
            let told = cache.find("org/model").unwrap_err().to_string();
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn a_ref_that_leads_elsewhere_is_not_followed() {
        let (root, cache) = cached(&[(CONFIG, "{}"), (SINGLE, "")]);
        fs::write(root.path().join("models--org--model/refs/main"), "../../..").unwrap();
        assert!(cache.find("org/model").is_err());
    }
}
