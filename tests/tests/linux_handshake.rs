//! The kernel's TCP as the peer of what few connections use: segments signed by TCP-MD5, data with the
//! SYN, and handshakes by cookie. Its options are set by Python, which has the socket calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::process::{Child, Command, Stdio};

use libnet::socket::{Family, Md5Key, Protocol, SockType, SocketOption};
use rumpnet::libnetinet::tcp::{FastOpen, SynCookies, TcpCounters};
use rumpnet::virtif::VirtifConfig;
use rumpnet::{InetConfig, Stack, TcpStream};
use rumpnet_tests::linux::{Namespace, PATIENCE, at, inet_of, ip};

const HOST: &str = "10.1.0.1";
const US: &str = "10.1.0.2";
const PORT: u16 = 7000;
const BYTES: usize = 300_000;

/// `peer.py serve|connect|fast [KEY]`: echoes what one connection after the other sends until its
/// end, or sends to us and says how much came back.
const PEER: &str = r#"
import socket, struct, sys
role, key = sys.argv[1], sys.argv[2].encode() if len(sys.argv) > 2 else b""
s = socket.socket()
if key:
    peer = struct.pack("!HH4s120x", 0x0200, 0, socket.inet_aton("10.1.0.2"))
    s.setsockopt(socket.IPPROTO_TCP, 14, peer + struct.pack("=BBHi80s", 0, 0, len(key), 0, key))
if role == "serve":
    s.setsockopt(socket.IPPROTO_TCP, 23, 5)
    s.bind(("10.1.0.1", 7000))
    s.listen(5)
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        while (data := c.recv(65536)):
            c.sendall(data)
        c.close()
data = bytes(300000)
sent = 0
if role == "fast":
    sent = s.sendto(data[:500], 0x20000000, ("10.1.0.2", 7000))
else:
    s.connect(("10.1.0.2", 7000))
s.settimeout(60)
import threading
def send():
    s.sendall(data[sent:])
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = 0
while (more := s.recv(65536)):
    got += len(more)
print(got, flush=True)
"#;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stack beside a namespace of the kernel's, and the script there; `None`, and why on stderr, where
/// that is not allowed.
struct Beside {
    kernel: Namespace,
    stack: Stack,
    script: tempfile::NamedTempFile,
}

impl Beside {
    fn new(change: impl FnOnce(&mut InetConfig)) -> Option<Beside> {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: there is no python3");
            return None;
        }
        let kernel = Namespace::new()?;
        let tap = kernel.tap("wire0", &VirtifConfig::default(), &["10.1.0.1/24"])?;
        kernel.set("ipv4/tcp_fastopen", "3");
        let mut config = InetConfig::default();
        change(&mut config);
        let spec = tap.addr("10.1.0.2/24");
        let stack = Stack::builder().config(config).interface(spec).start().expect("it starts");
        let mut script = tempfile::NamedTempFile::new().expect("a temporary file");
        script.write_all(PEER.as_bytes()).expect("room");
        Some(Beside { kernel, stack, script })
    }

    fn spawn(&self, args: &[&str]) -> Running {
        let mut command = Command::new("python3");
        command.arg(self.script.path()).args(args).stdout(Stdio::piped());
        Running(self.kernel.run(move || command.spawn()).expect("it was looked for"))
    }

    /// The kernel's end listens.
    fn serve(&self, key: &[&str]) -> Running {
        let mut server = self.spawn(&[&["serve"], key].concat());
        let said = first_line(&mut server);
        assert_eq!(said, "ready");
        server
    }

    fn counters(&self) -> TcpCounters {
        inet_of(&self.stack).tcp_counters().remove(0)
    }

    /// Echoes one connection of the kernel's, which says at its end how much came back.
    fn echo(&self, listener: &rumpnet::TcpListener, args: &[&str]) {
        let mut client = self.spawn(args);
        let (mut stream, _) = listener.accept().expect("the kernel connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut buf = vec![0; 1 << 16];
        loop {
            let n = stream.read(&mut buf).expect("data or the end");
            if n == 0 {
                break;
            }
            stream.write_all(&buf[..n]).expect("the kernel takes it");
        }
        drop(stream);
        assert_eq!(first_line(&mut client), BYTES.to_string());
    }
}

fn first_line(child: &mut Running) -> String {
    let mut line = String::new();
    let out = child.0.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("it writes");
    line.trim().to_owned()
}

/// Sends much, and gets it back.
fn converse(stream: &TcpStream, len: usize) {
    let sent: Vec<u8> = (0..len).map(|i| (i * 7 + (i >> 8)) as u8).collect();
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&*stream).write_all(&sent).expect("the kernel takes it");
            stream.shutdown(Shutdown::Write).expect("it is connected");
        });
        (&*stream).read_to_end(&mut back).expect("the kernel answers");
    });
    assert!(back == sent, "{} bytes came back", back.len());
}

#[test]
fn the_kernel_and_we_sign_with_md5_alike() {
    let Some(beside) = Beside::new(|_| {}) else { return };
    let _server = beside.serve(&["secret"]);
    let key = |key: &[u8]| SocketOption::Md5Key(Md5Key::new(ip(HOST), key));
    let open = |option| {
        let socket =
            beside.stack.socket(Family::Inet, SockType::Stream, Protocol::TCP).expect("a socket");
        socket.set_option(option).expect("a key");
        socket
    };
    let socket = open(key(b"secret"));
    socket.connect(at(HOST, PORT)).expect("the kernel believes the signature");
    converse(&TcpStream::from_socket(socket), BYTES);
    // And the other way round.
    let listener = open(key(b"secret"));
    listener.bind(at(US, PORT)).expect("a free port");
    listener.listen(4).expect("it listens");
    let listener = rumpnet::TcpListener::from_socket(listener);
    beside.echo(&listener, &["connect", "secret"]);
    let counters = beside.counters();
    assert_eq!((counters.md5_failures, counters.md5_not_found, counters.md5_unexpected), (0, 0, 0));
}

#[test]
fn the_kernel_and_we_open_fast_by_each_others_cookies() {
    let both = FastOpen::CLIENT.with(FastOpen::SERVER);
    let Some(beside) = Beside::new(|config| config.tcp.fast_open = both) else { return };
    let _server = beside.serve(&[]);
    for done in [0, 1] {
        let stream = beside.stack.tcp_connect_with(at(HOST, PORT), b"first ").expect("a way");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut first = [0; 6];
        (&stream).read_exact(&mut first).expect("the kernel answers");
        assert_eq!(&first, b"first ");
        converse(&stream, 10_000);
        assert_eq!(beside.counters().fast_open_active, done);
    }
    let listener =
        beside.stack.socket(Family::Inet, SockType::Stream, Protocol::TCP).expect("a socket");
    listener.set_option(SocketOption::FastOpenQueue(4)).expect("an option");
    listener.bind(at(US, PORT)).expect("a free port");
    listener.listen(4).expect("it listens");
    let listener = rumpnet::TcpListener::from_socket(listener);
    // The first one gets its cookie, as a connect that waits for it.
    beside.echo(&listener, &["fast"]);
    beside.echo(&listener, &["fast"]);
    let counters = beside.counters();
    assert_eq!((counters.fast_open_cookies_asked, counters.fast_open_passive), (1, 1));
}

#[test]
fn the_kernel_connects_by_our_cookies() {
    let always = |config: &mut InetConfig| config.tcp.syn_cookies = SynCookies::Always;
    let Some(beside) = Beside::new(always) else { return };
    let us: IpAddr = ip(US);
    let listener = beside.stack.tcp_listen((us, PORT)).expect("a free port");
    beside.echo(&listener, &["connect"]);
    let counters = beside.counters();
    assert_eq!((counters.syn_cookies_sent, counters.syn_cookies_received), (1, 1));
}
