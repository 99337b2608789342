//! `rumpnet plot`: a connection of a capture drawn over time: segments, acknowledgements, window,
//! what was sent again, what was under way, round trips.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use libnet::capture::reader::{CaptureError, CaptureReader};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::output::Output;

mod canvas;
mod chart;
mod flow;
mod overlay;
mod parse;
pub(crate) mod probe;
mod sample;

use flow::{Flow, Flows};
use overlay::Overlay;

/// `rumpnet plot`.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --flow the connections of the capture are listed, as with --list. An overlay has a line of JSON
for each look at a connection: {\"t\":SECONDS,\"cwnd\":BYTES,\"rtt_us\":MICROSECONDS}, with \"local\" and
\"remote\", ADDRESS:PORT, if there are several; t counts as the capture's times do, from 1970 on.
Pictures end in .svg or .png.")]
pub struct PlotArgs {
    /// The capture, pcapng or pcap; - is standard input
    #[arg(value_name = "FILE")]
    pub capture: PathBuf,
    /// Which connection: its number in the list, or ADDRESS:PORT of one end, or of both with a comma
    #[arg(short, long, value_name = "FLOW")]
    pub flow: Option<String>,
    /// List the connections
    #[arg(short, long, conflicts_with = "flow")]
    pub list: bool,
    /// The picture: its name tells SVG or PNG; may be given twice [default: the capture's name, with
    /// .svg]
    #[arg(short, long, value_name = "PICTURE")]
    pub output: Vec<PathBuf>,
    /// Draw the direction that carries fewer bytes
    #[arg(short, long)]
    pub reverse: bool,
    /// Congestion windows and round trips that the stack itself has written down
    #[arg(long, value_name = "FILE")]
    pub overlay: Option<PathBuf>,
    /// Width and height, pixels
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1200x900", value_parser = parse_size)]
    pub size: (u32, u32),
    /// Seconds from the connection's first segment on, FROM..TO; either may be left out
    #[arg(long, value_name = "FROM..TO", value_parser = parse_span)]
    pub span: Option<(f64, f64)>,
}

/// Lists a capture's connections, or draws one.
///
/// # Errors
/// No capture there, or none that has such a connection; a picture that cannot be written.
pub fn run(args: &PlotArgs, global: &Global) -> Outcome {
    let (flows, damage) = read(&args.capture)?;
    let ended = match (&args.flow, args.list) {
        (Some(name), false) => draw(args, global, &flows, name),
        _ => list(global, &flows),
    };
    ended?;
    match damage {
        Some(damage) => Err(Failure::new(format!(
            "{}: {damage}; what came before was read",
            args.capture.display()
        ))),
        None => Ok(Status::DONE),
    }
}

/// The connections of a capture, and why it ended before its end.
fn read(path: &Path) -> Result<(Flows, Option<CaptureError>), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::doing(format_args!("cannot read {}", path.display()), error)
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|error| cannot(&error))?))
    };
    let reader = CaptureReader::new(input).map_err(|error| match error {
        CaptureError::NotACapture => {
            cannot(&format_args!("{error}; tcpdump -w and rumpnet dump -w write such files"))
        }
        error => cannot(&error),
    })?;
    collect(reader).map_err(|error| cannot(&error))
}

fn collect<R: Read>(
    mut reader: CaptureReader<R>,
) -> Result<(Flows, Option<CaptureError>), CaptureError> {
    let mut flows = Flows::default();
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok((flows, None)),
            Err(error @ CaptureError::Io(_)) => return Err(error),
            Err(error) => return Ok((flows, Some(error))),
        };
        let interface = reader.interface(frame.interface);
        // Other kinds of links have nothing to say to us.
        let Some(medium) = interface.and_then(|interface| interface.medium()) else { continue };
        let original = frame.original_len as usize;
        if let Some(segment) = parse::segment(&frame.bytes, original, medium) {
            flows.add(frame.at, frame.interface, &segment);
        }
    }
}

fn list(global: &Global, flows: &Flows) -> Result<(), Failure> {
    let mut output = Output::new();
    if global.json {
        let all: Vec<Value> = flows.iter().enumerate().map(|(at, flow)| listed(at, flow)).collect();
        output.json_pretty(&json!({"flows": all, "skipped_segments": flows.skipped()}))?;
        return output.flush();
    }
    if flows.iter().next().is_none() {
        return Err(Failure::new("there is no TCP in this capture"));
    }
    output.line(format!(
        "{:>4}  {:<25} {:<25} {:>9} {:>12} {:>12} {:>8} {:>9}",
        "FLOW", "A", "B", "SEGMENTS", "A>B BYTES", "B>A BYTES", "RESENT", "SECONDS"
    ))?;
    for (at, flow) in flows.iter().enumerate() {
        let [a, b] = flow.ends();
        output.line(format!(
            "{:>4}  {:<25} {:<25} {:>9} {:>12} {:>12} {:>8} {:>9.3}",
            at + 1,
            a.to_string(),
            b.to_string(),
            flow.segments().len(),
            flow.bytes(0),
            flow.bytes(1),
            flow.resent(0) + flow.resent(1),
            flow.seconds()
        ))?;
    }
    if flows.skipped() > 0 {
        output.line(format!("{} segments beyond what is kept were left out", flows.skipped()))?;
    }
    output.flush()
}

fn listed(at: usize, flow: &Flow) -> Value {
    let [a, b] = flow.ends();
    let way = |way: usize| json!({"bytes": flow.bytes(way), "resent_segments": flow.resent(way)});
    json!({
        "flow": at + 1, "a": a.to_string(), "b": b.to_string(), "segments": flow.segments().len(),
        "seconds": flow.seconds(), "a_to_b": way(0), "b_to_a": way(1),
    })
}

fn draw(args: &PlotArgs, global: &Global, flows: &Flows, name: &str) -> Result<(), Failure> {
    let (at, flow) = choose(flows, name)?;
    let way = flow.way(args.reverse);
    let overlay = match &args.overlay {
        Some(path) => Some(Overlay::read(path, flow, way)?),
        None => None,
    };
    let pictures = match args.output.as_slice() {
        [] => vec![args.capture.with_extension("svg")],
        given => given.to_vec(),
    };
    if args.output.is_empty() && args.capture == Path::new("-") {
        return Err(Failure::usage("a capture from standard input needs -o PICTURE"));
    }
    let plot = chart::Plot { flow, way, overlay: overlay.as_ref(), span: args.span };
    for picture in &pictures {
        let bytes = render(&plot, picture, args.size)?;
        let written = File::create(picture).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|error| {
            Failure::doing(format_args!("cannot write {}", picture.display()), &error)
        })?;
    }
    let mut output = Output::new();
    if global.json {
        let pictures: Vec<String> =
            pictures.iter().map(|path| path.display().to_string()).collect();
        let mut value = listed(at, flow);
        value["pictures"] = pictures.into();
        output.json_pretty(&value)?;
    } else {
        for picture in &pictures {
            output.line(format!("{}: {}", picture.display(), chart::title(flow, way)))?;
        }
    }
    output.flush()
}

fn render(plot: &chart::Plot<'_>, picture: &Path, size: (u32, u32)) -> Result<Vec<u8>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::doing(format_args!("cannot draw {}", picture.display()), error)
    };
    match picture.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => chart::svg(plot, size).map_err(|error| cannot(&error)),
        Some("png") => chart::png(plot, size).map_err(|error| cannot(&error)),
        _ => Err(Failure::usage(format!(
            "{}: a picture's name ends in .svg or .png",
            picture.display()
        ))),
    }
}

/// The flow of this number, or with these ends.
fn choose<'a>(flows: &'a Flows, name: &str) -> Result<(usize, &'a Flow), Failure> {
    let none = |what: &str| {
        Failure::usage(format!(
            "{what} {name:?} in this capture: --list shows those that there are"
        ))
    };
    if let Ok(number) = name.parse::<usize>() {
        let at = number.checked_sub(1);
        let flow = at.and_then(|at| Some((at, flows.iter().nth(at)?)));
        return flow.ok_or_else(|| none("there is no connection"));
    }
    let ends: Result<Vec<SocketAddr>, _> = name.split(',').map(|end| end.trim().parse()).collect();
    let ends = ends.map_err(|_| none("no number, and no ADDRESS:PORT,ADDRESS:PORT, is"))?;
    let is = |flow: &&Flow| ends.len() <= 2 && ends.iter().all(|end| flow.ends().contains(end));
    let mut found = flows.iter().enumerate().filter(|(_, flow)| is(flow));
    let first = found.next().ok_or_else(|| none("there is no connection"))?;
    if found.next().is_some() {
        return Err(none("more than one connection is meant by"));
    }
    Ok(first)
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is no WIDTHxHEIGHT of 300 to {MAX_PIXELS} pixels each");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse().ok().filter(|side| (300..=MAX_PIXELS).contains(side));
    Ok((side(width).ok_or_else(wrong)?, side(height).ok_or_else(wrong)?))
}

fn parse_span(text: &str) -> Result<(f64, f64), String> {
    let wrong = || format!("{text:?} is no span of seconds, as 0.5..2");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let second = |text: &str, empty: f64| match text {
        "" => Ok(empty),
        text => text.parse().ok().filter(|at: &f64| at.is_finite() && *at >= 0.0).ok_or_else(wrong),
    };
    let (from, to) = (second(from, 0.0)?, second(to, f64::INFINITY)?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

/// Of one side of a picture.
const MAX_PIXELS: u32 = 10_000;
/// Of an overlay.
const MAX_OVERLAY_BYTES: u64 = 256 << 20;

/// A file's text, up to a bound.
fn read_text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_OVERLAY_BYTES {
        return Err(io::Error::other("it is larger than 256 MiB"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
