//! `ss`'s language of filters: states and expressions over ports, addresses and interfaces.

use std::net::{IpAddr, SocketAddr};

use libnet::IpCidr;
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::SocketEntry;

use super::state_of;
use crate::inside::index_of;

/// A socket's state, in `ss`'s words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listening,
    Closing,
}

use State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listening, SynRecv,
    SynSent, TimeWait,
};

impl State {
    pub(super) const ALL: &'static [State] = &[
        Established,
        SynSent,
        SynRecv,
        FinWait1,
        FinWait2,
        TimeWait,
        Closed,
        CloseWait,
        LastAck,
        Listening,
        Closing,
    ];
    pub(super) const LISTENING: &'static [State] = &[Listening, Closed];
    /// What `ss` shows unasked.
    pub(super) const CONNECTED: &'static [State] =
        &[Established, SynSent, FinWait1, FinWait2, CloseWait, LastAck, Closing];
    const WITH_A_PEER: &'static [State] =
        &[Established, SynSent, SynRecv, FinWait1, FinWait2, TimeWait, CloseWait, LastAck, Closing];
    const SYNCHRONIZED: &'static [State] =
        &[Established, SynRecv, FinWait1, FinWait2, TimeWait, CloseWait, LastAck, Closing];
    const BUCKET: &'static [State] = &[SynRecv, TimeWait];
    const BIG: &'static [State] =
        &[Established, SynSent, FinWait1, FinWait2, Closed, CloseWait, LastAck, Listening, Closing];

    /// By RFC 9293's name.
    pub(super) fn of_name(name: &str) -> State {
        match name {
            "LISTEN" => Listening,
            "SYN-SENT" => SynSent,
            "SYN-RECEIVED" => SynRecv,
            "ESTABLISHED" => Established,
            "FIN-WAIT-1" => FinWait1,
            "FIN-WAIT-2" => FinWait2,
            "CLOSE-WAIT" => CloseWait,
            "CLOSING" => Closing,
            "LAST-ACK" => LastAck,
            "TIME-WAIT" => TimeWait,
            _ => Closed,
        }
    }

    /// As the second column has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Established => "ESTAB",
            SynSent => "SYN-SENT",
            SynRecv => "SYN-RECV",
            FinWait1 => "FIN-WAIT-1",
            FinWait2 => "FIN-WAIT-2",
            TimeWait => "TIME-WAIT",
            Closed => "UNCONN",
            CloseWait => "CLOSE-WAIT",
            LastAck => "LAST-ACK",
            Listening => "LISTEN",
            Closing => "CLOSING",
        }
    }

    /// Those that a word of `state` means.
    fn of_word(word: &str) -> Option<&'static [State]> {
        Some(match word {
            "all" => State::ALL,
            "connected" => State::WITH_A_PEER,
            "synchronized" => State::SYNCHRONIZED,
            "bucket" => State::BUCKET,
            "big" => State::BIG,
            "established" | "estab" => &[Established],
            "syn-sent" => &[SynSent],
            "syn-recv" => &[SynRecv],
            "fin-wait-1" => &[FinWait1],
            "fin-wait-2" => &[FinWait2],
            "time-wait" => &[TimeWait],
            "closed" | "unconnected" => &[Closed],
            "close-wait" => &[CloseWait],
            "last-ack" => &[LastAck],
            "listening" | "listen" => &[Listening],
            "closing" => &[Closing],
            _ => return None,
        })
    }
}

/// Which sockets are shown.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) states: Vec<State>,
    expression: Option<Expression>,
}

#[derive(Clone, Debug)]
enum Expression {
    Port {
        at: End,
        op: Op,
        port: u16,
    },
    Host {
        at: End,
        net: Option<IpCidr>,
        port: Option<u16>,
    },
    /// An interface, by its addresses.
    Device(Vec<IpAddr>),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Local,
    Remote,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

/// Parentheses in parentheses at most.
const MAX_DEPTH: usize = 32;

impl Filter {
    pub(super) fn parse(words: &[String], default: &[State], inet: &Inet) -> Result<Self, String> {
        // A shell's user may quote the whole, or parts.
        let text = words.join(" ").replace('(', " ( ").replace(')', " ) ");
        let text = split_operators(&text);
        let mut tokens: Vec<&str> = text.split_whitespace().collect();
        tokens.reverse();
        let mut parser = Parser { tokens, inet, depth: 0 };
        let mut states: Option<Vec<State>> = None;
        while let Some(word) = parser.peek().filter(|word| ["state", "exclude"].contains(word)) {
            parser.tokens.pop();
            let name = parser.tokens.pop().ok_or_else(|| format!("{word} what?"))?;
            let named = State::of_word(name).ok_or_else(|| format!("unknown state: {name}"))?;
            match word {
                "state" => states.get_or_insert_default().extend(named),
                _ => states
                    .get_or_insert_with(|| State::ALL.to_vec())
                    .retain(|state| !named.contains(state)),
            }
        }
        let expression = match parser.peek() {
            None => None,
            Some(_) => Some(parser.or()?),
        };
        match parser.peek() {
            Some(rest) => Err(format!("garbage in the filter: {rest}")),
            None => {
                let states = states.unwrap_or_else(|| default.to_vec());
                Ok(Filter { states, expression })
            }
        }
    }

    pub(super) fn matches(&self, socket: &SocketEntry) -> bool {
        self.states.contains(&state_of(socket))
            && self.expression.as_ref().is_none_or(|expression| expression.matches(socket))
    }
}

/// `sport=:80` is three words.
fn split_operators(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !"=!<>".contains(c) {
            out.push(c);
            continue;
        }
        out.push(' ');
        out.push(c);
        while let Some(next) = chars.next_if(|next| *next == '=') {
            out.push(next);
        }
        out.push(' ');
    }
    out
}

struct Parser<'a> {
    /// The next one last.
    tokens: Vec<&'a str>,
    inet: &'a Inet,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.last().copied()
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.peek().is_some_and(|word| ["or", "|", "||"].contains(&word)) {
            self.tokens.pop();
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.not()?;
        while let Some(word) = self.peek() {
            match word {
                "and" | "&" | "&&" => {
                    self.tokens.pop();
                }
                "or" | "|" | "||" | ")" => break,
                // One behind the other means both.
                _ => {}
            }
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the filter is nested too deep".to_owned());
        }
        let word = self.tokens.pop().ok_or("the filter is not complete")?;
        let expression = match word {
            "not" | "!" => Expression::Not(Box::new(self.not()?)),
            "(" => {
                let inner = self.or()?;
                match self.tokens.pop() {
                    Some(")") => inner,
                    _ => return Err("a parenthesis is not closed".to_owned()),
                }
            }
            "sport" => self.port(End::Local)?,
            "dport" => self.port(End::Remote)?,
            "src" => self.host(End::Local)?,
            "dst" => self.host(End::Remote)?,
            "dev" => self.device()?,
            other => return Err(format!("syntax error in the filter: {other}")),
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn op(&mut self) -> Op {
        let op = match self.peek() {
            Some("=" | "==" | "eq") => Op::Equal,
            Some("!=" | "ne" | "neq") => Op::NotEqual,
            Some(">=" | "ge" | "geq") => Op::AtLeast,
            Some("<=" | "le" | "leq") => Op::AtMost,
            Some(">" | "gt") => Op::More,
            Some("<" | "lt") => Op::Less,
            _ => return Op::Equal,
        };
        self.tokens.pop();
        op
    }

    fn port(&mut self, at: End) -> Result<Expression, String> {
        let op = self.op();
        let word = self.tokens.pop().ok_or("a port is missing in the filter")?;
        let digits = word.rsplit(':').next().unwrap_or(word);
        let port = digits.parse().map_err(|_| format!("`{word}` is not a port: write :80"))?;
        Ok(Expression::Port { at, op, port })
    }

    fn host(&mut self, at: End) -> Result<Expression, String> {
        let negate = self.op() == Op::NotEqual;
        let word = self.tokens.pop().ok_or("an address is missing in the filter")?;
        let wrong = || format!("an inet prefix is expected rather than \"{word}\".");
        let parse_port = |text: &str| match text {
            "" | "*" => Ok(None),
            text => text.parse().map(Some).map_err(|_| wrong()),
        };
        let is_bare_v6 = word.matches(':').count() > 1 && !word.contains(']');
        let (host, port) = match word.rsplit_once(':').filter(|_| !is_bare_v6) {
            Some((host, port)) if !port.ends_with(']') => (host, parse_port(port)?),
            _ => (word, None),
        };
        let host = host.replace(['[', ']'], "");
        let net = match &host[..] {
            "" | "*" => None,
            host => Some(host.parse().map_err(|_| wrong())?),
        };
        let expression = Expression::Host { at, net, port };
        Ok(if negate { Expression::Not(Box::new(expression)) } else { expression })
    }

    fn device(&mut self) -> Result<Expression, String> {
        let negate = self.op() == Op::NotEqual;
        let name = self.tokens.pop().ok_or("an interface is missing in the filter")?;
        let index =
            index_of(self.inet, name).ok_or_else(|| format!("there is no interface {name}"))?;
        let config = self.inet.engine().interface(index).map(|iface| iface.config());
        let addrs = config.map(|config| config.addrs.iter().map(IpCidr::addr).collect());
        let expression = Expression::Device(addrs.unwrap_or_default());
        Ok(if negate { Expression::Not(Box::new(expression)) } else { expression })
    }
}

impl Expression {
    fn matches(&self, socket: &SocketEntry) -> bool {
        let end = |at: End| match at {
            End::Local => Some(socket.local),
            End::Remote => socket.remote,
        };
        match self {
            Expression::Port { at, op, port } => {
                let has = end(*at).map_or(0, |addr: SocketAddr| addr.port());
                match op {
                    Op::Equal => has == *port,
                    Op::NotEqual => has != *port,
                    Op::AtLeast => has >= *port,
                    Op::AtMost => has <= *port,
                    Op::More => has > *port,
                    Op::Less => has < *port,
                }
            }
            Expression::Host { at, net, port } => {
                let addr = end(*at);
                // A mapped address is the IPv4 address that it holds.
                let in_net =
                    |net: &IpCidr| addr.is_some_and(|addr| net.contains(addr.ip().to_canonical()));
                let on_port = |port: u16| addr.is_some_and(|addr| addr.port() == port);
                net.as_ref().is_none_or(in_net) && port.is_none_or(on_port)
            }
            Expression::Device(addrs) => addrs.contains(&socket.local.ip().to_canonical()),
            Expression::Not(inner) => !inner.matches(socket),
            Expression::And(a, b) => a.matches(socket) && b.matches(socket),
            Expression::Or(a, b) => a.matches(socket) || b.matches(socket),
        }
    }
}
