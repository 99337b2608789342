//! The messages of a measurement, read from any bytes as either side reads them.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::control::{COOKIE_BYTES, Refusal, State, read_message, read_state};
use super::datagrams;
use super::plan::{Mode, Plan};
use super::report::{self, Ended, Report};
use super::results::{Results, Role};
use crate::output::Output;

/// Both sides of a control connection, and the datagrams beside it.
pub(crate) fn run(bytes: &[u8]) {
    // Either may end anywhere: the other side has gone.
    let _ = as_server(&mut &*bytes);
    let _ = as_client(&mut &*bytes);
    datagrams::probe(bytes);
}

fn as_server(from: &mut impl Read) -> io::Result<()> {
    from.read_exact(&mut [0; COOKIE_BYTES])?;
    let plan = match Plan::from_json(&read_message(from)?) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(
                !error.to_string().is_empty() && !Refusal::text(error.refusal() as u32).is_empty()
            );
            return Ok(());
        }
    };
    assert_eq!(plan.check(), Ok(()), "what is taken can be done");
    let told = Plan::from_json(&plan.to_json()).expect("what is told is understood");
    assert_eq!(Plan::from_json(&told.to_json()), Ok(told), "and told alike");
    read_state(from)?;
    take_results(from, &plan, plan.client_role())
}

fn as_client(from: &mut impl Read) -> io::Result<()> {
    loop {
        match read_state(from)? {
            State::Extension => {
                read_message(from)?;
            }
            State::ServerError => {
                let mut number = [0; 4];
                from.read_exact(&mut number)?;
                assert!(!Refusal::text(u32::from_be_bytes(number)).is_empty());
            }
            State::ExchangeResults => {
                for mode in [Mode::Tcp, Mode::Udp, Mode::RequestResponse] {
                    let plan = Plan { mode, streams: 2, ..Plan::new(Duration::from_secs(1)) };
                    take_results(from, &plan, plan.server_role())?;
                }
            }
            _ => {}
        }
    }
}

/// What the other side counted, and what is printed of it.
fn take_results(from: &mut impl Read, plan: &Plan, role: Role) -> io::Result<()> {
    let theirs = Results::from_json(&read_message(from)?, plan, role);
    assert_eq!(theirs.streams.len(), usize::from(plan.streams));
    let again = Results::from_json(&theirs.to_json(plan, role), plan, role);
    assert_eq!(again.streams.len(), theirs.streams.len());
    assert!(!report::server_lines(plan, &theirs).is_empty());
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for json in [false, true] {
        let ends = vec![(None, peer); theirs.streams.len()];
        let mut report = Report::new(plan, plan.client_role(), peer, ends, json);
        report.print_to(Output::over(io::sink()));
        let ended = Ended { ours: theirs.clone(), theirs: theirs.clone(), counters: &[] };
        assert!(report.end(&ended).is_ok(), "nowhere takes all");
    }
    Ok(())
}

/// Conversations as they go well, and a datagram.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message = |text: String| {
        let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
        bytes.extend(text.bytes());
        bytes
    };
    let plan =
        |mode| Plan { mode, streams: 2, block_bytes: 1_000, ..Plan::new(Duration::from_secs(1)) };
    let results = |plan: &Plan, role| {
        Results { seconds: 1.5, ..Results::from_json(&().into(), plan, role) }.to_json(plan, role)
    };
    let mut seeds = Vec::new();
    for mode in [Mode::Tcp, Mode::Udp, Mode::RequestResponse, Mode::ConnectClose] {
        let plan = plan(mode);
        let mut client = vec![b'a'; COOKIE_BYTES];
        client.extend(message(plan.to_json().to_string()));
        client.push(State::TestEnd as u8);
        client.extend(message(results(&plan, plan.client_role()).to_string()));
        client.push(State::IperfDone as u8);
        seeds.push(client);
        let mut server = vec![State::ParamExchange as u8, State::Extension as u8];
        server.extend(message(r#"{"port":5201}"#.to_owned()));
        let states = [State::CreateStreams, State::TestStart, State::TestRunning];
        server.extend(states.map(|state| state as u8));
        server.push(State::ExchangeResults as u8);
        server.extend(message(results(&plan, plan.server_role()).to_string()).repeat(3));
        server.push(State::DisplayResults as u8);
        seeds.push(server);
    }
    seeds.push(vec![State::ServerError as u8, 0, 0, 0, 6, 0, 0, 0, 0]);
    seeds.push([&[0, 0, 0, 9, 0, 0, 0, 5][..], &[0, 0, 0, 1].repeat(4)].concat());
    seeds
}
