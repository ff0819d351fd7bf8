//! How much memory a command takes.

/// Memory of this process that no file backs, in MiB; `None` where the system does not say.
pub fn anonymous_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// The most of it at any look.
pub struct Peak(Option<f64>);

impl Peak {
    pub fn new() -> Peak {
        Peak(anonymous_mb())
    }

    pub fn look(&mut self) {
        self.0 = self.0.zip(anonymous_mb()).map(|(a, b)| a.max(b));
    }

    /// In MiB; `None` where the system does not say.
    pub fn mb(mut self) -> Option<f64> {
        self.look();
        self.0
    }
}
