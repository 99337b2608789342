//! `netstat -i`.

use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::InterfaceEntry;
use serde_json::{Value, json};

use crate::fail::Failure;
use crate::output::Output;

pub(super) fn show(inet: &Inet, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    let all = inet.interfaces();
    if as_json {
        let all = all.iter().map(|entry| {
            json!({
                "name": entry.name, "mtu": entry.mtu, "flags": flags(entry),
                "rx_packets": entry.rx_frames, "rx_bytes": entry.rx_bytes,
                "rx_errors": entry.link_stats.rx_malformed, "rx_missed": entry.link_stats.rx_missed,
                "tx_packets": entry.tx_frames, "tx_bytes": entry.tx_bytes,
                "tx_errors": entry.link_stats.tx_refused, "tx_dropped": entry.tx_dropped,
                "tx_waits": entry.tx_waits,
            })
        });
        return output.json_pretty(&Value::Array(all.collect()));
    }
    output.line("Kernel Interface table")?;
    output.line(
        "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg",
    )?;
    for entry in all {
        output.line(format!(
            "{:<15} {:>5} {:>8} {:>6} {:>6} {:<6} {:>8} {:>6} {:>6} {:>6} {}",
            entry.name,
            entry.mtu,
            entry.rx_frames,
            entry.link_stats.rx_malformed,
            0,
            entry.link_stats.rx_missed,
            entry.tx_frames,
            entry.link_stats.tx_refused,
            entry.tx_dropped,
            0,
            flags(&entry)
        ))?;
    }
    Ok(())
}

/// net-tools' letters: B broadcast, L loopback, M multicast, P point to point, R running, U up.
fn flags(entry: &InterfaceEntry) -> String {
    let mut flags = match entry.link.medium {
        _ if entry.link.loopback => "L".to_owned(),
        libnet::link::Medium::Ethernet => "BM".to_owned(),
        _ => "MOP".to_owned(),
    };
    if entry.running {
        flags.push('R');
    }
    if entry.up {
        flags.push('U');
    }
    flags
}
