//! `rumpnet sysctl`: a node's settings, in procps' grammar and words.

pub mod settings;

use std::fs;
use std::io::{self, Read as _};

use clap::Args;
use regex::Regex;
use rumpnet::Inet;
use rumpnet::libnetinet::sysctl::{
    Applies, Assignment, Sysctl, SysctlEntry, SysctlError, Value as SysctlValue, dotted,
    parse_file, resolve,
};
use serde_json::{Value, json};

use crate::cli::{Global, Node};
use crate::control::client;
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::inside::Inside;

/// `rumpnet sysctl`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "rumpnet sysctl [-n NODE] [OPTIONS] [NAME[=VALUE] ...]",
    after_help = "\
  rumpnet sysctl -n alice net.ipv4.tcp_sack        what it is
  rumpnet sysctl -n alice net.ipv4.tcp_sack=0      in place of what it was
  rumpnet sysctl -n alice -p sysctl.conf           what a file sets, as sysctl.d(5) has it
  rumpnet sysctl -n alice -a -r keepalive          all that match
  rumpnet sysctl -n alice -a --describe            what they mean
Names, units and meanings are Linux's. -n in front of a name, as in -n net.ipv4.tcp_sack, is
--values."
)]
pub struct SysctlArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// Settings to show, those below a name too, and to set
    #[arg(value_name = "NAME[=VALUE]")]
    variables: Vec<String>,
    /// Show all settings
    #[arg(short, long, short_aliases = ['A', 'X'])]
    all: bool,
    /// Only those that match a regular expression
    #[arg(short = 'r', long, value_name = "EXPRESSION")]
    pattern: Option<Regex>,
    /// Set what files say; `-` is standard input
    #[arg(
        short = 'p',
        long,
        short_alias = 'f',
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    load: Option<String>,
    /// All words set something
    #[arg(short, long)]
    write: bool,
    /// Print values without names
    #[arg(short = 'n', long)]
    values: bool,
    /// Print values without names and without the end of the line
    #[arg(short, long)]
    binary: bool,
    /// Print names without values
    #[arg(short = 'N', long)]
    names: bool,
    /// Print nothing of what was set
    #[arg(short, long)]
    quiet: bool,
    /// Say nothing of names that are not there
    #[arg(short = 'e', long)]
    ignore: bool,
    /// Print what would be set, and do not set it
    #[arg(long)]
    dry_run: bool,
    /// Print what each takes, its default and Linux's, and what it means
    #[arg(long)]
    describe: bool,
    /// These do nothing
    #[arg(short = 'o', short_alias = 'x', hide = true, action = clap::ArgAction::Count)]
    nothing: u8,
    /// A file's name and, behind a line end, its text: for the node, which has other files
    #[arg(long, hide = true, value_name = "TEXT")]
    loaded: Vec<String>,
}

/// Text of files that one request has room for, bytes.
const MAX_TEXT_BYTES: usize = 48 << 10;

/// Asks a node, with the text of the files that are named.
///
/// # Errors
/// A file that cannot be read; as the node's.
pub fn run(args: &SysctlArgs, mut argv: Vec<String>) -> Outcome {
    if let Some(file) = &args.load {
        let named = Some(file).filter(|file| !file.is_empty());
        let files: Vec<&String> = named.into_iter().chain(&args.variables).collect();
        if files.is_empty() {
            return Err(Failure::usage("which file? try sysctl -p FILE"));
        }
        for file in files {
            let text = read(file).map_err(|error| {
                let why = host::plain(&error);
                Failure::verbatim(format!("sysctl: cannot open \"{file}\": {why}"), Status::FAILED)
            })?;
            argv.push(format!("--loaded={file}\n{text}"));
        }
        if argv.iter().map(String::len).sum::<usize>() > MAX_TEXT_BYTES {
            return Err(Failure::usage(format!(
                "that is more than the {MAX_TEXT_BYTES} bytes that a node takes at once: load the \
                 files one by one, or leave comments out"
            )));
        }
    }
    client::run(args.node.node.as_deref(), argv)
}

fn read(file: &str) -> io::Result<String> {
    if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file)
}

/// Runs it in a node.
///
/// # Errors
/// As procps words them.
pub fn inside(args: &SysctlArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let is_idle = args.variables.is_empty() && args.loaded.is_empty() && !args.all;
    if is_idle && args.pattern.is_none() {
        let text =
            "sysctl: no variables specified\nTry `rumpnet sysctl --help' for more information.";
        return Err(Failure::verbatim(text, Status::FAILED));
    }
    let mut work = Work {
        args,
        inet: &inet,
        inside,
        json: global.json,
        shown: Vec::new(),
        status: Status::DONE,
    };
    if !args.loaded.is_empty() {
        for file in &args.loaded {
            let (name, text) = file.split_once('\n').unwrap_or((file, ""));
            work.load(name, text)?;
        }
    } else if args.all || args.variables.is_empty() {
        for entry in inet.sysctls() {
            work.show(&entry.name, &entry.value, entry.sysctl)?;
        }
    } else {
        for word in &args.variables {
            work.word(word)?;
        }
    }
    let (shown, status) = (work.shown, work.status);
    if global.json {
        inside.output.json_pretty(&Value::Array(shown))?;
    }
    Ok(status)
}

struct Work<'a> {
    args: &'a SysctlArgs,
    inet: &'a Inet,
    inside: &'a mut Inside,
    json: bool,
    shown: Vec<Value>,
    status: Status,
}

impl Work<'_> {
    fn word(&mut self, word: &str) -> Result<(), Failure> {
        if word.contains('=') || self.args.write {
            return match Assignment::parse(word, 0) {
                Ok(one) => self.set(&one),
                Err(_) => self.complain("command line(0): invalid syntax, continuing..."),
            };
        }
        let name = dotted(word);
        match self.find(&name) {
            Ok(entries) => entries
                .iter()
                .try_for_each(|entry| self.show(&entry.name, &entry.value, entry.sysctl)),
            Err(error) => self.refused(&name, &error),
        }
    }

    /// The setting of that name, or those below it.
    fn find(&self, name: &str) -> Result<Vec<SysctlEntry>, SysctlError> {
        let below = format!("{}.", name.trim_end_matches('.'));
        let mut all = self.inet.sysctls();
        all.retain(|entry| entry.name == name || entry.name.starts_with(&below));
        if all.is_empty() {
            // Asked for alone, it says why it is not there.
            self.inet.sysctl(name)?;
        }
        Ok(all)
    }

    fn load(&mut self, file: &str, text: &str) -> Result<(), Failure> {
        let mut good = Vec::new();
        for line in parse_file(text) {
            match line {
                Ok(one) => good.push(one),
                Err(error) => {
                    let at = error.line;
                    self.complain(&format!("{file}({at}): invalid syntax, continuing..."))?;
                }
            }
        }
        let names: Vec<String> = self.inet.sysctls().into_iter().map(|entry| entry.name).collect();
        resolve(&good, &names).iter().try_for_each(|one| self.set(one))
    }

    fn set(&mut self, one: &Assignment) -> Result<(), Failure> {
        let (name, value) = (&one.name, one.value.as_deref().unwrap_or_default());
        if self.args.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(name)) {
            return Ok(());
        }
        if self.args.dry_run {
            return self.inside.output.line(format!("{name} = {value}"));
        }
        let set = self.inet.set_sysctl(name, value).and_then(|()| self.find(name));
        match set {
            Ok(_) if self.args.quiet => Ok(()),
            Ok(entries) => {
                entries.iter().try_for_each(|entry| self.show(name, &entry.value, entry.sysctl))
            }
            Err(_) if one.may_fail => Ok(()),
            Err(error) => self.refused(name, &error),
        }
    }

    fn show(&mut self, name: &str, value: &SysctlValue, sysctl: &Sysctl) -> Result<(), Failure> {
        let args = self.args;
        if args.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(name)) {
            return Ok(());
        }
        if self.json {
            self.shown.push(to_json(name, value, sysctl));
            return Ok(());
        }
        let output = &mut self.inside.output;
        match () {
            () if args.binary => output.text(value.to_string())?,
            () if args.values => output.line(value.to_string())?,
            () if args.names => output.line(name)?,
            () => output.line(format!("{name} = {value}"))?,
        }
        if args.describe {
            output.line(format!("    {}", description(sysctl)))?;
        }
        Ok(())
    }

    /// Says why a setting is not there or cannot be set, in procps' words and then in ours.
    fn refused(&mut self, name: &str, error: &SysctlError) -> Result<(), Failure> {
        let why = host::plain(&error.to_io());
        let is_missing = error.to_io().kind() == io::ErrorKind::NotFound;
        if is_missing && self.args.ignore {
            return Ok(());
        }
        let text = match error {
            _ if is_missing => format!("cannot stat /proc/sys/{}: {why}", name.replace('.', "/")),
            SysctlError::ReadOnly => format!("permission denied on key '{name}'"),
            _ => format!("setting key \"{name}\": {why}"),
        };
        self.complain(&text)?;
        self.complain(&error.to_string())
    }

    fn complain(&mut self, text: &str) -> Result<(), Failure> {
        self.status = Status::FAILED;
        // What was printed before stands before it.
        self.inside.output.flush()?;
        self.inside.complain(&format!("sysctl: {text}\n"));
        Ok(())
    }
}

fn description(sysctl: &Sysctl) -> String {
    let unit = match sysctl.unit() {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    let linux = sysctl.linux_default().map_or_else(String::new, |n| format!(" (Linux: {n})"));
    let default = sysctl.default_value().to_string().replace('\t', " ");
    let applies = match sysctl.applies() {
        Applies::ToNew => "; what is made from then on",
        _ => "",
    };
    let meaning = sysctl.meaning();
    format!("{meaning}; takes {}{unit}; default {default}{linux}{applies}", sysctl.kind())
}

fn to_json(name: &str, value: &SysctlValue, sysctl: &Sysctl) -> Value {
    json!({
        "name": name,
        "value": value.to_string(),
        "default": sysctl.default_value().to_string(),
        "linux_default": sysctl.linux_default(),
        "takes": sysctl.kind().to_string(),
        "unit": sysctl.unit(),
        "writable": sysctl.is_writable(),
        "applies_to_new": sysctl.applies() == Applies::ToNew,
        "meaning": sysctl.meaning(),
    })
}
