//! `[quotas]`: what the runs of a namespace may come to.

use std::collections::BTreeMap;

use reflux_engine::{Quota, Quotas as Engine};
use serde::Deserialize;

/// `[quotas]`. A quota of 0 lets nothing in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Open runs of a namespace; no bound when left out.
    pub open_runs: Option<u64>,
    /// Starts a second of a namespace; a second's worth may come at once. No bound when left out.
    pub starts_per_second: Option<u32>,
    /// Events of one history. Default: 51,200.
    pub history_events: u64,
    /// Bytes of one history. Default: 50 MiB.
    pub history_bytes: u64,
    /// Bytes of all runs that a namespace keeps; no bound when left out.
    pub stored_bytes: Option<u64>,
    /// Quotas of single namespaces: `team-a/open_runs=100`.
    pub namespaces: Vec<String>,
}

impl Default for Quotas {
    fn default() -> Self {
        let limits = reflux_core::Limits::default();
        Self {
            open_runs: None,
            starts_per_second: None,
            history_events: limits.history_events_max,
            history_bytes: limits.history_bytes_max,
            stored_bytes: None,
            namespaces: Vec::new(),
        }
    }
}

impl Quotas {
    /// As the engine takes them.
    ///
    /// # Errors
    /// A line of `namespaces` is none.
    pub fn engine(&self) -> Result<Engine, String> {
        let mut namespaces: BTreeMap<String, Quota> = BTreeMap::new();
        for line in &self.namespaces {
            let wrong = || {
                format!(
                    "quotas.namespaces: `{}` is no quota; write team-a/open_runs=100",
                    line.escape_debug()
                )
            };
            let (subject, figure) = line.split_once('=').ok_or_else(wrong)?;
            let (namespace, name) = subject.trim().rsplit_once('/').ok_or_else(wrong)?;
            let figure: u64 = figure.trim().parse().map_err(|_| wrong())?;
            let quota = namespaces.entry(namespace.to_owned()).or_default();
            match name {
                "open_runs" => quota.open_runs = Some(figure),
                "starts_per_second" => {
                    quota.starts_per_second = Some(u32::try_from(figure).map_err(|_| wrong())?);
                }
                "history_events" => quota.history_events = Some(figure),
                "history_bytes" => quota.history_bytes = Some(figure),
                "stored_bytes" => quota.stored_bytes = Some(figure),
                _ => return Err(wrong()),
            }
        }
        let default = Quota {
            open_runs: self.open_runs,
            starts_per_second: self.starts_per_second,
            history_events: Some(self.history_events),
            history_bytes: Some(self.history_bytes),
            stored_bytes: self.stored_bytes,
        };
        let zero = namespaces.values().chain([&default]).any(|quota| {
            quota.starts_per_second == Some(0) || quota.history_events.is_some_and(|max| max < 10)
        });
        if zero {
            return Err(
                "quotas.starts_per_second must be at least 1 and quotas.history_events at least 10"
                    .to_owned(),
            );
        }
        Ok(Engine { default, namespaces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Result<Engine, String> {
        let namespaces = lines.iter().map(|line| (*line).to_owned()).collect();
        Quotas { open_runs: Some(7), namespaces, ..Quotas::default() }.engine()
    }

    #[test]
    fn a_namespace_has_quotas_of_its_own_and_the_rest_of_the_default() {
        let quotas =
            of(&["a/open_runs=1", "a/stored_bytes=2", "b.c/starts_per_second = 3"]).unwrap();
        let a = quotas.of("a");
        assert_eq!(
            (a.open_runs, a.stored_bytes, a.history_events),
            (Some(1), Some(2), Some(51_200))
        );
        let b = quotas.of("b.c");
        assert_eq!((b.open_runs, b.starts_per_second), (Some(7), Some(3)));
        assert_eq!(quotas.of("other").open_runs, Some(7));
    }

    #[test]
    fn what_is_no_quota_is_refused_with_an_example() {
        for line in
            ["a", "a=1", "a/open_runs", "a/open_runs=many", "a/others=1", "a/starts_per_second=0"]
        {
            let error = of(&[line]).unwrap_err();
            assert!(
                error.contains("write team-a/open_runs=100") || error.contains("at least"),
                "{error}"
            );
        }
    }
}
