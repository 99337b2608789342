//! `rumpnet httpd` and `fetch`: with each other over a bus, and with programs of the host through
//! `forward`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::process::{Ended, PATIENCE, Place, Process};
use crate::sockin::free_port;

/// A folder to be served, and a secret beside it.
fn site(place: &Place) -> String {
    let root = place.path("site");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(root.join("indexed")).unwrap();
    fs::write(place.path("secret"), "secret").unwrap();
    fs::write(root.join("digits.txt"), "0123456789").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("sub/a b&c"), "in sub").unwrap();
    fs::write(root.join("indexed/index.html"), "<p>index</p>").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
    root.display().to_string()
}

/// Writes 64 MiB without a pattern; their hash.
fn big_file(path: &Path) -> String {
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..(64 << 20) / 8)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.rotate_left(29).to_le_bytes()
        })
        .collect();
    fs::write(path, &bytes).unwrap();
    hash(&bytes)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that is up; where it listens.
fn httpd(args: &[&str]) -> (Process, SocketAddr) {
    let mut all = vec!["httpd", "--json"];
    all.extend(args);
    let server = Process::start(&all);
    let up: Value = serde_json::from_str(&server.wait_for("\"up\"")).unwrap();
    (server, up["at"].as_str().unwrap().parse().unwrap())
}

/// A server on the bus, at 10.0.0.1:80.
fn httpd_on_bus(place: &Place, root: &str) -> Process {
    httpd(&[&format!("{},create", place.interface(1)), root]).0
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request as it is; all that comes back.
fn ask(at: SocketAddr, request: &str) -> String {
    let mut stream = connect(at);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A request of a method and a path, with more headers.
fn get(at: SocketAddr, line: &str, headers: &str) -> String {
    ask(at, &format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"))
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn starts(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "not {status}: {answer}");
}

#[test]
fn files_folders_and_their_versions_are_served() {
    let place = Place::new();
    let (server, at) = httpd(&["--sockin", "-p", "0", &site(&place)]);
    assert!(at.ip().is_loopback(), "not for the host's network unless asked for");
    let whole = get(at, "GET /digits.txt", "");
    starts(&whole, "200");
    assert!(whole.ends_with("\r\n\r\n0123456789"), "{whole}");
    assert_eq!(header(&whole, "content-type"), "text/plain; charset=utf-8");
    let head = get(at, "HEAD /digits.txt", "");
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
    assert_eq!(header(&head, "content-length"), "10");
    assert_eq!(header(&get(at, "GET /empty", ""), "content-length"), "0");
    assert!(get(at, "GET /sub/a%20b%26c", "").ends_with("\r\n\r\nin sub"));
    let folder = get(at, "GET /sub?x", "");
    starts(&folder, "301");
    assert_eq!(header(&folder, "location"), "/sub/?x");
    assert_eq!(header(&get(at, "GET //sub", ""), "location"), "/sub/", "not another host");
    assert!(get(at, "GET /sub/", "").contains("<a href=\"a%20b%26c\">a b&amp;c</a>"));
    assert!(get(at, "GET /indexed/", "").ends_with("<p>index</p>"));
    for (name, condition) in [("etag", "If-None-Match"), ("last-modified", "If-Modified-Since")] {
        let version = header(&whole, name);
        let known = get(at, "GET /digits.txt", &format!("{condition}: {version}\r\n"));
        starts(&known, "304");
        assert!(known.ends_with("\r\n\r\n"), "{known}");
    }
    let old = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    starts(&get(at, "GET /digits.txt", old), "200");
    server.signal(Signal::SIGINT);
    let end: Value = serde_json::from_str(&server.wait_for("\"end\"")).unwrap();
    assert_eq!((&end["answers"]["3xx"], &end["answers"]["4xx"]), (&4.into(), &0.into()));
    assert_eq!(server.finish().status, Some(0));
}

#[test]
fn parts_of_files_are_served() {
    let place = Place::new();
    let (_server, at) = httpd(&["--sockin", "-p", "0", &site(&place)]);
    let part = |headers: &str| get(at, "GET /digits.txt", headers);
    for (range, told, body) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-1", "bytes 9-9/10", "9"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
    ] {
        let answer = part(&format!("Range: {range}\r\n"));
        starts(&answer, "206");
        assert_eq!(header(&answer, "content-range"), told);
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{range}: {answer}");
    }
    let none = part("Range: bytes=10-\r\n");
    starts(&none, "416");
    assert_eq!(header(&none, "content-range"), "bytes */10");
    let tag = header(&part(""), "etag").to_owned();
    starts(&part(&format!("Range: bytes=1-2\r\nIf-Range: {tag}\r\n")), "206");
    starts(&part("Range: bytes=1-2\r\nIf-Range: \"other\"\r\n"), "200");
    let head = get(at, "HEAD /digits.txt", "Range: bytes=2-4\r\n");
    starts(&head, "200");
    assert_eq!(header(&head, "content-length"), "10");
}

#[test]
fn what_may_not_be_had_is_refused() {
    let place = Place::new();
    let (server, at) = httpd(&["--sockin", "-p", "0", &site(&place)]);
    for path in
        ["/none", "/../secret", "/%2e%2e/secret", "/sub/../../secret", "/out", "/digits.txt/"]
    {
        let answer = get(at, &format!("GET {path}"), "");
        starts(&answer, "404");
        assert!(!answer.ends_with("secret"), "{path}: {answer}");
    }
    let post = get(at, "POST /digits.txt", "Content-Length: 0\r\n");
    starts(&post, "405");
    assert_eq!(header(&post, "allow"), "GET, HEAD");
    starts(&get(at, "GET /%zz", ""), "400");
    starts(&get(at, "GET /a%00b", ""), "400");
    starts(&ask(at, "GET / HTTP/1.1\r\n\r\n"), "400");
    starts(&get(at, "GET /", "Host: y\r\n"), "400");
    starts(&ask(at, "what is this\r\n\r\n"), "400");
    starts(&get(at, &format!("GET /{}", "x".repeat(10_000)), ""), "414");
    starts(&get(at, "GET /", &format!("X: {}\r\n", "x".repeat(100_000))), "431");
    starts(&get(at, "GET /", &"X: y\r\n".repeat(200)), "431");
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn a_refusal_is_heard_by_who_is_still_sending() {
    let place = Place::new();
    let (server, at) = httpd(&["--sockin", "-p", "0", &site(&place)]);
    let mut client = connect(at);
    let body = vec![b'x'; 4 << 20];
    let head = format!("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    starts(&answer, "405");
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn a_connection_carries_several_requests() {
    let place = Place::new();
    let (server, at) = httpd(&["--sockin", "-p", "0", &site(&place)]);
    let one = "GET /digits.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(ask(at, &one.repeat(20)).matches("0123456789").count(), 20);
    server.signal(Signal::SIGINT);
    assert!(server.wait_for("\"end\"").contains("\"connections\":1,"));
}

#[test]
fn slow_clients_lose_their_connection() {
    let place = Place::new();
    let root = site(&place);
    big_file(&Path::new(&root).join("big"));
    let (server, at) = httpd(&["--sockin", "-vv", "--timeout", "0.3", "-p", "0", &root]);
    for begun in ["", "GET /digits.txt HT", "GET / HTTP/1.1\r\nHost: x\r\nX: "] {
        let mut client = connect(at);
        client.write_all(begun.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(!answer.contains(" 200 "), "{begun}: {answer}");
    }
    // One that asks and takes nothing.
    let mut client = connect(at);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.wait_for_error("uri=/big");
    server.wait_for_error("connection ended");
    drop(client);
}

#[test]
fn what_cannot_be_served_is_told() {
    let place = Place::new();
    let interface = format!("{},create", place.interface(1));
    let told = |args: &[&str]| {
        let mut all = vec!["httpd"];
        all.extend(args);
        let ended = place.run(&all);
        assert_eq!(ended.status, Some(2), "{args:?}: {ended:?}");
        ended.err
    };
    assert!(told(&[&interface, "/nowhere"]).contains("cannot serve /nowhere: No such file"));
    assert!(told(&[&interface, "/etc/passwd"]).contains("Not a directory"));
    assert!(told(&["."]).contains("httpd needs an interface"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(told(&["--sockin", "-p", &port, "."]).contains("Address already in use: take another"));
}

/// `fetch` from 10.0.0.2.
fn fetch(place: &Place, args: &[&str]) -> Ended {
    let interface = place.interface(2);
    let mut all = vec!["fetch", &interface];
    all.extend(args);
    place.run(&all)
}

#[test]
fn a_file_crosses_the_bus_whole_or_not_at_all() {
    let place = Place::new();
    let root = site(&place);
    let sum = big_file(&Path::new(&root).join("big"));
    let server = httpd_on_bus(&place, &root);
    let saved = place.path("saved").display().to_string();
    let ended = fetch(&place, &["10.0.0.1/big", "-o", &saved, "--sha256", &sum, "--json"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&report["bytes"], &report["sha256"]), (&(64 << 20).into(), &sum[..].into()));
    assert_eq!(hash(&fs::read(&saved).unwrap()), sum);
    let other = place.path("other").display().to_string();
    let ended = fetch(&place, &["10.0.0.1/digits.txt", "-o", &other, "--sha256", &sum]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("its SHA-256 is"), "{}", ended.err);
    assert!(!place.path("other").exists());
    let names: Vec<_> =
        fs::read_dir(place.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("fetch-")), "{names:?}");
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn fetch_prints_follows_and_fails_as_asked() {
    let place = Place::new();
    let _server = httpd_on_bus(&place, &site(&place));
    let ended = fetch(&place, &["http://10.0.0.1/digits.txt"]);
    assert_eq!((ended.status, &ended.out[..], &ended.err[..]), (Some(0), "0123456789", ""));
    let ended = fetch(&place, &["10.0.0.1/digits.txt", "-H", "Range: bytes=3-5"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "345"));
    let ended = fetch(&place, &["10.0.0.1/indexed"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "<p>index</p>"), "a redirect is followed");
    let ended = fetch(&place, &["10.0.0.1/indexed", "--max-redirects", "0"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("more than 0 redirects"), "{}", ended.err);
    let ended = fetch(&place, &["-I", "10.0.0.1/digits.txt"]);
    assert!(ended.out.starts_with("HTTP/1.1 200 OK\n"), "{}", ended.out);
    assert!(ended.out.contains("content-length: 10\n"), "{}", ended.out);
    let ended = fetch(&place, &["10.0.0.1/none"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "404 Not Found\n"));
    let ended = fetch(&place, &["-f", "10.0.0.1/none"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(1), ""));
    assert_eq!(ended.err, "rumpnet: http://10.0.0.1/none: the server says 404 Not Found\n");
    let ended = fetch(&place, &["10.0.0.1:81/"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("Connection refused: nothing listens there"), "{}", ended.err);
    let ended = fetch(&place, &["https://10.0.0.1/"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.err.contains("`https:` is not there"), "{}", ended.err);
}

/// Answers one request with `answer`, whatever it is, and closes.
fn answer_once(answer: impl Into<String>) -> (SocketAddr, std::thread::JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (at, thread)
}

#[test]
fn an_answer_that_is_cut_short_is_no_file() {
    let place = Place::new();
    for (answer, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", "ended before the answer did"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n", "ended before"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "ended before"),
        ("SSH-2.0-x\r\n", "none of HTTP"),
        ("", "ended before the answer did"),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
            "`https:` is not there",
        ),
    ] {
        let (at, server) = answer_once(answer);
        let file = place.path("file").display().to_string();
        let ended = place.run(&["fetch", "--sockin", &format!("http://{at}/"), "-o", &file]);
        assert_eq!(ended.status, Some(1), "{answer}: {ended:?}");
        assert!(ended.err.contains(told), "{answer}: {}", ended.err);
        assert!(!place.path("file").exists(), "{answer}");
        server.join().unwrap();
    }
    let (at, server) = answer_once("HTTP/1.0 200 OK\r\n\r\nall until the end");
    let ended =
        place.run(&["fetch", "--sockin", &format!("http://{at}/a?b"), "-H", "Host: example.org"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "all until the end"));
    let request = server.join().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /a?b http/1.1\r\n"), "{request}");
    assert!(request.contains("host: example.org\r\n") && request.matches("host:").count() == 1);
}

#[test]
fn what_is_for_one_server_is_not_told_to_another() {
    let place = Place::new();
    let (there, other) = answer_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nit");
    let moved =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{there}/x\r\nContent-Length: 0\r\n\r\n");
    let (here, first) = answer_once(moved);
    let mut args = vec!["fetch".to_owned(), "--sockin".to_owned(), format!("http://{here}/")];
    let personal = ["authorization: a", "cookie: b", "proxy-authorization: c", "host: example.org"];
    for header in personal.iter().chain(&["x-own: d"]) {
        args.extend(["-H".to_owned(), (*header).to_owned()]);
    }
    let ended = place.run(&args);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "it"), "{ended:?}");
    let [first, other] = [first, other].map(|server| server.join().unwrap().to_ascii_lowercase());
    for header in personal {
        assert!(first.contains(&format!("{header}\r\n")), "{header}: {first}");
        assert!(!other.contains(&format!("{header}\r\n")), "{header}: {other}");
    }
    assert!(other.contains("x-own: d\r\n"), "{other}");
    assert!(other.contains(&format!("host: {there}\r\n")), "{other}");
}

fn is_installed(tool: &str) -> bool {
    let tried = Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if tried.is_err() {
        println!("skipped: {tool} is not installed");
    }
    tried.is_ok()
}

/// A relay from the host's loopback to 10.0.0.1:80; where it listens.
fn outward(place: &Place) -> (Process, SocketAddr) {
    let relay = Process::start(&["forward", "--json", &place.interface(3), "-o", "0=10.0.0.1:80"]);
    let up: Value = serde_json::from_str(&relay.wait_for("\"up\"")).unwrap();
    let at = up["mappings"][0]["at"].as_str().unwrap().parse().unwrap();
    (relay, at)
}

fn curl(args: &[&str]) -> Vec<u8> {
    let output =
        Command::new("curl").args(["-sS", "--max-time", "60"]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn curl_gets_files_from_the_bus() {
    if !is_installed("curl") {
        return;
    }
    let place = Place::new();
    let root = site(&place);
    let sum = big_file(&Path::new(&root).join("big"));
    let server = httpd_on_bus(&place, &root);
    let (relay, at) = outward(&place);
    let url = |path: &str| format!("http://{at}/{path}");
    assert_eq!(hash(&curl(&[&url("big")])), sum);
    assert_eq!(curl(&["-r", "2-4", &url("digits.txt")]), b"234");
    let big = fs::read(Path::new(&root).join("big")).unwrap();
    assert!(curl(&["-r", "1000000-30000000", &url("big")]) == big[1_000_000..=30_000_000]);
    assert_eq!(curl(&["-L", &url("indexed")]), b"<p>index</p>");
    let codes = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url("none")]);
    assert_eq!(codes, b"404");
    let stamp = place.path("stamp").display().to_string();
    curl(&["-R", "-o", &stamp, &url("digits.txt")]);
    let known = curl(&["-z", &stamp, "-o", "/dev/null", "-w", "%{http_code}", &url("digits.txt")]);
    assert_eq!(known, b"304");
    let two = curl(&[
        "-w",
        "%{num_connects}\n",
        "-o",
        "/dev/null",
        &url("empty"),
        "-o",
        "/dev/null",
        &url("empty"),
    ]);
    assert_eq!(two, b"1\n0\n", "the connection is kept");
    assert_eq!(relay.stop(Signal::SIGINT).status, Some(0));
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

#[test]
fn ab_makes_ten_thousand_requests() {
    if !is_installed("ab") {
        return;
    }
    let place = Place::new();
    let server = httpd_on_bus(&place, &site(&place));
    let (relay, at) = outward(&place);
    for (requests, more) in [("8000", &["-k"][..]), ("2000", &[])] {
        let mut ab = Command::new("ab");
        ab.args(["-q", "-n", requests, "-c", "50"]).args(more);
        let output = ab.arg(format!("http://{at}/digits.txt")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let row = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(row("Complete requests:"), Some(requests), "{said}");
        assert_eq!(row("Failed requests:"), Some("0"), "{said}");
        assert_eq!(row("Non-2xx responses:"), None, "{said}");
    }
    drop(relay);
    assert_eq!(server.stop(Signal::SIGINT).status, Some(0));
}

/// The system's nginx, on a free port of the loopback.
struct Nginx {
    child: Child,
    port: String,
}

impl Nginx {
    fn start(place: &Place, root: &str) -> Self {
        let port = free_port();
        let folder = place.path("nginx");
        fs::create_dir(&folder).unwrap();
        let folder = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
        );
        let path = place.path("nginx.conf");
        fs::write(&path, config).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Nginx { child, port };
        // It says nothing when it is ready.
        let deadline = std::time::Instant::now() + PATIENCE;
        while TcpStream::connect(format!("127.0.0.1:{}", nginx.port)).is_err() {
            assert!(std::time::Instant::now() < deadline, "nginx does not listen");
            std::thread::yield_now();
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // One that has ended already is what it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn fetch_gets_files_from_nginx() {
    if !is_installed("nginx") {
        return;
    }
    let place = Place::new();
    let root = site(&place);
    let sum = big_file(&Path::new(&root).join("big"));
    let nginx = Nginx::start(&place, &root);
    let interface = format!("{},create", place.interface(1));
    let relay = Process::start(&["forward", &interface, &format!("80=127.0.0.1:{}", nginx.port)]);
    relay.wait_for("tcp [::]:80 of the stack leads to 127.0.0.1:");
    let file = place.path("file").display().to_string();
    let ended = fetch(&place, &["10.0.0.1/big", "-o", &file, "--sha256", &sum]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let ended = fetch(&place, &["10.0.0.1/digits.txt", "-H", "Range: bytes=-3"]);
    assert_eq!((ended.status, &ended.out[..]), (Some(0), "789"));
    let ended = fetch(&place, &["-f", "10.0.0.1/none"]);
    assert!(ended.err.contains("the server says 404"), "{}", ended.err);
    assert_eq!(relay.stop(Signal::SIGINT).status, Some(0));
}
