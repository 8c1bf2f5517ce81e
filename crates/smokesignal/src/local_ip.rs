//! Finds the address of this machine in a subnet.
//!
//! The subnet is parsed into a network and a mask, and the addresses of all interfaces inside it
//! are ranked: the one written in the text first, then by how far others can reach it.

use std::net::{IpAddr, UdpSocket};

use ipnet::IpNet;

use crate::error::LocalIpError;

/// Returns the address of this machine in `subnet`.
///
/// `subnet` is `192.168.2.1/255.255.255.0`, `10.0.0.0/8` or `fd00::/8` (host bits may be set), or
/// an address of this machine, which is then the result, as are `0.0.0.0` and `::`. If several
/// addresses are in the subnet, the one written wins, then those that others can reach, then
/// link-local ones, then loopback.
///
/// ```
/// let address = smokesignal::local_ip("127.0.0.1/255.0.0.0")?;
/// assert!(address.is_loopback());
/// # Ok::<(), smokesignal::LocalIpError>(())
/// ```
pub fn local_ip(subnet: &str) -> Result<IpAddr, LocalIpError> {
    let wanted = parse(subnet)?;
    if let Wanted::One(address) = wanted
        && (address.is_unspecified() || can_bind(address))
    {
        return Ok(address);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|error| LocalIpError::Interfaces(error.to_string()))?;
    let found: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
    choose(&wanted, &found)
        .ok_or_else(|| LocalIpError::NoneFound { subnet: subnet.to_owned(), found: list(&found) })
}

#[derive(Debug)]
enum Wanted {
    One(IpAddr),
    In(IpNet),
}

fn parse(text: &str) -> Result<Wanted, LocalIpError> {
    let text = text.trim();
    let bad = || LocalIpError::BadSubnet(text.chars().take(80).collect());
    let Some((address, mask)) = text.split_once('/') else {
        return text.parse().map(Wanted::One).map_err(|_| bad());
    };
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let net = match mask.parse::<IpAddr>() {
        Ok(mask) if mask.is_ipv4() == address.is_ipv4() => IpNet::with_netmask(address, mask),
        Ok(_other_family) => return Err(bad()),
        Err(_) => IpNet::new(address, mask.parse().map_err(|_| bad())?),
    };
    net.map(Wanted::In).map_err(|_| bad())
}

/// Returns whether an address can be bound. Some systems own more addresses than their interfaces
/// list: all of 127.0.0.0/8, for example.
fn can_bind(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn choose(wanted: &Wanted, found: &[IpAddr]) -> Option<IpAddr> {
    let net = match wanted {
        Wanted::One(address) => IpNet::from(*address),
        Wanted::In(net) => *net,
    };
    let rank = |address: &IpAddr| match address {
        _ if *address == net.addr() => 0,
        _ if address.is_loopback() => 3,
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 2,
        _ => 1,
    };
    found.iter().filter(|address| net.contains(*address)).min_by_key(|address| rank(address)).copied()
}

fn list(found: &[IpAddr]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: [&str; 7] =
        ["127.0.0.1", "169.254.7.7", "192.168.2.100", "10.1.2.3", "::1", "fe80::1", "fd00:1::9"];

    fn pick(subnet: &str) -> Option<String> {
        let found = MACHINE.map(|text| text.parse().unwrap());
        choose(&parse(subnet).unwrap(), &found).map(|address| address.to_string())
    }

    #[test]
    fn every_way_to_write_a_subnet_works() {
        for (subnet, expected) in [
            ("192.168.2.1/255.255.255.0", "192.168.2.100"),
            ("192.168.2.0/24", "192.168.2.100"),
            ("10.255.255.255/8", "10.1.2.3"),
            ("fd00::/8", "fd00:1::9"),
            ("fd12::1/ff00::", "fd00:1::9"),
            ("10.1.2.3", "10.1.2.3"),
            (" 127.0.0.1/8\n", "127.0.0.1"),
        ] {
            assert_eq!(pick(subnet).as_deref(), Some(expected), "{subnet}");
        }
    }

    #[test]
    fn of_several_addresses_the_most_useful_one_is_chosen() {
        assert_eq!(pick("0.0.0.0/0").as_deref(), Some("192.168.2.100"));
        assert_eq!(pick("10.1.2.3/0").as_deref(), Some("10.1.2.3"));
        assert_eq!(pick("::/0").as_deref(), Some("fd00:1::9"));
    }

    #[test]
    fn an_address_elsewhere_is_not_found() {
        for subnet in ["172.16.0.0/12", "10.1.2.4", "fd01::/16"] {
            assert_eq!(pick(subnet), None, "{subnet}");
        }
        let text = local_ip("192.0.2.77").unwrap_err().to_string();
        assert!(text.contains("192.0.2.77") && text.contains("127.0.0.1"), "{text}");
        assert_eq!(list(&[]), "none");
    }

    #[test]
    fn other_texts_are_refused_with_the_cure() {
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "10.0.0.0/255.0.255.0",
            "10.0.0.0/ff00::",
            "fd00::/129",
            "localhost",
            "1.2.3/8",
        ] {
            let error = local_ip(text).unwrap_err();
            assert_eq!(error, LocalIpError::BadSubnet(text.to_owned()));
        }
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        for text in ["127.0.0.1/8", "127.0.0.1/255.0.0.0", "127.0.0.1"] {
            assert_eq!(local_ip(text).unwrap().to_string(), "127.0.0.1");
        }
        assert_eq!(local_ip("0.0.0.0").unwrap().to_string(), "0.0.0.0");
        assert_eq!(local_ip("::").unwrap().to_string(), "::");
    }
}
