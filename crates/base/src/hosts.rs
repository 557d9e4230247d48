//! Hosts that are this machine.

use std::net::IpAddr;

/// Whether an address never leaves this machine: 127.0.0.0/8, `::1`, and these inside of IPv6 (`::ffff:127.0.0.1`).
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether `host` (a name, or an address without brackets) is always this machine and no other. `localhost` and what ends with
/// `.localhost` are (RFC 6761, section 6.3), with the root's dot too. `0.0.0.0` and `::` are not: see [`may_be_this_machine`].
pub fn is_loopback_host(host: &str) -> bool {
    if let Ok(ip) = host.parse() {
        return is_loopback(ip);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.strip_suffix(".localhost").is_some_and(|rest| !rest.is_empty() && !rest.ends_with('.'))
}

/// Whether a connection to `host` may end at this machine: a loopback host, and `0.0.0.0` and `::`, to which nobody can be found
/// at, but which Linux and macOS connect to this machine. What must not reach it asks this; what trusts it asks
/// [`is_loopback_host`].
pub fn may_be_this_machine(host: &str) -> bool {
    let is_unspecified = |ip: IpAddr| ip.to_canonical().is_unspecified();
    is_loopback_host(host) || host.parse().is_ok_and(is_unspecified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_and_nothing_else() {
        for host in [
            "localhost",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "a.b.localhost.",
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
        ] {
            assert!(is_loopback_host(host) && may_be_this_machine(host), "{host}");
        }
        for host in [
            "",
            ".",
            ".localhost",
            "..localhost",
            "localhost..",
            "xlocalhost",
            "localhost.example",
            "127.0.0.1.example",
            "127.0.0.1.",
            "128.0.0.1",
            "10.0.0.1",
            "192.168.0.1",
            "::2",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "[::1]",
            "127.0.0.1:80",
        ] {
            assert!(!is_loopback_host(host) && !may_be_this_machine(host), "{host}");
        }
    }

    #[test]
    fn unspecified_addresses_may_lead_here_and_are_not_trusted() {
        for host in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"] {
            assert!(may_be_this_machine(host) && !is_loopback_host(host), "{host}");
        }
    }
}
