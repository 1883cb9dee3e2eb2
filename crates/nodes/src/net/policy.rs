//! What may be connected to: every public address, and what the configuration allows beyond.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::not_public;

/// `[net]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetPolicy {
    /// What may be connected to although it is not public.
    pub allow: Vec<AllowRule>,
}

/// A destination that is allowed although it is not public: `localhost`, `localhost:8080`,
/// `10.1.2.3`, `10.1.2.3:80`, `127.0.0.0/8`, `[::1]:8080` or `fd00::/8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowRule {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Host(String),
    Range { ip: IpAddr, prefix: u8 },
}

/// A destination that the policy refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    host: String,
    port: u16,
    ip: IpAddr,
    why: &'static str,
}

impl NetPolicy {
    /// Whether a host may be connected to at all of its addresses.
    /// One refused address refuses the host: which one is used is not ours to choose.
    pub(crate) fn check(&self, host: &str, port: u16, addresses: &[IpAddr]) -> Result<(), Refused> {
        for &ip in addresses {
            let allowed = || self.allow.iter().any(|rule| rule.covers(host, port, ip));
            if let Some(why) = not_public(ip)
                && !allowed()
            {
                let host = host.to_owned();
                return Err(Refused { host, port, ip, why });
            }
        }
        Ok(())
    }
}

impl AllowRule {
    fn covers(&self, host: &str, port: u16, ip: IpAddr) -> bool {
        let target = match &self.target {
            Target::Host(name) => name.eq_ignore_ascii_case(host.trim_end_matches('.')),
            Target::Range { ip: base, prefix } => within(ip.to_canonical(), *base, *prefix),
        };
        target && self.port.is_none_or(|allowed| allowed == port)
    }
}

impl FromStr for AllowRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a rule; write a host, host:port, an address or a range such as 127.0.0.0/8"
            )
        };
        let range = |ip: IpAddr, prefix| Target::Range { ip, prefix };
        let (target, port) = if let Some((ip, prefix)) = text.split_once('/') {
            let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
            let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
            if prefix > width(ip) {
                return Err(wrong());
            }
            (range(ip, prefix), None)
        } else if let Ok(ip) = text.parse::<IpAddr>() {
            (range(ip, width(ip)), None)
        } else {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
                None => (text, None),
            };
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            match bare.parse::<IpAddr>() {
                Ok(ip) => (range(ip, width(ip)), port),
                Err(_) if is_host_name(host) => (Target::Host(host.to_owned()), port),
                Err(_) => return Err(wrong()),
            }
        };
        Ok(Self { target, port })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Host(name) => f.write_str(name)?,
            Target::Range { ip, prefix } if *prefix < width(*ip) => write!(f, "{ip}/{prefix}")?,
            Target::Range { ip: IpAddr::V6(ip), .. } if self.port.is_some() => write!(f, "[{ip}]")?,
            Target::Range { ip, .. } => write!(f, "{ip}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for AllowRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AllowRule> for String {
    fn from(rule: AllowRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, ip, why } = self;
        let is = match host.parse() == Ok(*ip) {
            true => format!("{host} is {why}"),
            false => format!("{host} is {ip}, {why}"),
        };
        write!(
            f,
            "{is}; to allow it, add allow = [\"{host}:{port}\"] under [net] in .reflux/config.toml"
        )
    }
}

fn is_host_name(host: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !host.is_empty() && host.chars().all(legal)
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn within(ip: IpAddr, base: IpAddr, prefix: u8) -> bool {
    let (ip, base, width) = match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            (u128::from(u32::from(ip)), u128::from(u32::from(base)), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => (u128::from(ip), u128::from(base), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let ignored = u32::from(width - prefix.min(width));
    (ip ^ base).checked_shr(ignored).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::{AllowRule, NetPolicy};

    fn allowed(rules: &[&str], host: &str, port: u16, ips: &[&str]) -> bool {
        let allow = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let ips: Vec<_> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        NetPolicy { allow }.check(host, port, &ips).is_ok()
    }

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_else() {
        let rows: &[(&str, &str, u16, &str, bool)] = &[
            ("localhost", "localhost", 80, "127.0.0.1", true),
            ("LOCALHOST", "localhost.", 80, "::1", true),
            ("localhost:8080", "localhost", 8080, "127.0.0.1", true),
            ("localhost:8080", "localhost", 8081, "127.0.0.1", false),
            ("localhost", "localhost.evil.example", 80, "127.0.0.1", false),
            ("127.0.0.0/8", "127.9.9.9", 80, "127.9.9.9", true),
            ("127.0.0.0/8", "any.example", 80, "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "any.example", 80, "10.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", 1, "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", 1, "10.1.2.4", false),
            ("10.1.2.3:5", "10.1.2.3", 6, "10.1.2.3", false),
            ("[::1]:8080", "[::1]", 8080, "::1", true),
            ("[::1]:8080", "[::1]", 8081, "::1", false),
            ("fd00::/8", "x", 1, "fd12::1", true),
            ("fd00::/8", "x", 1, "fe80::1", false),
            ("0.0.0.0/0", "x", 1, "192.168.0.1", true),
            ("0.0.0.0/0", "x", 1, "fe80::1", false),
        ];
        for (rule, host, port, ip, expect) in rows {
            assert_eq!(
                allowed(&[rule], host, *port, &[ip]),
                *expect,
                "{rule} for {host}:{port} at {ip}"
            );
        }
    }

    #[test]
    fn one_refused_address_refuses_the_host() {
        assert!(allowed(&[], "x", 1, &["8.8.8.8", "1.1.1.1"]));
        assert!(!allowed(&[], "x", 1, &["8.8.8.8", "10.0.0.1"]));
    }

    #[test]
    fn a_rule_is_written_back_as_it_was_read_and_nonsense_is_refused() {
        for text in [
            "localhost",
            "localhost:8080",
            "10.1.2.3",
            "10.1.2.3:5",
            "127.0.0.0/8",
            "fd00::/8",
            "::1",
            "[::1]:80",
        ] {
            assert_eq!(text.parse::<AllowRule>().unwrap().to_string(), text);
        }
        for text in ["", "a b", "10.0.0.0/33", "x/8", "host:99999", "http://x", "*"] {
            assert!(text.parse::<AllowRule>().is_err(), "{text:?}");
        }
    }
}
