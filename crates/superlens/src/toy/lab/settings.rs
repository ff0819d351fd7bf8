//! What `--set key=value` may say of a toy, and the one line that comes back where it says something else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

/// One thing that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    /// As it would be typed.
    pub default: &'static str,
    /// What it is, with its unit and its range.
    pub says: &'static str,
}

/// A setting that can't be: what was asked for, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

impl SettingError {
    pub fn new(message: impl Into<String>) -> Self {
        SettingError(message.into())
    }
}

/// The settings of one toy: what was given, defaults for the rest.
#[derive(Clone, Debug)]
pub struct Settings {
    toy: &'static str,
    values: BTreeMap<&'static str, String>,
    /// Keys that are not left at their default.
    given: BTreeSet<&'static str>,
    /// Shared by clones.
    asked: Arc<Mutex<Asked>>,
}

/// What a run has asked for so far.
#[derive(Debug, Default)]
struct Asked {
    read: BTreeSet<&'static str>,
    /// Of these, the ones that are a choice among words.
    chosen: BTreeSet<&'static str>,
}

impl Settings {
    /// Reads `key=value` pairs against what is known.
    ///
    /// # Errors
    /// A pair without `=`, a key that isn't known, a key that is given twice.
    pub fn parse(toy: &'static str, known: &'static [Setting], pairs: &[String]) -> Result<Self, SettingError> {
        let mut values: BTreeMap<&'static str, String> = BTreeMap::new();
        for pair in pairs {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(SettingError(format!("--set {pair:?}: expected KEY=VALUE, found no '='")));
            };
            let (key, value) = (key.trim(), value.trim());
            let Some(setting) = known.iter().find(|s| s.key == key) else {
                let keys: Vec<&str> = known.iter().map(|s| s.key).collect();
                return Err(SettingError(format!(
                    "--set {pair}: {toy} has no setting {key:?}; it has {}",
                    keys.join(", ")
                )));
            };
            if values.insert(setting.key, value.to_string()).is_some() {
                return Err(SettingError(format!("--set {pair}: {key} is set twice")));
            }
        }
        let given = values.keys().copied().collect();
        for setting in known {
            values.entry(setting.key).or_insert_with(|| setting.default.to_string());
        }
        Ok(Settings { toy, values, given, asked: Arc::default() })
    }

    /// All of them, as they would be typed.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The text of a setting. Panics if there is no such setting: keys are the toy's own.
    pub fn text(&self, key: &str) -> &str {
        let found = self.values.get_key_value(key);
        let (key, value) = found.unwrap_or_else(|| panic!("{} has no setting {key}", self.toy));
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).read.insert(*key);
        value
    }

    /// The same with another value for `key`.
    pub fn with(&self, key: &'static str, value: String) -> Settings {
        let mut other = self.clone();
        other.values.insert(key, value);
        other
    }

    /// An error if a setting was given that nothing has asked for: this run has no use for it.
    ///
    /// # Errors
    /// The first of them, with the choices that were made.
    pub fn unused(&self) -> Result<(), SettingError> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = self.given.iter().find(|key| !asked.read.contains(*key)) else { return Ok(()) };
        let chosen: Vec<String> = asked.chosen.iter().map(|k| format!("{k}={}", self.values[k])).collect();
        let with = if chosen.is_empty() { String::new() } else { format!(" with {}", chosen.join(", ")) };
        Err(SettingError(format!("--set {key}={}: {key} is not used{with}", self.values[key])))
    }

    /// What sets instance `i` of `instances` apart: what was given, and the density and learning rate of each, as it has them.
    pub fn of_instance(&self, i: usize, instances: usize) -> String {
        let told = |key: &&str| self.given.contains(*key) || ["density", "lr", "optimiser"].contains(key);
        let value = |key: &&'static str| match self.over_instances(key, instances, f64::NEG_INFINITY..=f64::INFINITY) {
            Ok(each) => each[i].to_string(),
            Err(_) => self.values[key].clone(),
        };
        self.values.keys().filter(|k| told(k)).map(|k| format!("{k}={}", value(k))).collect::<Vec<_>>().join(", ")
    }

    /// An error about `key`.
    pub fn wrong(&self, key: &str, expected: &str) -> SettingError {
        SettingError(format!("--set {key}={}: expected {expected}", self.text(key)))
    }

    /// A whole number in `range`. `1e6` and `1_000` are read as one would hope.
    pub fn whole(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, SettingError> {
        let text = self.text(key).replace('_', "");
        let value = text.parse::<usize>().ok().or_else(|| {
            let value = text.parse::<f64>().ok()?;
            (value.fract() == 0.0 && (0.0..1e15).contains(&value)).then_some(value as usize)
        });
        value
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.wrong(key, &format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A number in `range`.
    pub fn real(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64, SettingError> {
        let value = self.text(key).parse::<f64>().ok();
        value
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.wrong(key, &format!("a number from {} to {}", range.start(), range.end())))
    }

    /// Numbers separated by commas (brackets are allowed), each in `range`.
    pub fn reals(&self, key: &str, range: RangeInclusive<f64>) -> Result<Vec<f64>, SettingError> {
        self.reals_of(key, self.text(key), range)
    }

    fn reals_of(&self, key: &str, text: &str, range: RangeInclusive<f64>) -> Result<Vec<f64>, SettingError> {
        let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
        inner
            .split(',')
            .map(|part| part.trim().parse::<f64>().ok().filter(|v| range.contains(v)))
            .collect::<Option<Vec<f64>>>()
            .ok_or_else(|| {
                self.wrong(key, &format!("a number, or several with commas, from {} to {}", range.start(), range.end()))
            })
    }

    /// One of the words in `choices`.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, SettingError> {
        if let Some((key, _)) = self.values.get_key_value(key) {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).chosen.insert(*key);
        }
        self.word(key, choices)
    }

    fn word<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, SettingError> {
        let found = choices.iter().find(|(word, _)| *word == self.text(key)).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.wrong(key, &words.join(" or "))
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<bool, SettingError> {
        self.word(key, &[("true", true), ("false", false)])
    }

    /// One number an instance: a number for all, a list whose length divides `instances`, or `HI..LO`, log-spaced.
    pub fn over_instances(
        &self,
        key: &str,
        instances: usize,
        range: RangeInclusive<f64>,
    ) -> Result<Vec<f64>, SettingError> {
        let text = self.text(key);
        if let Some((high, low)) = text.split_once("..") {
            let ends = format!("{high},{low}");
            let ends = self.reals_of(key, &ends, range.clone())?;
            let [high, low] = ends[..] else { return Err(self.wrong(key, "HI..LO with one number on each side")) };
            if high <= 0.0 || low <= 0.0 {
                return Err(self.wrong(key, "HI..LO with numbers above 0, since the steps between are equal factors"));
            }
            let share = |i: usize| i as f64 / (instances - 1).max(1) as f64;
            return Ok((0..instances).map(|i| high * (low / high).powf(share(i))).collect());
        }
        let list = self.reals(key, range)?;
        if !instances.is_multiple_of(list.len()) {
            return Err(self.wrong(key, &format!("a list whose length divides the {instances} instances")));
        }
        Ok((0..instances).map(|i| list[i % list.len()]).collect())
    }

    /// One number a feature: the base of a geometric series, or a list.
    pub fn series(&self, key: &str, n: usize, range: RangeInclusive<f64>) -> Result<Vec<f64>, SettingError> {
        let list = self.reals(key, range)?;
        match list.len() {
            1 => Ok((0..n).map(|i| list[0].powi(i as i32)).collect()),
            length if length == n => Ok(list),
            _ => Err(self.wrong(key, &format!("the base of a geometric series, or a list over the {n} features"))),
        }
    }

    /// How density is shaped over features, as factors: `uniform`, `zipf:S`, `exp:R`, `power:A` or a list.
    pub fn shape(&self, key: &str, n: usize) -> Result<Vec<f64>, SettingError> {
        let text = self.text(key);
        if text == "uniform" {
            return Ok(vec![1.0; n]);
        }
        let law = |of: &dyn Fn(f64, usize) -> f64, value: &str| -> Option<Vec<f64>> {
            let value = value.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0)?;
            Some((0..n).map(|i| of(value, i)).collect())
        };
        let shaped = match text.split_once(':') {
            Some(("zipf" | "power", s)) => law(&|s, i| ((i + 1) as f64).powf(-s), s),
            Some(("exp", r)) => law(&|r, i| r.powi(i as i32), r),
            Some(_) => None,
            None => self.reals(key, 0.0..=1e6).ok().filter(|list| list.len() == n),
        };
        shaped.ok_or_else(|| {
            self.wrong(key, &format!("uniform, zipf:S, power:A, exp:R or a list of {n} factors, none of them negative"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Setting] = &[
        Setting { key: "n", default: "5", says: "" },
        Setting { key: "density", default: "1..0.01", says: "" },
        Setting { key: "shape", default: "uniform", says: "" },
        Setting { key: "bias", default: "true", says: "" },
    ];

    fn settings(pairs: &[&str]) -> Result<Settings, SettingError> {
        Settings::parse("toy", KNOWN, &pairs.iter().map(|p| p.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn every_way_to_say_a_density() {
        let all = 1e-6..=1.0;
        let of =
            |text: &str, n| settings(&[&format!("density={text}")]).unwrap().over_instances("density", n, all.clone());
        assert_eq!(of("0.5", 3).unwrap(), [0.5; 3]);
        assert_eq!(of("0.5, 0.1", 4).unwrap(), [0.5, 0.1, 0.5, 0.1]);
        assert_eq!(of("[1,0.1]", 2).unwrap(), [1.0, 0.1]);
        let spaced = of("1..0.01", 3).unwrap();
        assert!((spaced[1] - 0.1).abs() < 1e-12 && (spaced[2] - 0.01).abs() < 1e-12);
        assert_eq!(of("1..0.01", 1).unwrap(), [1.0]);
        for (text, n) in
            [("0", 2), ("1.5", 1), ("NaN", 1), ("", 1), ("0.1,0.2", 3), ("1..0", 2), ("1..0.1..0.01", 2), ("-1", 1)]
        {
            assert!(of(text, n).is_err(), "density={text} of {n} instances passed");
        }
    }

    #[test]
    fn shapes_over_features() {
        let of = |text: &str| settings(&[&format!("shape={text}")]).unwrap().shape("shape", 3);
        assert_eq!(of("uniform").unwrap(), [1.0; 3]);
        assert_eq!(of("zipf:1").unwrap(), [1.0, 0.5, 1.0 / 3.0]);
        assert_eq!(of("exp:0.5").unwrap(), [1.0, 0.5, 0.25]);
        assert_eq!(of("1,0.2,0.3").unwrap(), [1.0, 0.2, 0.3]);
        assert!(["zipf", "zipf:x", "exp:-1", "1,2", "gauss:1"].iter().all(|text| of(text).is_err()));
    }

    #[test]
    fn what_nothing_asked_for_is_not_passed_over() {
        let s = settings(&["n=banana", "bias=true", "shape=uniform"]).unwrap();
        s.flag("bias").unwrap();
        s.choice("shape", &[("uniform", 1)]).unwrap();
        assert_eq!(s.unused().unwrap_err().to_string(), "--set n=banana: n is not used with shape=uniform");
        // Asking through another value of the same settings counts.
        assert_eq!(s.with("n", "3".into()).whole("n", 1..=5), Ok(3));
        assert_eq!(s.unused(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let error = |pairs: &[&str]| settings(pairs).unwrap_err().to_string();
        assert_eq!(error(&["m=3"]), "--set m=3: toy has no setting \"m\"; it has n, density, shape, bias");
        assert_eq!(error(&["n"]), "--set \"n\": expected KEY=VALUE, found no '='");
        assert_eq!(error(&["n=1", "n=2"]), "--set n=2: n is set twice");
        let s = settings(&["n=1e3"]).unwrap();
        assert_eq!(s.whole("n", 1..=5000), Ok(1000));
        assert_eq!(s.whole("n", 1..=5).unwrap_err().to_string(), "--set n=1e3: expected a whole number from 1 to 5");
        assert!(s.flag("bias").unwrap() && settings(&["bias=yes"]).unwrap().flag("bias").is_err());
    }
}
