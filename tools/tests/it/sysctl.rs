//! `rumpnet sysctl`, and `--sysctl` where a stack is made.

use std::fs;

use crate::process::{Ended, Place, Process};

impl Place {
    fn sysctl(&self, words: &[&str]) -> Ended {
        let ctl = self.path("t.bus.alice.ctl").display().to_string();
        let mut all = vec!["sysctl", "-n", &ctl];
        all.extend(words);
        self.run(&all)
    }

    #[track_caller]
    fn sysctl_says(&self, words: &[&str], out: &str) {
        let ended = self.sysctl(words);
        assert_eq!((ended.status, &*ended.out, &*ended.err), (Some(0), out, ""), "{words:?}");
    }

    #[track_caller]
    fn sysctl_fails(&self, words: &[&str], out: &str, err: &str) {
        let ended = self.sysctl(words);
        assert_eq!((ended.status, &*ended.out, &*ended.err), (Some(1), out, err), "{words:?}");
    }
}

#[test]
fn settings_of_a_live_node_are_shown_and_set_as_procps_does() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    place.sysctl_says(&["net.ipv4.tcp_sack"], "net.ipv4.tcp_sack = 1\n");
    place.sysctl_says(&["net.ipv4.tcp_sack=0"], "net.ipv4.tcp_sack = 0\n");
    place.sysctl_says(&["-q", "-w", "net/ipv4/tcp_dsack=0"], "");
    place.sysctl_says(
        &["net.ipv4.tcp_dsack", "net.ipv4.tcp_sack"],
        "net.ipv4.tcp_dsack = 0\nnet.ipv4.tcp_sack = 0\n",
    );
    place.sysctl_says(&["--values", "net.ipv4.ip_local_port_range"], "32768\t60999\n");
    place.sysctl_says(&["-n", "net.ipv4.tcp_sack"], "0\n");
    place.sysctl_says(&["-b", "net.ipv4.tcp_sack"], "0");
    place.sysctl_says(&["-N", "net.ipv4.tcp_sack"], "net.ipv4.tcp_sack\n");
    place.sysctl_says(&["net.ipv4.conf.shmif0"], "net.ipv4.conf.shmif0.forwarding = 0\n");
    place.sysctl_says(
        &["-a", "-r", "tcp_[ds]*sack$"],
        "net.ipv4.tcp_dsack = 0\nnet.ipv4.tcp_sack = 0\n",
    );
    place.sysctl_says(&["--dry-run", "net.ipv4.tcp_sack=1"], "net.ipv4.tcp_sack = 1\n");
    place.sysctl_says(&["-n", "net.ipv4.tcp_sack"], "0\n");
    let all = place.sysctl(&["-a"]);
    assert!(all.out.lines().count() > 80, "{}", all.out);
    let described = place.sysctl(&["--describe", "net.ipv4.tcp_fin_timeout"]).out;
    assert!(
        described.contains("takes a number from 1 to 2147483 seconds; default 60"),
        "{described}"
    );
    let json = place.sysctl(&["--json", "net.ipv4.tcp_sack"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["value"], &json[0]["default"]), (&"0".into(), &"1".into()));
}

#[test]
fn what_cannot_be_set_is_said_in_procps_words_and_in_ours() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    place.sysctl_fails(
        &["net.ipv4.tcp_sak", "net.ipv4.tcp_sack"],
        "net.ipv4.tcp_sack = 1\n",
        "sysctl: cannot stat /proc/sys/net/ipv4/tcp_sak: No such file or directory\n\
         sysctl: there is no such setting: is it net.ipv4.tcp_sack?\n",
    );
    place.sysctl_fails(
        &["net.ipv4.tcp_app_win=3"],
        "",
        "sysctl: cannot stat /proc/sys/net/ipv4/tcp_app_win: No such file or directory\n\
         sysctl: Linux has this setting, and this stack does not\n",
    );
    place.sysctl_fails(
        &["net.ipv4.tcp_sack=5"],
        "",
        "sysctl: setting key \"net.ipv4.tcp_sack\": Invalid argument\n\
         sysctl: it takes 0 or 1\n",
    );
    place.sysctl_fails(
        &["net.ipv4.tcp_available_congestion_control=reno"],
        "",
        "sysctl: permission denied on key 'net.ipv4.tcp_available_congestion_control'\n\
         sysctl: it can only be read\n",
    );
    place.sysctl_fails(
        &["-w", "net.ipv4.tcp_sack"],
        "",
        "sysctl: command line(0): invalid syntax, continuing...\n",
    );
    place.sysctl_fails(
        &[],
        "",
        "sysctl: no variables specified\nTry `rumpnet sysctl --help' for more information.\n",
    );
    place.sysctl_says(&["-e", "net.foo"], "");
    let ended = place.sysctl(&["-a", "-r", "["]);
    assert_eq!(ended.status, Some(2), "{ended:?}");
}

#[test]
fn files_are_loaded_as_sysctl_d_has_them() {
    let place = Place::new();
    let _alice = place.node("alice", 1);
    let file = place.path("my.conf").display().to_string();
    let text = "# a comment\nnet.ipv4.tcp_sack = 0\nnonsense\n-net.ipv4.nope = 1\n\
                net.ipv4.conf.*.forwarding = 1\n-net.ipv4.conf.lo0.forwarding\n";
    fs::write(&file, text).unwrap();
    place.sysctl_fails(
        &["-p", &file],
        "net.ipv4.tcp_sack = 0\nnet.ipv4.conf.all.forwarding = 1\n\
         net.ipv4.conf.default.forwarding = 1\nnet.ipv4.conf.shmif0.forwarding = 1\n",
        &format!("sysctl: {file}(3): invalid syntax, continuing...\n"),
    );
    place.sysctl_says(&["-n", "net.ipv4.conf.lo0.forwarding"], "0\n");
    let missing = place.path("nope").display().to_string();
    let why = format!("sysctl: cannot open \"{missing}\": No such file or directory\n");
    place.sysctl_fails(&["-p", &missing], "", &why);
    fs::write(&file, "#".repeat(70_000)).unwrap();
    let ended = place.sysctl(&["-p", &file]);
    assert!(ended.err.contains("more than the 49152 bytes"), "{ended:?}");
}

#[test]
fn a_node_starts_with_the_settings_that_it_is_given() {
    let place = Place::new();
    let file = place.path("my.conf").display().to_string();
    fs::write(&file, "net.ipv4.tcp_dsack = 0\nnet.ipv4.conf.*.forwarding = 1\n-net.nope = 1\n")
        .unwrap();
    let (interface, sack) = (place.interface(1), "--sysctl=net.ipv4.tcp_sack=0");
    let alice = Process::start(&["node", &interface, "--name", "alice", sack, "--sysctl", &file]);
    alice.wait_for("answers ping");
    place.sysctl_says(&["-n", "net.ipv4.tcp_sack", "net.ipv4.tcp_dsack"], "0\n0\n");
    place.sysctl_says(&["-n", "net.ipv4.conf.shmif0.forwarding"], "1\n");
    for (setting, why) in [
        ("net.ipv4.tcp_sak=0", "is it net.ipv4.tcp_sack?"),
        ("net.ipv4.tcp_sack=9", "it takes 0 or 1"),
        ("net.ipv4.conf.shmif9.forwarding=1", "there is no interface of that name"),
        ("nope.conf", "cannot read nope.conf"),
    ] {
        let ended = place.run(&["ping", &place.interface(9), "--sysctl", setting, "10.0.0.1"]);
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert!(ended.err.contains(why), "{}", ended.err);
    }
}
