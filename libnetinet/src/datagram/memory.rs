//! What the receive queues of a stack's UDP sockets take together (`net.ipv4.udp_mem`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::DatagramConfig;

/// The memory of a stack's UDP sockets. Each has been granted whole pages, and asks for more, or
/// gives some back, when it has to. Relaxed: the number orders nothing.
#[derive(Debug, Default)]
pub(crate) struct UdpMemory {
    granted_bytes: AtomicU64,
}

impl UdpMemory {
    /// Bytes granted to sockets; what they use of it is never more.
    pub(crate) fn granted_bytes(&self) -> u64 {
        self.granted_bytes.load(Relaxed)
    }

    /// Grants a socket whose queue takes `held` bytes so many more, if there are any. As on Linux:
    /// to all up to the first of the three numbers, up to the last to those that hold little.
    pub(super) fn grant(&self, config: &DatagramConfig, held: usize, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let total = self.granted_bytes.fetch_add(bytes, Relaxed) + bytes;
        let limits = &config.udp_memory;
        let is_little = held < config.udp_receive_min_bytes as usize;
        let fits = total <= limits.low_bytes || (is_little && total <= limits.high_bytes);
        if !fits {
            self.give_back(bytes as usize);
        }
        fits
    }

    /// A socket needs so many bytes no more.
    pub(super) fn give_back(&self, bytes: usize) {
        self.granted_bytes.fetch_sub(bytes as u64, Relaxed);
    }
}

/// Memory is granted in such units.
pub(super) const PAGE_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::MemoryLimits;

    #[test]
    fn who_holds_little_gets_some_between_the_first_and_the_last_number() {
        let config = DatagramConfig {
            udp_memory: MemoryLimits { low_bytes: 100, pressure_bytes: 150, high_bytes: 200 },
            udp_receive_min_bytes: 50,
            ..DatagramConfig::default()
        };
        let memory = UdpMemory::default();
        assert!(memory.grant(&config, 1_000, 100));
        assert!(!memory.grant(&config, 50, 1), "as much as the least is not little");
        assert!(memory.grant(&config, 49, 100));
        assert!(!memory.grant(&config, 0, 1), "the last number is a bound for all");
        assert_eq!(memory.granted_bytes(), 200);
        memory.give_back(101);
        assert!(memory.grant(&config, 1_000, 1));
    }
}
