//! A route as a user writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::RouteKind;
use crate::iface::IpCidr;

/// A route as a user writes it: `DESTINATION[@VIA[@METRIC]]`.
///
/// ```text
/// 10.2.0.0/16@10.0.0.1          through a gateway, on whichever interface has its network
/// fd00:2::/48@fe80::1%shmif0    through a gateway on that interface
/// 10.3.0.0/16@tap0              to the neighbours of an interface
/// default@10.0.0.254@20         metric 20; the default route of the gateway's family
/// 10.9.0.0/16@blackhole         dropped; @unreachable: refused
/// 10.4.0.0/16                   to the neighbours of the interface that it is given for
/// ```
///
/// ```
/// use libnet::route::RouteSpec;
/// let spec: RouteSpec = "10.2.0.5/16@10.0.0.1@20".parse()?;
/// assert_eq!(spec.dst.to_string(), "10.2.0.0/16");
/// assert_eq!(spec.to_string(), "10.2.0.0/16@10.0.0.1@20");
/// # Ok::<(), libnet::route::ParseRouteError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RouteSpec {
    /// The destination, host bits cleared.
    pub dst: IpCidr,
    /// The neighbour that passes packets on.
    pub gateway: Option<IpAddr>,
    /// The name of the interface that they leave by, where the gateway alone does not tell.
    pub iface: Option<String>,
    /// Between routes to the same destination the lowest wins.
    pub metric: u32,
    /// What happens to packets: [`RouteKind::Unicast`], `Reject` or `Blackhole`.
    pub kind: RouteKind,
}

/// The text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no route: write NETWORK/BITS@GATEWAY, NETWORK/BITS@INTERFACE or default@GATEWAY, \
     as in 10.2.0.0/16@10.0.0.1; a metric may follow, as in @20"
)]
pub struct ParseRouteError {
    text: String,
}

impl RouteSpec {
    /// A route to the neighbours of the interface that it is given for, metric 0.
    pub fn new(dst: IpCidr) -> Self {
        let kind = RouteKind::Unicast;
        RouteSpec { dst: dst.network(), gateway: None, iface: None, metric: 0, kind }
    }

    /// Reads what stands behind the first `@`.
    fn set_via(&mut self, via: &str) -> Option<()> {
        match via {
            "" => return None,
            "blackhole" => self.kind = RouteKind::Blackhole,
            "unreachable" => self.kind = RouteKind::Reject,
            via => match via.split_once('%') {
                Some((gateway, name)) if !name.is_empty() => {
                    self.gateway = Some(gateway.parse().ok()?);
                    self.iface = Some(name.to_owned());
                }
                Some(_) => return None,
                None => match via.parse() {
                    Ok(gateway) => self.gateway = Some(gateway),
                    Err(_) => self.iface = Some(via.to_owned()),
                },
            },
        }
        Some(())
    }
}

impl FromStr for RouteSpec {
    type Err = ParseRouteError;

    fn from_str(text: &str) -> Result<Self, ParseRouteError> {
        parse(text).ok_or_else(|| ParseRouteError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<RouteSpec> {
    let mut parts = text.split('@');
    let dst = parts.next()?;
    let any = IpCidr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)?;
    let is_default = dst == "default";
    let mut spec = RouteSpec::new(if is_default { any } else { dst.parse().ok()? });
    if let Some(via) = parts.next() {
        spec.set_via(via)?;
    }
    if let Some(metric) = parts.next() {
        // `parse` alone would take a sign.
        let digits = metric.bytes().all(|byte| byte.is_ascii_digit());
        spec.metric = metric.parse().ok().filter(|_| digits)?;
    }
    if parts.next().is_some() {
        return None;
    }
    if is_default && spec.gateway.is_some_and(|gateway| gateway.is_ipv6()) {
        spec.dst = IpCidr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)?;
    }
    let same_family = |gateway: IpAddr| gateway.is_ipv4() == spec.dst.addr().is_ipv4();
    spec.gateway.is_none_or(same_family).then_some(spec)
}

impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        match (self.kind, self.gateway, &self.iface) {
            (RouteKind::Blackhole, ..) => write!(f, "@blackhole")?,
            (RouteKind::Reject, ..) => write!(f, "@unreachable")?,
            (_, Some(gateway), Some(iface)) => write!(f, "@{gateway}%{iface}")?,
            (_, Some(gateway), None) => write!(f, "@{gateway}")?,
            (_, None, Some(iface)) => write!(f, "@{iface}")?,
            (_, None, None) => {}
        }
        if self.metric > 0 { write!(f, "@{}", self.metric) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> RouteSpec {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_written() {
        for text in [
            "10.2.0.0/16@10.0.0.1",
            "10.2.0.0/16@10.0.0.1@20",
            "fd00:2::/48@fe80::1%shmif0",
            "10.3.0.0/16@tap0",
            "10.9.0.0/16@blackhole",
            "10.9.0.0/16@unreachable@7",
            "0.0.0.0/0@10.0.0.254",
            "::/0@fd00::1",
            "10.4.0.0/16",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
    }

    #[test]
    fn default_is_the_gateway_s_family_and_host_bits_go() {
        assert_eq!(spec("default@10.0.0.1"), spec("0.0.0.0/0@10.0.0.1"));
        assert_eq!(spec("default@fd00::1"), spec("::/0@fd00::1"));
        assert_eq!(spec("10.2.0.9/16@10.0.0.1"), spec("10.2.0.0/16@10.0.0.1"));
        assert_eq!(spec("10.2.0.9@10.0.0.1"), spec("10.2.0.9/32@10.0.0.1"));
    }

    #[test]
    fn bad_text_says_what_to_write() {
        for text in [
            "",
            "@10.0.0.1",
            "10.2.0.0/16@",
            "10.2.0.0/33@10.0.0.1",
            "10.2.0.0/16@10.0.0.1@",
            "10.2.0.0/16@10.0.0.1@-1",
            "10.2.0.0/16@10.0.0.1@1@2",
            "10.2.0.0/16@fe80::1",
            "10.2.0.0/16@10.0.0.1%",
            "gateway@10.0.0.1",
        ] {
            let error = text.parse::<RouteSpec>().unwrap_err().to_string();
            assert!(error.contains("10.2.0.0/16@10.0.0.1"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<RouteSpec>();
        }
    }
}
