// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on web servers: our own one with bad manners, and others' for good
//! ones: busybox (parts), Python (no parts), OpenSSL (https).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    HttpServer, Ran, TempDir, assert_same, dacapo, dacapo_command, finish, free_port, junk,
    requires, search_path, temp_dir, try_run,
};

const MIB: usize = 1 << 20;

/// A disk, and its image in a folder that is served.
struct Saved {
    folder: TempDir,
    disk: String,
    image: String,
}

/// Of `mib` MiB, half of which compress well.
fn saved(mib: usize) -> Saved {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    let mut bytes = junk(mib * MIB, 5);
    bytes[..mib * MIB / 2].iter_mut().for_each(|byte| *byte &= 3);
    bytes[mib * MIB / 4..][..MIB].fill(0);
    fs::write(&disk, bytes).unwrap();
    let image = folder.join("disk.img.zst");
    dacapo(&["save", &disk, &image, "--quiet"]).success();
    Saved { folder, disk, image }
}

/// dacapo without a proxy between it and the server.
fn direct(args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = dacapo_command(args);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env_remove("SSL_CERT_FILE").envs(environment.iter().copied());
    finish(command, &[])
}

/// All that can be done with an image at an address.
fn read_in_every_way(saved: &Saved, url: &str, environment: &[(&str, &str)]) {
    let (disk, target) = (&saved.disk, saved.folder.join("restored.raw"));
    let _ = fs::remove_file(&target);
    direct(&["restore", url, &target], environment).success();
    assert_same(disk, &target);
    direct(&["verify", url], environment).success().says("all data is good");
    direct(&["compare", url, disk], environment).success().says("has all that is in the image");
    direct(&["info", url], environment).success();
    let map = direct(&["map", url], environment).success();
    let local = dacapo(&["map", &saved.image]).success();
    let lines = |ran: &Ran| ran.out().lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&map), lines(&local));
}

/// A server of somebody else, ended when it is dropped.
struct Stock(Child);

impl Stock {
    /// Starts it and waits until it answers at `port`.
    fn start(command: &mut Command, port: u16) -> Self {
        command.env("PATH", search_path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "{command:?} does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        this
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_at_an_address_is_an_image_like_any_other() {
    let saved = saved(24);
    let server = HttpServer::start(saved.folder.path());
    read_in_every_way(&saved, &server.url("disk.img.zst"), &[]);
    // Verify reads all of it once; not much comes twice.
    let before = server.requests().len();
    direct(&["verify", &server.url("disk.img.zst")], &[]).success();
    let requests = server.requests().len() - before;
    let blocks = fs::metadata(&saved.image).unwrap().len() as usize / MIB + 1;
    assert!(requests <= blocks + 6, "{requests} requests for {blocks} MiB");
}

#[test]
fn of_a_server_without_parts_an_image_is_read_front_to_back() {
    let saved = saved(8);
    let server = HttpServer::start(saved.folder.path());
    server.manners().ranges.store(false, Ordering::SeqCst);
    for lengths in [true, false] {
        server.manners().lengths.store(lengths, Ordering::SeqCst);
        read_in_every_way(&saved, &server.url("disk.img.zst"), &[]);
    }
    direct(&["verify", &server.url("disk.img.zst")], &[]).success().says("front to back");
}

#[test]
fn a_restore_goes_on_after_three_lost_connections() {
    let saved = saved(16);
    let server = HttpServer::start(saved.folder.path());
    for ranges in [true, false] {
        server.manners().ranges.store(ranges, Ordering::SeqCst);
        server.manners().cut_after.store(700_000, Ordering::SeqCst);
        server.manners().cuts.store(3, Ordering::SeqCst);
        let target = saved.folder.join(&format!("restored-{ranges}.raw"));
        direct(&["restore", &server.url("disk.img.zst"), &target], &[]).success();
        assert_eq!(server.manners().cuts.load(Ordering::SeqCst), 0);
        assert_same(&saved.disk, &target);
    }
}

#[test]
fn a_damaged_image_at_an_address_is_called_so() {
    let saved = saved(8);
    let server = HttpServer::start(saved.folder.path());
    let mut bytes = fs::read(&saved.image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(saved.folder.join("damaged"), &bytes).unwrap();
    fs::write(saved.folder.join("cut"), &bytes[..middle]).unwrap();
    fs::write(saved.folder.join("foreign"), junk(MIB, 3)).unwrap();
    for ranges in [true, false] {
        server.manners().ranges.store(ranges, Ordering::SeqCst);
        for name in ["damaged", "cut", "foreign"] {
            direct(&["verify", &server.url(name)], &[]).exits(4);
            let target = saved.folder.join("target.raw");
            direct(&["restore", &server.url(name), &target], &[]).exits(4);
            assert!(!fs::exists(&target).unwrap(), "{name}: a file was left");
        }
    }
}

#[test]
fn what_is_not_there_is_said_in_a_sentence() {
    let saved = saved(4);
    let server = HttpServer::start(saved.folder.path());
    direct(&["info", &server.url("other.img.zst")], &[]).exits(1).says("does not exist");
    let url = server.url("disk.img.zst").replace("http://", "http://me:secret@");
    let ran = direct(&["verify", &url], &[]).success();
    assert!(!ran.to_string().replace(&ran.command, "").contains("secret"), "{ran}");
    drop(server);
    let ran = direct(&["verify", &url], &[]).exits(1).says("refuses the connection");
    assert!(!ran.to_string().replace(&ran.command, "").contains("secret"), "{ran}");
    direct(&["info", "http://nas.invalid/a"], &[]).exits(1).says("no machine is known");
    direct(&["info", "http://nas:x/a"], &[]).exits(2).says("port");
    direct(&["info", "smb://nas/a"], &[]).exits(2).says("smb://");
    let out = "http://127.0.0.1:1/a.img.zst";
    direct(&["save", &saved.disk, out], &[]).exits(2).says("only read");
}

#[test]
fn the_servers_of_others_give_the_same_disk() {
    if !requires(&["busybox", "python3"]) {
        return;
    }
    let saved = saved(16);
    let folder = saved.folder.path();
    let port = free_port();
    let mut busybox = Command::new("busybox");
    busybox.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"]).arg(folder);
    let server = Stock::start(&mut busybox, port);
    let url = format!("http://127.0.0.1:{port}/disk.img.zst");
    read_in_every_way(&saved, &url, &[]);
    let ran = direct(&["verify", &url], &[]).success();
    assert!(!ran.err().contains("front to back"), "{ran}");
    drop(server);
    let port = free_port();
    let mut python = Command::new("python3");
    python
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
        .current_dir(folder);
    let _server = Stock::start(&mut python, port);
    let url = format!("http://127.0.0.1:{port}/disk.img.zst");
    read_in_every_way(&saved, &url, &[]);
    direct(&["verify", &url], &[]).success().says("front to back");
}

/// Makes an authority and a certificate of it for `name`, which is good from
/// `start` on for a day; both as YYYYMMDDHHMMSSZ.
fn make_certificates(folder: &TempDir, name: &str, start: &str, end: &str) {
    let path = |name: &str| folder.join(name);
    let openssl = |args: &[&str]| try_run("openssl", args).success();
    fs::write(path("extensions"), format!("subjectAltName={name}\nbasicConstraints=CA:FALSE\n"))
        .unwrap();
    let (ca_key, ca) = (path("ca.key"), path("ca.pem"));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "3650",
        "-subj",
        "/CN=studio",
        "-keyout",
        &ca_key,
        "-out",
        &ca,
    ]);
    let (key, request) = (path("server.key"), path("server.csr"));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=nas",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    let config = path("ca.conf");
    let database = path("database");
    fs::write(&database, "").unwrap();
    let text = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nnew_certs_dir={}\nrand_serial=yes\n\
         unique_subject=no\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n",
        folder.path().display()
    );
    fs::write(&config, text).unwrap();
    openssl(&[
        "ca",
        "-batch",
        "-notext",
        "-config",
        &config,
        "-cert",
        &ca,
        "-keyfile",
        &ca_key,
        "-in",
        &request,
        "-out",
        &path("server.pem"),
        "-extfile",
        &path("extensions"),
        "-startdate",
        start,
        "-enddate",
        end,
    ]);
}

/// A server with the certificate that was made last.
fn https_server(saved: &Saved) -> (Stock, String) {
    let port = free_port();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")])
        .args(["-cert", "server.pem", "-key", "server.key"])
        .current_dir(saved.folder.path());
    (Stock::start(&mut openssl, port), format!("https://127.0.0.1:{port}/disk.img.zst"))
}

#[test]
fn https_needs_a_certificate_that_is_known_and_in_its_time() {
    if !requires(&["openssl"]) {
        return;
    }
    let saved = saved(4);
    let (start, end) = ("20200101000000Z", "20490101000000Z");
    make_certificates(&saved.folder, "IP:127.0.0.1", start, end);
    let ca = saved.folder.join("ca.pem");
    let own = [("SSL_CERT_FILE", ca.as_str())];
    let (server, url) = https_server(&saved);
    read_in_every_way(&saved, &url, &own);
    // Also at the end of a way that begins without encryption.
    let first = HttpServer::start(saved.folder.path());
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
    *first.manners().answer.lock().unwrap() = Some(answer.into());
    direct(&["verify", &first.url("a.img.zst")], &own).success();
    direct(&["verify", &url], &[]).exits(1).says("signed by nobody who is known here");
    let other = url.replace("127.0.0.1", "localhost");
    direct(&["verify", &other], &own).exits(1).says("is for another name");
    let plain = url.replace("https://", "http://");
    direct(&["verify", &plain], &own).exits(1);
    let none = [("SSL_CERT_FILE", saved.disk.as_str())];
    direct(&["verify", &url], &none).exits(1).says("there are none");
    drop(server);
    for (start, end, words) in
        [(start, "20200102000000Z", "has expired"), ("20480101000000Z", end, "is not valid yet")]
    {
        make_certificates(&saved.folder, "IP:127.0.0.1", start, end);
        let (_server, url) = https_server(&saved);
        let ran = direct(&["verify", &url], &own).exits(1).says(words);
        ran.says("if the clock of this machine is right").says("date -s");
    }
}

#[test]
fn what_speaks_no_https_is_said() {
    let saved = saved(4);
    let server = HttpServer::start(saved.folder.path());
    let url = server.url("disk.img.zst").replace("http://", "https://");
    direct(&["verify", &url], &[]).exits(1).says("http://");
}
