//! The threads that tasks run on. Their number does not grow with that of connections.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

/// Threads at most; what is passed on is copied by the host's kernel, and more gain little.
const MAX_THREADS: usize = 4;
/// How long a task may hold up the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Threads for tasks, as many as there are processors, up to four.
///
/// # Errors
/// The host's, if it has no room for threads.
pub fn runtime() -> io::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("rump/tasks")
        .enable_time()
        .build()
}

/// Drops every task where it stands, and ends the threads.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(PATIENCE);
}

/// Lets this process have at least `files` open, if it may.
pub fn allow_files(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|&current| current < files) else { return };
    let wanted = limit.maximum.map_or(files, |maximum| maximum.min(files));
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() || wanted < files {
        let allowed = wanted.max(current);
        tracing::warn!(allowed, files, "fewer connections than asked for: see ulimit -n");
    }
}
