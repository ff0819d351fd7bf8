//! What `--activations` and `--targets` of `train` and `eval` may name: a file or a store, or several of them, or several hooks of a store, whose
//! rows lie side by side as the layers of a crosscoder do.

use std::ops::Range;
use std::path::{Path, PathBuf};

use superlens_lm::store::Rows;
use superlens_tensor::Mat;
use superlens_tensor::io::ReadOptions;

use super::activations::Activations;
use crate::failure::Failure;

/// Activations, read or opened.
pub enum SideBySide {
    Matrix { mat: Mat, sha256: String, layers: usize },
    Stores(Stores),
}

/// Hooks of equal width and length, of one store or of several.
pub struct Stores {
    dirs: Vec<PathBuf>,
    pub hooks: Vec<Rows>,
}

impl SideBySide {
    /// Its name, where it is the one hook of a store.
    pub fn hook(&self) -> Option<&str> {
        match self {
            SideBySide::Stores(stores) if stores.hooks.len() == 1 => Some(&stores.hooks[0].name),
            _ => None,
        }
    }

    /// `paths` and `hooks` may be lists, parted by commas: a hook for each path, or one of the two for all of the other.
    pub fn open(flag: &str, paths: &str, options: &ReadOptions, hooks: Option<&str>) -> Result<SideBySide, Failure> {
        let paths = list(paths);
        let hooks: Vec<Option<&str>> = hooks.map_or(vec![None], |hooks| hooks.split(',').map(Some).collect());
        if paths.len() > 1 && hooks.len() > 1 && paths.len() != hooks.len() {
            let (paths, hooks) = (paths.len(), hooks.len());
            return Err(Failure::Input(format!(
                "--hook: expected one, or one for each of {paths} paths, found {hooks}"
            )));
        }
        let layers = paths.len().max(hooks.len());
        let at = |i: usize| (paths[i.min(paths.len() - 1)], hooks[i.min(hooks.len() - 1)]);
        let mut opened = Vec::new();
        for (path, hook) in (0..layers).map(at) {
            opened.push((path, Activations::open(Path::new(path), options, hook)?));
        }
        let first = opened[0].1.shape();
        for (path, found) in opened.iter().map(|(path, one)| (path, one.shape())) {
            if found != first {
                let ((rows, width), (of, wide)) = (first, found);
                return Err(Failure::Input(format!(
                    "{flag} {path}: expected {rows} rows of {width}, as the first has, found {of} rows of {wide}"
                )));
            }
        }
        let (mut mats, mut hashes, mut dirs, mut stores) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (path, one) in opened {
            match one {
                Activations::Matrix(loaded) => {
                    hashes.push(loaded.sha256);
                    mats.push(loaded.mat);
                }
                Activations::Store(rows) => {
                    dirs.push(PathBuf::from(path));
                    stores.push(rows);
                }
            }
        }
        match (mats.len(), stores.len()) {
            (0, _) => Ok(SideBySide::Stores(Stores { dirs, hooks: stores })),
            (_, 0) => Ok(SideBySide::Matrix { mat: beside(mats), sha256: hashes.join(","), layers }),
            _ => Err(Failure::Input(format!("{flag}: expected files alone or stores alone side by side, found both"))),
        }
    }

    pub fn layers(&self) -> usize {
        match self {
            SideBySide::Matrix { layers, .. } => *layers,
            SideBySide::Stores(stores) => stores.hooks.len(),
        }
    }

    /// Rows, and columns of all layers together.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            SideBySide::Matrix { mat, .. } => mat.shape(),
            SideBySide::Stores(stores) => (stores.len(), stores.width()),
        }
    }

    /// Of the matrices, or of the stores' manifests.
    pub fn sha256(&self) -> String {
        match self {
            SideBySide::Matrix { sha256, .. } => sha256.clone(),
            SideBySide::Stores(stores) => {
                let mut hashes: Vec<&str> = stores.hooks.iter().map(|rows| rows.sha256.as_str()).collect();
                hashes.dedup();
                hashes.join(",")
            }
        }
    }
}

impl Stores {
    pub fn len(&self) -> usize {
        usize::try_from(self.hooks[0].len()).unwrap_or(usize::MAX)
    }

    pub fn width(&self) -> usize {
        self.hooks.iter().map(Rows::width).sum()
    }

    pub fn names(&self) -> String {
        self.hooks.iter().map(|rows| rows.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The same once more: who reads a store keeps it.
    pub fn reopen(&self) -> Result<Vec<Rows>, Failure> {
        self.dirs.iter().zip(&self.hooks).map(|(dir, rows)| Ok(Rows::open(dir, Some(&rows.name))?)).collect()
    }

    pub fn select(&self, rows: &[u64]) -> Mat {
        beside(self.hooks.iter().map(|hook| hook.select(rows)).collect())
    }

    pub fn range(&self, rows: Range<u64>) -> Mat {
        beside(self.hooks.iter().map(|hook| hook.range(rows.clone())).collect())
    }
}

/// The paths of a list, each from the root, so that a run can be gone on with from anywhere; what isn't there is told of when it is read.
pub fn whole(paths: &Path) -> String {
    let whole =
        |path: &str| std::fs::canonicalize(path).map_or_else(|_| path.into(), |path| path.display().to_string());
    list(&paths.to_string_lossy()).into_iter().map(whole).collect::<Vec<String>>().join(",")
}

/// A name with a comma in it is a list unless something is called so.
fn list(paths: &str) -> Vec<&str> {
    if Path::new(paths).exists() { vec![paths] } else { paths.split(',').collect() }
}

fn beside(mut mats: Vec<Mat>) -> Mat {
    if mats.len() == 1 {
        return mats.remove(0);
    }
    let mut all = Mat::zeros(mats[0].rows(), mats.iter().map(Mat::cols).sum());
    let mut left = 0;
    for mat in mats {
        for i in 0..mat.rows() {
            all.row_mut(i)[left..left + mat.cols()].copy_from_slice(mat.row(i));
        }
        left += mat.cols();
    }
    all
}
