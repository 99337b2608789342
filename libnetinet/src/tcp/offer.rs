//! The window that a SYN offers, and its shift; what was offered stands.

use super::config::{ConnOptions, TcpConfig};
use super::options::MAX_WINDOW_SHIFT;
use super::tcb::Connection;

impl Connection {
    /// The window of our SYN: the one that it had before, if it comes again. RFC 9293 §3.8.6: also where
    /// the buffer was made smaller since.
    pub(super) fn first_window(&self) -> u16 {
        match self.rcv_wnd() {
            0 => first_window(self.receive_limit(), &self.cold.options),
            _ => self.unscaled_window(),
        }
    }

    /// What of our window a SYN can tell, which never scales it. Source: RFC 7323 §2.2.
    pub(super) fn unscaled_window(&self) -> u16 {
        self.rcv_wnd().min(u32::from(u16::MAX)) as u16
    }

    /// Our SYN has this window.
    pub(super) fn promise_window(&mut self, bytes: u16) {
        self.rcv_adv = self.rcv_nxt + u32::from(bytes);
        self.keep_promise();
    }

    /// The buffer holds what was promised, whatever else was set meanwhile. What an application sets
    /// counts for what comes later.
    pub(super) fn keep_promise(&mut self) {
        if self.cold.options.receive_buffer_bytes == 0 {
            let promised = self.buffered_to_read() + self.rcv_wnd();
            let limit = &mut self.cold.tuning.receive_limit;
            *limit = (*limit).max(promised);
        }
    }
}

/// The window of a SYN, which is never scaled, by what the buffer holds. Source: RFC 7323 §2.2.
pub(super) fn first_window(receive_limit: u32, options: &ConnOptions) -> u16 {
    let clamp = match options.window_clamp_bytes {
        0 => u32::MAX,
        clamp => clamp,
    };
    receive_limit.min(clamp).min(u32::from(u16::MAX)) as u16
}

/// The shift that lets the window reach the largest buffer, as on Linux: the one that was set, or
/// else the one that it may grow to. Source: RFC 7323 §2.3.
pub(super) fn window_shift(config: &TcpConfig, options: &ConnOptions) -> u8 {
    let largest = match options.receive_buffer_bytes {
        0 => config.receive_buffer_bytes.max(config.receive_buffer_max_bytes),
        fixed => fixed,
    };
    let largest = match options.window_clamp_bytes {
        0 => largest,
        clamp => largest.min(clamp),
    };
    let mut shift = 0;
    if !config.window_scaling {
        return shift;
    }
    while shift < MAX_WINDOW_SHIFT && largest >> shift > u32::from(u16::MAX) {
        shift += 1;
    }
    shift
}
