//! What a world says and writes when a test fails: the command that runs it again, and captures.

use std::path::{Path, PathBuf};

use super::core::Shared;

/// The environment variable whose seed, `7` or `0x2a`, takes the place of every world's own.
pub const SEED_VARIABLE: &str = "RUMPNET_SEED";

/// The environment variable that names the folder for the captures of failed tests; unset or empty,
/// `world-failures` in cargo's target folder, or else in `rumpnet` of the user's caches.
pub const FAILURES_VARIABLE: &str = "RUMPNET_FAILURES";

/// The seed in the environment, if there is one.
pub(super) fn seed_asked_for() -> Option<u64> {
    let text = std::env::var(SEED_VARIABLE).ok()?;
    let seed = parse_seed(&text);
    if seed.is_none() {
        eprintln!("world: {SEED_VARIABLE}={text} is no seed: write {SEED_VARIABLE}=7 or =0x2a");
    }
    seed
}

/// The seeds that a test goes through: `own`, or the one in the environment alone.
pub fn seeds(own: impl IntoIterator<Item = u64>) -> Vec<u64> {
    seed_asked_for().map_or_else(|| own.into_iter().collect(), |seed| vec![seed])
}

fn parse_seed(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Says on stderr how to run the test again, and writes what the segments remember.
pub(super) fn explain(shared: &Shared) {
    let run = Run::of_this_process();
    eprintln!("world: run it again: {}", run.command(shared.seed));
    write_captures(shared, &run);
}

#[cfg(not(feature = "pcap"))]
fn write_captures(shared: &Shared, run: &Run) {
    let trace = shared.lock().trace.value();
    if let Some(folder) = run.folder(shared.seed, trace) {
        let folder = folder.display();
        eprintln!("world: with libnet's feature `pcap` its frames were now in {folder}");
    }
}

#[cfg(feature = "pcap")]
fn write_captures(shared: &Shared, run: &Run) {
    let (segments, trace) = {
        let state = shared.lock();
        let names = state.segments.iter().map(|segment| segment.config.name.clone());
        let frames = (0..state.segments.len()).map(|number| state.remembered(number));
        let forgotten = state.segments.iter().map(|segment| segment.record.forgotten);
        let all: Vec<_> = names.zip(frames).zip(forgotten).collect();
        (all, state.trace.value())
    };
    let Some(folder) = run.folder(shared.seed, trace) else {
        eprintln!("world: there is no folder for its frames: {FAILURES_VARIABLE}=FOLDER names one");
        return;
    };
    if segments.iter().any(|((_, frames), _)| !frames.is_empty()) {
        capture::make_room(&folder);
    }
    for (number, ((name, frames), forgotten)) in segments.into_iter().enumerate() {
        if frames.is_empty() {
            continue;
        }
        let path = folder.join(format!("{number}-{}.pcapng", plain(&name)));
        match capture::write(&path, &frames) {
            Ok(()) => {
                let (frames, path) = (frames.len(), path.display());
                eprintln!("world: {name}: {path} ({frames} sightings, {forgotten} before them)");
            }
            Err(error) => {
                let path = path.display();
                eprintln!(
                    "world: cannot write {path}: {error}; {FAILURES_VARIABLE}=FOLDER moves it"
                );
            }
        }
    }
}

/// How this process was started, as far as it can tell.
#[derive(Debug, Default)]
struct Run {
    /// Cargo's package.
    package: Option<String>,
    /// The folder of its `Cargo.toml`.
    manifest: Option<PathBuf>,
    /// The program that runs.
    program: PathBuf,
    /// The test that runs in this thread.
    test: Option<String>,
    /// What the environment says of the folder for captures.
    failures: Option<PathBuf>,
    /// The user's caches.
    caches: Option<PathBuf>,
}

impl Run {
    fn of_this_process() -> Self {
        let args = std::env::args_os().skip(1);
        let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
        let thread = std::thread::current();
        // libtest names a test's thread after it, and runs a single one on the main thread.
        let test = match thread.name() {
            Some("main") | None => named_exactly(&args),
            Some(name) => Some(name.to_owned()),
        };
        Run {
            package: std::env::var("CARGO_PKG_NAME").ok(),
            manifest: path_in("CARGO_MANIFEST_DIR"),
            program: std::env::current_exe().unwrap_or_default(),
            test,
            failures: path_in(FAILURES_VARIABLE),
            caches: path_in("XDG_CACHE_HOME")
                .or_else(|| path_in("HOME").map(|home| home.join(".cache"))),
        }
    }

    /// What a user types to run the test again with this seed.
    fn command(&self, seed: u64) -> String {
        let run = match (&self.package, self.target()) {
            (Some(package), Some((verb, target))) => {
                format!("cargo {verb} -p {package} {target} --")
            }
            _ => self.program.display().to_string(),
        };
        let exactly = self.test.as_ref().map(|test| format!(" --exact {test}"));
        format!("{SEED_VARIABLE}={seed:#x} {run}{}", exactly.unwrap_or_default())
    }

    /// What cargo does with it, and which of the package's programs this is, as cargo's argument.
    /// Without one of these it was not cargo that ran it, or a build of its own.
    fn target(&self) -> Option<(&'static str, String)> {
        let name = self.program_name()?;
        let manifest = self.manifest.as_ref()?;
        let is_in = |folder: &str| {
            let folder = manifest.join(folder);
            folder.join(format!("{name}.rs")).exists()
                || folder.join(&name).join("main.rs").exists()
        };
        let folders = self.program.ancestors().skip(1);
        let mut folders = folders.filter_map(|folder| folder.file_name()?.to_str());
        match folders.next()? {
            "examples" => Some(("run", format!("--example {name}"))),
            "deps" if is_in("tests") => Some(("test", format!("--test {name}"))),
            "deps" if is_in("benches") => Some(("bench", format!("--bench {name}"))),
            "deps" if is_in("src/bin") => Some(("test", format!("--bin {name}"))),
            "deps" if manifest.join("src/lib.rs").exists() => Some(("test", "--lib".to_owned())),
            "deps" => Some(("test", format!("--bin {name}"))),
            own if own.starts_with("rustdoctest") => Some(("test", "--doc".to_owned())),
            _ => folders.next()?.starts_with("rustdoctest").then(|| ("test", "--doc".to_owned())),
        }
    }

    /// The program's name without the hash that cargo gives it.
    fn program_name(&self) -> Option<String> {
        let stem = self.program.file_stem()?.to_str()?;
        let is_hash = |hash: &str| hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit());
        let plain = stem.rsplit_once('-').filter(|(_, hash)| is_hash(hash));
        Some(plain.map_or(stem, |(name, _)| name).to_owned())
    }

    /// Where this run's captures go: the same run writes to the same place. Never where others may
    /// write too, who could have put links there.
    fn folder(&self, seed: u64, trace: u64) -> Option<PathBuf> {
        let in_target = || {
            let is_target =
                |folder: &&Path| folder.join("CACHEDIR.TAG").exists() && is_ours(folder);
            let target = self.program.ancestors().skip(1).find(is_target);
            target.map(|target| target.join("world-failures"))
        };
        let in_caches = || Some(self.caches.as_ref()?.join("rumpnet/world-failures"));
        let root = self.failures.clone().or_else(in_target).or_else(in_caches)?;
        let test = self.test.clone().or_else(|| self.program_name()).unwrap_or_default();
        Some(root.join(format!("{}-{seed:#x}-{trace:016x}", plain(&test))))
    }
}

/// Nobody else may write in a folder, as anyone may in `/tmp`.
fn is_ours(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    folder.metadata().is_ok_and(|folder| folder.permissions().mode() & 0o002 == 0)
}

/// A path in the environment; an empty one is none.
fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Of the name of a run's folder what it has in common with those of other runs of that test.
#[cfg(feature = "pcap")]
fn test_of(folder: &str) -> Option<&str> {
    let (rest, trace) = folder.rsplit_once('-')?;
    let (test, seed) = rest.rsplit_once("-0x")?;
    let is_number = |digits: &str| u64::from_str_radix(digits, 16).is_ok();
    (trace.len() == 16 && is_number(trace) && is_number(seed)).then_some(test)
}

/// The test that libtest was asked for with `--exact`.
fn named_exactly(args: &[String]) -> Option<String> {
    let is_exact = args.iter().any(|arg| arg == "--exact");
    args.iter().find(|arg| is_exact && !arg.starts_with('-')).cloned()
}

/// A name that is one of a file on any machine.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.replace("::", ".").chars().map(plain).collect()
}

#[cfg(feature = "pcap")]
mod capture {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io::{self, BufWriter};
    use std::path::{Path, PathBuf};
    use std::time::SystemTime;

    use crate::capture::pcapng::{CaptureInterface, CapturedFrame, PcapngWriter};
    use crate::capture::{ClockAnchor, Direction};
    use crate::link::Medium;
    use crate::world::{Seen, SeenFrame};

    /// Runs of a test whose captures stay: a test that shrinks what fails fails often.
    const RUNS_KEPT: usize = 8;

    /// Takes away what the oldest runs of a test wrote, if a new run's folder would be too many.
    pub(super) fn make_room(folder: &Path) {
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(root), Some(own)) = (folder.parent(), name(folder)) else { return };
        let Ok(entries) = fs::read_dir(root) else { return };
        let mut others: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| {
                let other = entry.file_name();
                let other = other.to_str().filter(|other| *other != own);
                other.is_some_and(|other| super::test_of(other) == super::test_of(&own))
            })
            .filter_map(|entry| {
                // Of the entry itself: a link is no folder.
                let about = entry.metadata().ok().filter(|about| about.is_dir())?;
                Some((about.modified().ok()?, entry.path()))
            })
            .collect();
        others.sort_unstable();
        let too_many = (others.len() + 1).saturating_sub(RUNS_KEPT);
        for (_, old) in &others[..too_many] {
            let _ = remove(old);
        }
    }

    /// Captures and their folder, if nothing else is in it: a note beside them keeps them.
    fn remove(folder: &Path) -> io::Result<()> {
        let entries: io::Result<Vec<_>> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
        let captures = entries?;
        if captures.iter().any(|path| path.extension().is_none_or(|kind| kind != "pcapng")) {
            return Ok(());
        }
        captures.iter().try_for_each(fs::remove_file)?;
        fs::remove_dir(folder)
    }

    /// A file of that name that is new, whatever was there: a link is not followed.
    fn create_anew(path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::create_new(path),
        }
    }

    /// Writes frames, each station's view as an interface of its own, what was lost as another.
    pub(super) fn write(path: &Path, frames: &[SeenFrame]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut writer = PcapngWriter::new(BufWriter::new(create_anew(path)?), "rumpnet world")?;
        let mut interfaces = BTreeMap::new();
        for frame in frames {
            let key = (name_of(frame), frame.medium == Medium::Ethernet);
            let interface = match interfaces.get(&key) {
                Some(&number) => number,
                None => {
                    let interface = CaptureInterface::new(key.0.clone(), frame.medium);
                    let number = writer.add_interface(&interface)?;
                    interfaces.insert(key, number);
                    number
                }
            };
            writer.write(&captured(interface, frame))?;
        }
        writer.flush()
    }

    fn name_of(frame: &SeenFrame) -> String {
        match frame.seen {
            Seen::Sent | Seen::Received => frame.station.clone(),
            Seen::Lost(_) => "lost".to_owned(),
            Seen::Dropped(_) => format!("dropped by {}", frame.station),
        }
    }

    fn captured(interface: u32, frame: &SeenFrame) -> CapturedFrame {
        let at = ClockAnchor::default().to_unix(frame.at);
        let mut captured = CapturedFrame::new(interface, at, frame.bytes.clone());
        captured.original_len = u32::try_from(frame.original_len).unwrap_or(u32::MAX);
        match &frame.seen {
            Seen::Sent => captured.with_direction(Direction::Out),
            Seen::Received => captured.with_direction(Direction::In),
            Seen::Lost(why) => captured.with_comment(format!("lost at {}: {why}", frame.station)),
            Seen::Dropped(why) => captured.with_comment(format!("dropped: {}", why.name())),
        }
    }
}

#[cfg(test)]
mod tests;
