//! How connections stand, written down as lines that `rumpnet plot --overlay` draws.

use std::fmt::Write as _;
use std::time::Duration;

use crate::inet::Inet;

impl Inet {
    /// A line of JSON for each TCP connection that a socket holds; `at` is the moment, since the epoch
    /// that the capture beside it counts from (in a world: the world's time).
    ///
    /// ```text
    /// {"t":1.250000,"local":"10.0.0.1:5000","remote":"10.0.0.2:80","cwnd":14480,"ssthresh":9000,
    ///  "rtt_us":20135,"rttvar_us":400,"in_flight":2896,"retransmits":1}
    /// ```
    /// `t` is in seconds, windows and what is in flight in bytes; `ssthresh` is left out before a loss,
    /// the round trip before the first sample.
    pub fn trace_lines(&self, at: Duration) -> String {
        let mut lines = String::new();
        for socket in self.sockets() {
            let (Some(id), Some(remote)) = (socket.id, socket.remote) else { continue };
            let Some(info) = self.tcp_info(id) else { continue };
            let (seconds, cwnd) = (at.as_secs_f64(), info.cwnd_bytes);
            let local = socket.local;
            // Writing to a string does not fail.
            let _ = write!(
                lines,
                r#"{{"t":{seconds:.6},"local":"{local}","remote":"{remote}","cwnd":{cwnd}"#
            );
            if info.ssthresh_bytes < u32::MAX {
                let _ = write!(lines, r#","ssthresh":{}"#, info.ssthresh_bytes);
            }
            if let Some(srtt) = info.srtt {
                let (rtt, var) = (srtt.as_micros(), info.rttvar.as_micros());
                let _ = write!(lines, r#","rtt_us":{rtt},"rttvar_us":{var}"#);
            }
            let (flight, again) = (info.in_flight_bytes, info.retransmits);
            let _ = writeln!(lines, r#","in_flight":{flight},"retransmits":{again}}}"#);
        }
        lines
    }
}
