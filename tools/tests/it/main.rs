//! The command as a user runs it: processes, their output, their exit statuses.

mod attach;
mod demo;
mod dump;
mod forward;
mod http;
mod impair;
mod inside;
mod iperf3;
mod nc;
mod node;
mod perf;
mod ping;
mod process;
mod routers;
mod six;

mod sockin;
mod sysctl;
mod usage;
mod zones;
