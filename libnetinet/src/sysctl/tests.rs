//! The table of settings: its names, its ranges, and what a change does to a stack that runs.

use std::collections::BTreeSet;

use libnet::socket::{Domain, OptionKey, SocketOption};
use proptest::prelude::*;

use super::*;
use crate::config::InetConfig;
use crate::forward::Forwarding;
use crate::tcp::Options;
use crate::testing::{Net, at, is_ip};
use libnet::iface::IfIndex;
use libnet::socket::{Family, Protocol};

#[test]
fn every_name_is_linuxs_and_is_there_once() {
    let mut seen = BTreeSet::new();
    for sysctl in all() {
        assert!(seen.insert(sysctl.name()), "{} is there twice", sysctl.name());
        let general = sysctl.name().replace(".all.", ".IF.").replace(".default.", ".IF.");
        assert!(LINUX_NAMES.contains(&general.as_str()), "Linux has no {general}");
        assert!(!sysctl.meaning().is_empty());
    }
}

#[test]
fn linuxs_names_are_those_of_a_kernel_that_is_new_enough() {
    let folder = std::path::Path::new("/proc/sys/net/ipv4");
    if !folder.join("tcp_rto_max_ms").exists() {
        return eprintln!("skipped: no Linux of 6.15 or later tells its settings here");
    }
    for sysctl in all().filter(|sysctl| sysctl.name().starts_with("net.ipv4.tcp_")) {
        let file = sysctl.name().trim_start_matches("net.ipv4.");
        assert!(folder.join(file).exists(), "Linux has no {}", sysctl.name());
    }
}

#[test]
fn every_default_is_a_value_that_its_setting_takes_and_gives_back() {
    let mut config = InetConfig::default();
    let settings = all().filter(|sysctl| sysctl.is_writable() && !sysctl.is_of_interface());
    for sysctl in settings {
        let default = sysctl.default_value();
        config.set_sysctl(sysctl.name(), &default.to_string()).unwrap();
        assert_eq!(config.sysctl(sysctl.name()).unwrap(), default, "{}", sysctl.name());
        assert_ne!(sysctl.linux_default(), Some(&*default.to_string()), "{}", sysctl.name());
    }
}

#[test]
fn both_ends_of_every_range_are_kept_and_what_is_beyond_is_refused() {
    let mut config = InetConfig::default();
    let settings = all().filter(|sysctl| sysctl.is_writable() && !sysctl.is_of_interface());
    for sysctl in settings {
        let (good, bad): (Vec<String>, Vec<String>) = match sysctl.kind() {
            Kind::Switch => (vec!["0".into(), "1".into()], vec!["2".into(), "-1".into()]),
            Kind::Number { least, most } => {
                let below = least.checked_sub(1).map_or("-1".to_owned(), |n| n.to_string());
                (vec![least.to_string(), most.to_string()], vec![below, (most + 1).to_string()])
            }
            Kind::OneOf(all) => {
                (all.iter().map(u64::to_string).collect(), vec!["77".into(), String::new()])
            }
            Kind::Numbers { count, least, most } => {
                let lows = vec![least.to_string(); count - 1].join("\t");
                let falling = format!("{most} {}", lows.replace('\t', " "));
                (vec![format!("{lows}\t{most}")], vec![falling, lows.clone(), format!("{lows} x")])
            }
            Kind::Word(all) => {
                (all.iter().map(|word| (*word).to_owned()).collect(), vec!["vegas".into()])
            }
            Kind::Keys => {
                let (key, other) = ("00000001-20000000-0000000a-ffffffff", "0-0-0-0");
                let zeros = "00000000-00000000-00000000-00000000";
                let good = vec![zeros.into(), key.into(), format!("{key},{zeros}")];
                let three = format!("{key},{key},{key}");
                let bad = ["", "1-2-3", "1-2-3-4-5", "1-2-3-4,", ",1-2-3-4", "1-2-3-g", "1-2-3-+4"];
                let bad = bad.into_iter().map(str::to_owned).chain([three, format!("{other} 1")]);
                (good, bad.chain(["1-2-3-100000000".into()]).collect())
            }
            Kind::Ports => {
                let good = ["", "80", "8080,9148-9150", "0-65535"];
                let bad = ["x", "65536", "5-4", "-5", "80;81", "80 81"];
                (good.map(str::to_owned).to_vec(), bad.map(str::to_owned).to_vec())
            }
            Kind::Words => unreachable!("these can only be read"),
        };
        for value in good {
            config.set_sysctl(sysctl.name(), &value).unwrap();
            assert_eq!(
                config.sysctl(sysctl.name()).unwrap().to_string(),
                value,
                "{}",
                sysctl.name()
            );
        }
        let before = config.sysctl(sysctl.name()).unwrap();
        for value in bad {
            let refused = config.set_sysctl(sysctl.name(), &value).unwrap_err();
            assert!(matches!(refused, SysctlError::Invalid { .. }), "{}", sysctl.name());
            assert_eq!(config.sysctl(sysctl.name()).unwrap(), before);
        }
    }
}

#[test]
fn a_name_that_is_not_there_says_what_is() {
    let config = InetConfig::default();
    let why = |name: &str| config.sysctl(name).unwrap_err().to_string();
    assert_eq!(why("net.ipv4.tcp_sak"), "there is no such setting: is it net.ipv4.tcp_sack?");
    assert_eq!(why("tcp_sack"), "there is no such setting: is it net.ipv4.tcp_sack?");
    assert_eq!(why("vm.swappiness"), "there is no such setting");
    assert_eq!(why("net.ipv4.tcp_app_win"), "Linux has this setting, and this stack does not");
    assert_eq!(
        why("net.ipv4.conf.eth0.rp_filter"),
        "Linux has this setting, and this stack does not: see net.ipv4.conf.all.rp_filter"
    );
    assert_eq!(
        why("net.ipv6.icmp.ratelimit"),
        "Linux has this setting, and this stack does not: see net.ipv4.icmp_ratelimit"
    );
    assert!(why(&"x".repeat(10_000)).starts_with("there is no such setting"));
    assert_eq!(config.sysctl("net/ipv4/tcp_sack").unwrap().to_string(), "1");
    let error = config.sysctl("net.ipv4.conf.eth0.forwarding").unwrap_err();
    assert_eq!(error, SysctlError::OfInterface);
    let mut config = config;
    let fixed = config.set_sysctl("net.ipv4.tcp_available_congestion_control", "reno");
    assert_eq!(fixed, Err(SysctlError::ReadOnly));
}

/// The options of the first SYN among the frames.
fn syn_options(net: &Net) -> Options {
    let frames = net.frames();
    let syn = frames.iter().find(|frame| is_ip(frame, Protocol::TCP) && frame[47] & 2 != 0);
    let syn = syn.expect("a SYN left");
    Options::parse(&syn[54..34 + usize::from(syn[46] >> 4) * 4])
}

#[test]
fn what_connections_offer_changes_while_the_stack_runs_on_every_shard() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let _listener = b.listener(80);
        let mut ports = 0;
        for (name, offers) in [
            ("net.ipv4.tcp_sack", (|o: &Options| o.sack_permitted) as fn(&Options) -> bool),
            ("net.ipv4.tcp_timestamps", |o| o.timestamps.is_some()),
            ("net.ipv4.tcp_window_scaling", |o| o.window_shift.is_some()),
        ] {
            for (value, offered) in [("0", false), ("1", true)] {
                a.inet.set_sysctl(name, value).unwrap();
                assert_eq!(a.inet.sysctl(name).unwrap().to_string(), value);
                // So many that every shard has some.
                for _ in 0..8 {
                    net.frames();
                    let client = a.tcp();
                    let _ = a.inet.connect(client, at(2, 80));
                    net.run_ms(5);
                    ports += usize::from(a.inet.local_addr(client).unwrap().port() > 0);
                    assert_eq!(offers(&syn_options(&net)), offered, "{name} = {value}");
                    a.inet.close(client);
                    net.run_ms(5);
                }
            }
        }
        assert_eq!(ports, 48);
    }
}

#[test]
fn a_change_while_a_syn_is_under_way_does_not_break_what_it_offered() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(80);
    let client = a.tcp();
    let _ = a.inet.connect(client, at(2, 80));
    for name in ["tcp_sack", "tcp_timestamps", "tcp_window_scaling"] {
        a.inet.set_sysctl(&format!("net.ipv4.{name}"), "0").unwrap();
    }
    net.run_ms(20);
    let (server, _) = b.inet.accept(listener).unwrap();
    a.send(client, &[7; 60_000]).unwrap();
    net.run_ms(500);
    let info = a.inet.tcp_info(client).unwrap();
    assert!(info.sack && info.timestamps, "{info:?}");
    assert!(info.snd_wnd_bytes > 65_535, "{info:?}");
    assert_eq!(b.inet.tcp_info(server).unwrap().bytes_in, 60_000);
}

#[test]
fn times_and_bounds_hold_at_once() {
    let net = Net::new();
    let a = net.node(1);
    let set = |name: &str, value: &str| a.inet.set_sysctl(name, value).unwrap();
    let socket = a.tcp();
    let idle = |id| a.inet.get_option(id, OptionKey::KeepIdle).unwrap();
    set("net.ipv4.tcp_keepalive_time", "60");
    assert_eq!(idle(socket), SocketOption::KeepIdle(std::time::Duration::from_secs(60)));
    set("net.ipv4.ip_default_ttl", "9");
    set("net.ipv6.conf.all.hop_limit", "8");
    let six = a.inet.socket(Family::Inet6, libnet::SockType::Datagram, Protocol::DEFAULT).unwrap();
    let ttl = |id| a.inet.get_option(id, OptionKey::Ttl).unwrap();
    assert_eq!((ttl(socket), ttl(six)), (SocketOption::Ttl(9), SocketOption::Ttl(8)));
    set("net.ipv4.ip_local_port_range", "5000 5000");
    let (one, two) = (a.udp(), a.udp());
    a.send_to(one, b"x", at(2, 7)).unwrap();
    assert_eq!(a.inet.local_addr(one).unwrap().port(), 5_000);
    assert!(a.send_to(two, b"x", at(2, 7)).is_err(), "there is no other port");
    set("net.ipv6.bindv6only", "1");
    let only = |id| a.inet.get_option(id, OptionKey::V6Only).unwrap();
    assert_eq!(only(six), SocketOption::V6Only(false));
    for ty in [libnet::SockType::Datagram, libnet::SockType::Stream] {
        let new = a.inet.socket(Family::Inet6, ty, Protocol::DEFAULT).unwrap();
        assert_eq!(only(new), SocketOption::V6Only(true));
    }
}

#[test]
fn echoes_stop_and_go_on_as_they_are_told() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let ping = a.ping();
    a.inet.bind(ping, at(1, 77)).unwrap();
    let mut echoes = Vec::new();
    for ignore in ["0", "1", "0"] {
        b.inet.set_sysctl("net.ipv4.icmp_echo_ignore_all", ignore).unwrap();
        a.send_to(ping, &[8, 0, 0, 0, 0, 0, 0, 1], at(2, 0)).unwrap();
        net.run_ms(10);
        echoes.push(a.recv(ping).is_ok());
    }
    assert_eq!(echoes, [true, false, true]);
}

#[test]
fn forwarding_is_of_all_of_one_and_of_those_that_come() {
    let net = Net::new();
    let a = net.node(1);
    let one = "net.ipv4.conf.sim0.forwarding";
    let name = a.inet.engine().interface(IfIndex(2)).unwrap().name.clone();
    let one = one.replace("sim0", &name);
    let get = |name: &str| a.inet.sysctl(name).unwrap().to_string();
    let set = |name: &str, value: &str| a.inet.set_sysctl(name, value).unwrap();
    assert_eq!((&*get(&one), &*get("net.ipv4.ip_forward")), ("0", "0"));
    set("net.ipv4.ip_forward", "1");
    assert_eq!((&*get(&one), &*get("net.ipv4.conf.all.forwarding")), ("1", "1"));
    assert_eq!(a.inet.forwarding(Family::Inet), Forwarding::On);
    set(&one, "0");
    assert_eq!((&*get(&one), &*get("net.ipv4.ip_forward")), ("0", "1"));
    set("net.ipv4.ip_forward", "1");
    assert_eq!(get(&one), "1", "of all: said again, it holds again");
    a.inet.set_forwarding(Family::Inet, Forwarding::Off);
    set("net.ipv4.conf.default.forwarding", "1");
    assert_eq!(get(&one), "0");
    let error = a.inet.set_sysctl("net.ipv4.conf.nope.forwarding", "1").unwrap_err();
    assert_eq!(error, SysctlError::NoInterface);
    let router = format!("net.ipv6.conf.{name}.accept_ra");
    set(&router, "1");
    assert_eq!(get(&router), "1");
    set(&router, "0");
    assert_eq!(get(&router), "0");
    let of_lo = a.inet.set_sysctl("net.ipv6.conf.lo0.accept_ra", "1").unwrap_err();
    assert_eq!(of_lo, SysctlError::NotOfThisInterface);
}

#[test]
fn all_settings_are_listed_by_name_with_those_of_each_interface() {
    let net = Net::new();
    let a = net.node(1);
    let listed = a.inet.sysctls();
    assert!(listed.is_sorted_by(|a, b| a.name < b.name));
    for entry in &listed {
        assert_eq!(a.inet.sysctl(&entry.name).unwrap(), entry.value, "{}", entry.name);
    }
    let of_interfaces = listed.iter().filter(|entry| entry.sysctl.is_of_interface()).count();
    assert_eq!(of_interfaces, 2 * 2 + 1, "forwarding of both families, accept_ra of one");
}

#[test]
fn fewer_time_waits_leave_at_once() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(80);
    for _ in 0..4 {
        let client = a.tcp();
        let _ = a.inet.connect(client, at(2, 80));
        net.run_ms(5);
        let (server, _) = b.inet.accept(listener).unwrap();
        a.inet.close(client);
        net.run_ms(5);
        b.inet.close(server);
        net.run_ms(5);
    }
    assert_eq!(a.inet.ownerless().len(), 4);
    a.inet.set_sysctl("net.ipv4.tcp_max_tw_buckets", "1").unwrap();
    assert_eq!(a.inet.ownerless().len(), 1);
}

const FILE: &str = "
# a comment
; another
net.ipv4.tcp_sack = 0
-net.ipv4.tcp_fack=1
net/ipv4/conf/*/forwarding = 1
-net.ipv4.conf.all.forwarding
net.ipv4.conf.shmif1.forwarding = 0
nonsense
net.ipv4.ip_local_port_range = 1000 2000
";

#[test]
fn files_are_read_as_sysctl_d_has_them() {
    let read = parse_file(FILE);
    let errors: Vec<String> =
        read.iter().filter_map(|line| line.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(errors, ["line 9 is not `NAME = VALUE`"]);
    let good: Vec<Assignment> = read.into_iter().filter_map(Result::ok).collect();
    let names = ["all", "shmif0", "shmif1"].map(|name| format!("net.ipv4.conf.{name}.forwarding"));
    let lines: Vec<String> = resolve(&good, &names)
        .into_iter()
        .map(|a| format!("{} {}={} {}", a.line, a.name, a.value.unwrap(), a.may_fail))
        .collect();
    assert_eq!(
        lines,
        [
            "4 net.ipv4.tcp_sack=0 false",
            "5 net.ipv4.tcp_fack=1 true",
            "6 net.ipv4.conf.shmif0.forwarding=1 false",
            "8 net.ipv4.conf.shmif1.forwarding=0 false",
            "10 net.ipv4.ip_local_port_range=1000 2000 false",
        ]
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(name in ".{0,80}", value in ".{0,40}", text in "[-a-z.*?=/# \n0-9]{0,200}") {
        let mut config = InetConfig::default();
        let _ = config.set_sysctl(&name, &value);
        for sysctl in all() {
            let _ = sysctl.kind().parse(&value);
        }
        let read: Vec<Assignment> = parse_file(&text).into_iter().filter_map(Result::ok).collect();
        let _ = resolve(&read, &[name]);
    }

    #[test]
    fn any_setting_at_any_value_leaves_a_configuration_that_gives_it_back(
        which in any::<prop::sample::Index>(), number in any::<u64>(),
    ) {
        let settings: Vec<_> =
            all().filter(|sysctl| sysctl.is_writable() && !sysctl.is_of_interface()).collect();
        let sysctl = which.get(&settings);
        let mut config = InetConfig::default();
        if config.set_sysctl(sysctl.name(), &number.to_string()).is_ok() {
            let value = config.sysctl(sysctl.name()).unwrap();
            config.set_sysctl(sysctl.name(), &value.to_string()).unwrap();
            prop_assert_eq!(config.sysctl(sysctl.name()).unwrap(), value);
        }
    }
}
