//! `rumpnet dump`: the frames on a bus, live or as the file still holds them, with tcpdump's
//! habits.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use libnet::capture::Direction;
use libnet::capture::pcapng::PcapngWriter;
use serde_json::Value;

use crate::cli::Global;
use crate::dissect::hex::{self, Letters};
use crate::dissect::summary::Summary;
use crate::dissect::{Detail, Dissector};
use crate::fail::{Failure, Outcome, Status};
use crate::filter::Filter;
use crate::output::Output;
use crate::signals::{Asked, Interrupts};

mod clock;
mod node;
mod record;
mod source;

use clock::{Clock, TimeStyle};
use record::Recorder;
use source::{Next, Shown, Source};

/// `rumpnet dump`.
#[derive(Args, Debug)]
#[command(
    override_usage = "rumpnet dump [OPTIONS] BUS [FILTER]...\n       rumpnet dump [OPTIONS] -r FILE [FILTER]...\n       rumpnet dump [OPTIONS] -n NODE [-i IF] [FILTER]..."
)]
#[command(after_help = "\
FILTER is a part of tcpdump's language: host, net and port with an address or number behind and src
or dst in front if wanted; ether host; tcp, udp, icmp, icmp6, arp, ip, ip6, broadcast, multicast;
and, or, not, parentheses.")]
pub struct DumpArgs {
    /// The frames that pass a node's interfaces, and why packets were dropped, instead of a bus's:
    /// the node's name, or its control socket's path; also -n NODE
    #[arg(long, value_name = "NODE", conflicts_with_all = ["read", "once", "cut"])]
    pub node: Option<String>,
    /// One of the node's interfaces alone
    #[arg(short, long, value_name = "IF", requires = "node")]
    pub interface: Option<String>,
    /// The bus's file, unless -r or -n NODE is given; then a filter, which frames to show
    #[arg(value_name = "BUS [FILTER]")]
    pub words: Vec<String>,
    /// Stop after COUNT frames
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Show the Ethernet header too
    #[arg(short = 'e')]
    pub link_header: bool,
    /// Write the frames to FILE as pcapng, instead of showing them; - is standard output
    #[arg(short = 'w', value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Show them as well as writing them
    #[arg(long, requires = "write")]
    pub print: bool,
    /// Read the frames of FILE, pcapng or pcap, instead of a bus's; - is standard input
    #[arg(short = 'r', value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// Show numbers, not names; it is always so
    #[arg(short = 'n', action = clap::ArgAction::Count)]
    pub numeric: u8,
    /// Show TCP sequence numbers as they are, not from the connection's first on
    #[arg(short = 'S')]
    pub absolute_seqs: bool,
    /// Show the bytes in hexadecimal; twice: the Ethernet header's too
    #[arg(short = 'x', action = clap::ArgAction::Count)]
    pub hex: u8,
    /// Show the bytes in hexadecimal and as letters; twice: the Ethernet header's too
    #[arg(short = 'X', action = clap::ArgAction::Count)]
    pub letters: u8,
    /// Time stamps. -t: none; -tt: seconds since 1970; -ttt: since the frame before; -tttt: with
    /// the date; -ttttt: since the first frame
    #[arg(short = 't', action = clap::ArgAction::Count)]
    pub time: u8,
    /// Number the lines
    #[arg(short = '#', long = "number")]
    pub number: bool,
    /// Show what the file still holds, oldest first, and end: also when everyone has died
    #[arg(long, conflicts_with = "read")]
    pub once: bool,
    /// Cut super-segments into frames of the bus's MTU; they are shown whole otherwise
    #[arg(long, conflicts_with = "read")]
    pub cut: bool,
}

/// Shows frames until there are no more, or enough, or the user has seen enough.
///
/// # Errors
/// No bus or capture there, or one that cannot be read; a filter that makes no sense.
pub fn run(args: &DumpArgs, global: &Global) -> Outcome {
    let (mut source, filter) = open(args)?;
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let mut dump = Dump::new(args, global, filter)?;
    if args.read.is_none() && !args.once {
        say(&format!(
            "listening on {}, link-type EN10MB (Ethernet), snapshot length 262144 bytes",
            source.name()
        ));
    }
    let ended = dump.follow(&mut source, &interrupts);
    let closed = dump.close();
    say(&format!("{} packet{} captured", dump.taken, plural(dump.taken)));
    say(&format!("{} packet{} missed", source.missed(), plural(source.missed())));
    match dump.recorder.as_ref().map_or(0, Recorder::refused) {
        0 => {}
        n => say(&format!("{n} packet{} not written: of too many senders", plural(n))),
    }
    ended.and(closed)?;
    match source.damage() {
        Some(damage) => Err(Failure::new(damage)),
        None => Ok(Status::DONE),
    }
}

fn open(args: &DumpArgs) -> Result<(Source, Option<Filter>), Failure> {
    let parse = |words: &[String]| {
        Filter::from_words(words).map_err(|error| Failure::usage(error.to_string()))
    };
    if let Some(node) = &args.node {
        let filter = parse(&args.words)?;
        return Ok((Source::node(node, args.interface.as_deref(), &args.words)?, filter));
    }
    if let Some(file) = &args.read {
        let filter = parse(&args.words)?;
        return Ok((Source::file(file)?, filter));
    }
    let Some((bus, words)) = args.words.split_first() else {
        return Err(Failure::usage(
            "dump needs a bus's file, -r and a capture's, or -n and a node's name",
        ));
    };
    let filter = parse(words)?;
    Ok((Source::bus(Path::new(bus), args.once, args.cut)?, filter))
}

/// Where frames go.
struct Dump<'a> {
    args: &'a DumpArgs,
    json: bool,
    filter: Option<Filter>,
    dissector: Dissector,
    clock: Clock,
    output: Option<Output>,
    recorder: Option<Recorder>,
    taken: u64,
}

/// How long to sleep on a bus before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(100);

impl<'a> Dump<'a> {
    fn new(args: &'a DumpArgs, global: &Global, filter: Option<Filter>) -> Result<Self, Failure> {
        let detail = Detail {
            link_header: args.link_header,
            verbosity: global.verbose,
            absolute_seqs: args.absolute_seqs,
        };
        let recorder = args.write.as_deref().map(recorder).transpose()?;
        let shows = recorder.is_none() || args.print;
        Ok(Dump {
            args,
            json: global.json,
            filter,
            dissector: Dissector::new(detail),
            clock: Clock::new(TimeStyle::of_count(args.time)),
            output: shows.then(Output::new),
            recorder,
            taken: 0,
        })
    }

    fn follow(&mut self, source: &mut Source, interrupts: &Interrupts) -> Result<(), Failure> {
        while self.args.count.is_none_or(|count| self.taken < count) && !interrupts.is_stopped() {
            if interrupts.channel().try_recv() == Ok(Asked::Report) {
                say(&format!("{} packet{} captured", self.taken, plural(self.taken)));
            }
            match source.next(PATIENCE)? {
                Next::Frame(frame) => self.take(&frame)?,
                Next::Idle => self.flush()?,
                Next::End => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Shown) -> Result<(), Failure> {
        let summary = Summary::of(frame.medium, &frame.bytes);
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(&summary)) {
            return Ok(());
        }
        self.taken += 1;
        if let Some(recorder) = &mut self.recorder {
            recorder.write(frame)?;
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        let mut line = String::new();
        self.dissector.line(frame.medium, &frame.bytes, frame.original_len, &mut line);
        if self.json {
            return output.json(&to_json(frame, &summary, line));
        }
        let mut text = String::new();
        if self.args.number {
            text.push_str(&format!("{:>5}  ", self.taken));
        }
        text.push_str(&self.clock.stamp(frame.at));
        text.push_str(&line);
        if let Some(bytes) = frame.segment_bytes {
            text.push_str(&format!(" (super-segment of {bytes} bytes each)"));
        }
        if !frame.dropped.is_empty() {
            text.push_str(&format!(" (dropped: {})", frame.dropped.join(", ")));
        }
        push_hex(self.args, frame, &mut text);
        output.line(text)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush()?;
        }
        self.output.as_mut().map_or(Ok(()), Output::flush)
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.flush()
    }
}

fn push_hex(args: &DumpArgs, frame: &Shown, text: &mut String) {
    let (count, letters) = match (args.hex, args.letters) {
        (0, 0) => return,
        (count, 0) => (count, Letters::Without),
        (_, count) => (count, Letters::With),
    };
    let skip = match (count, frame.medium) {
        (1, libnet::link::Medium::Ethernet) => libnet::EthernetHeader::LEN,
        _ => 0,
    };
    hex::dump(frame.bytes.get(skip..).unwrap_or_default(), letters, text);
}

fn recorder(path: &Path) -> Result<Recorder, Failure> {
    let to: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = File::create(path);
        Box::new(file.map_err(|error| cannot_write(path, &error))?)
    };
    let writer = PcapngWriter::new(BufWriter::with_capacity(1 << 18, to), "rumpnet dump");
    let writer = writer.map_err(|error| cannot_write(path, &error))?;
    Ok(Recorder::new(writer, path.to_path_buf()))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    if path == Path::new("-") {
        return Failure::output(error);
    }
    Failure::doing(format_args!("cannot write {}", path.display()), error)
}

fn to_json(frame: &Shown, summary: &Summary, line: String) -> Value {
    let mut map = summary.to_json();
    map.insert("line".to_owned(), line.into());
    map.insert("length".to_owned(), frame.original_len.into());
    map.insert("time".to_owned(), frame.at.as_secs_f64().into());
    map.insert("time_ns".to_owned(), u64::try_from(frame.at.as_nanos()).unwrap_or(0).into());
    if let Some(origin) = &frame.origin {
        map.insert("sender".to_owned(), origin.name.clone().into());
    }
    if let Some(interface) = &frame.interface {
        map.insert("interface".to_owned(), interface.clone().into());
        let direction = frame.direction.map(|direction| match direction {
            Direction::In => "in",
            Direction::Out => "out",
        });
        map.insert("direction".to_owned(), direction.into());
    }
    if !frame.dropped.is_empty() {
        map.insert("dropped".to_owned(), frame.dropped.clone().into());
    }
    if let Some(bytes) = frame.segment_bytes {
        map.insert("segment_bytes".to_owned(), bytes.get().into());
    }
    Value::Object(map)
}

/// What is not a frame goes to stderr, as with tcpdump.
fn say(text: &str) {
    // Where stderr is closed nobody could read it anyway.
    let _ = writeln!(io::stderr(), "{text}");
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}
