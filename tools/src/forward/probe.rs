//! Any text as what to forward, and as an address.

use std::net::SocketAddr;

use super::mapping::{Listens, parse};
use crate::zone::Zoned;

/// A mapping in either direction, and the address that the text might be.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for listens in [Listens::Stack, Listens::Host] {
        // The host's resolver is not asked: every name is known.
        let found = |_: &str, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        match parse(text, listens, found) {
            Ok(mapping) => {
                assert!(!mapping.targets.is_empty());
                assert!(mapping.targets.iter().all(|target| target.port() != 0));
                assert_eq!((mapping.text.as_str(), mapping.listens), (text, listens));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    match text.parse::<Zoned>() {
        Ok(addr) => assert_eq!(addr.to_string().parse(), Ok(addr), "what is shown can be typed"),
        Err(error) => assert!(!error.is_empty()),
    }
}

/// Mappings and addresses of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "80=127.0.0.1:8080",
        "udp:10.0.0.1:53=localhost:5353",
        "tcp:[::1]:0=[fd00::1]:80",
        "[fe80::1%shmif0]:1=[fe80::2%3]:2",
        "80=unix:/run/x",
        "fe80::1%shmif0",
        "[10.0.0.1]",
    ];
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}
