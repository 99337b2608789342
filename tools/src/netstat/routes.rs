//! `netstat -r`.

use std::net::IpAddr;

use libnet::IpCidr;
use libnet::route::{Route, RouteKind};
use rumpnet::Inet;
use serde_json::{Value, json};

use crate::fail::Failure;
use crate::inside::name_of;
use crate::output::Output;

pub(super) fn show(
    inet: &Inet,
    [v4, v6]: [bool; 2],
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let routes = inet.routes();
    let shown: Vec<&Route> = routes
        .iter()
        .filter(|route| if route.dst.addr().is_ipv4() { v4 } else { v6 })
        .filter(|route| !matches!(route.kind, RouteKind::Local | RouteKind::Broadcast))
        .collect();
    if as_json {
        let all = shown.iter().map(|route| {
            json!({
                "destination": route.dst.to_string(),
                "gateway": route.gateway.map(|gateway| gateway.to_string()),
                "flags": flags(route),
                "metric": route.metric,
                "mtu": route.mtu,
                "iface": name_of(inet, route.iface),
            })
        });
        return output.json_pretty(&Value::Array(all.collect()));
    }
    let (four, six): (Vec<&Route>, Vec<&Route>) =
        shown.into_iter().partition(|route| route.dst.addr().is_ipv4());
    if v4 {
        output.line("Kernel IP routing table")?;
        output.line(
            "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface",
        )?;
        for route in four {
            output.line(row4(inet, route))?;
        }
    }
    if v6 && !six.is_empty() {
        output.line("Kernel IPv6 routing table")?;
        output.line(
            "Destination                    Next Hop                   Flag Metric Ref Use If",
        )?;
        for route in six {
            let gateway = route.gateway.map_or_else(|| "[::]".to_owned(), |gw| gw.to_string());
            output.line(format!(
                "{:<30} {gateway:<26} {:<4} {:<6} 0   0   {}",
                route.dst.to_string(),
                flags(route),
                route.metric,
                name_of(inet, route.iface)
            ))?;
        }
    }
    Ok(())
}

fn row4(inet: &Inet, route: &Route) -> String {
    let gateway = route.gateway.map_or_else(|| "0.0.0.0".to_owned(), |gateway| gateway.to_string());
    let gateway = match route.kind {
        RouteKind::Reject | RouteKind::Blackhole => "-".to_owned(),
        _ => gateway,
    };
    format!(
        "{:<15} {gateway:<15} {:<15} {:<7} 0 0          0 {}",
        route.dst.addr().to_string(),
        mask(&route.dst),
        flags(route),
        name_of(inet, route.iface)
    )
}

/// A prefix's length as a mask.
fn mask(cidr: &IpCidr) -> String {
    let all_ones = IpAddr::from([255; 4]);
    let mask = IpCidr::new(all_ones, cidr.prefix_bits()).map(|cidr| cidr.network().addr());
    mask.map_or_else(String::new, |mask| mask.to_string())
}

/// U: up; G: through a gateway; H: to one host; !: refused.
fn flags(route: &Route) -> String {
    let longest = if route.dst.addr().is_ipv4() { 32 } else { 128 };
    let mut flags = match route.kind {
        RouteKind::Reject | RouteKind::Blackhole => "!".to_owned(),
        _ => "U".to_owned(),
    };
    if route.gateway.is_some() {
        flags.push('G');
    }
    if route.dst.prefix_bits() == longest {
        flags.push('H');
    }
    flags
}
