// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network of the rescue system, in a network namespace of its own with a
//! cable to another one, where busybox is the DHCP server.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Ran, TempDir, dacapo_command, finish, requires, run, search_path, temp_dir, try_run,
};

/// Two network namespaces with a cable between `card` in the first and
/// `router` in the second.
struct Cable {
    here: String,
    there: String,
    folder: TempDir,
    server: Option<Child>,
}

impl Cable {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let (here, there) = (format!("dcp{id}{name}a"), format!("dcp{id}{name}b"));
        let this = Self { here, there, folder: temp_dir(), server: None };
        let (here, there) = (this.here.as_str(), this.there.as_str());
        run("ip", &["netns", "add", here]);
        run("ip", &["netns", "add", there]);
        let far = ["peer", "name", "router", "netns", there];
        run("ip", &[&["-n", here, "link", "add", "card", "type", "veth"][..], &far].concat());
        run("ip", &["-n", there, "address", "add", "10.77.0.1/24", "dev", "router"]);
        run("ip", &["-n", there, "link", "set", "dev", "router", "up"]);
        this
    }

    /// Starts a DHCP server at the other end.
    fn serve(&mut self) {
        let config = self.folder.join("udhcpd.conf");
        let leases = self.folder.join("leases");
        fs::write(&leases, "").unwrap();
        let text = format!(
            "start 10.77.0.50\nend 10.77.0.50\ninterface router\nlease_file {leases}\n\
             pidfile {}\noption subnet 255.255.255.0\noption router 10.77.0.1\n\
             option dns 10.77.0.1 10.77.0.2\noption lease 600\n",
            self.folder.join("pid")
        );
        fs::write(&config, text).unwrap();
        let server = Command::new("ip")
            .args(["netns", "exec", &self.there, "udhcpd", "-f", &config])
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
    }

    /// Runs dacapo at this end, as in the rescue system: with its script for
    /// udhcpc, and files of its own where it writes.
    fn dacapo(&self, args: &[&str]) -> Ran {
        for name in ["resolv.conf", "run"] {
            let _ = fs::create_dir(self.folder.path().join("run"));
            if name == "resolv.conf" {
                fs::write(self.folder.join(name), "").unwrap();
            }
        }
        let skeleton = concat!(env!("CARGO_MANIFEST_DIR"), "/initramfs/skeleton");
        // The namespace of the mounts ends with the program.
        let script = format!(
            "set -e\nmkdir -p /usr/share/udhcpc /run/dacapo\n\
             mount --bind {skeleton}/usr/share/udhcpc /usr/share/udhcpc\n\
             mount --bind '{0}' /run/dacapo\nmount --bind '{1}' /etc/resolv.conf\nexec \"$@\"\n",
            self.folder.join("run"),
            self.folder.join("resolv.conf")
        );
        let program = dacapo_command(args);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.here, "sh", "-c", &script, "sh"]);
        command.arg(program.get_program()).args(program.get_args());
        command.env("PATH", search_path()).env("DACAPO_RESCUE", "1");
        finish(command, &[])
    }

    fn resolv_conf(&self) -> String {
        fs::read_to_string(self.folder.join("resolv.conf")).unwrap()
    }

    /// The id of the DHCP client that keeps the address.
    fn client(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("run/udhcpc.card.pid")).ok()?;
        let id = text.trim().to_owned();
        fs::exists(format!("/proc/{id}")).unwrap().then_some(id)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(id) = self.client() {
            let _ = try_run("kill", &[id]);
        }
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in [&self.here, &self.there] {
            let _ = try_run("ip", &["netns", "delete", name]);
        }
    }
}

const NEEDS: [&str; 4] = ["root", "ip", "busybox", "udhcpd"];

#[test]
fn an_address_is_got_from_a_server_and_kept() {
    if !requires(&NEEDS) {
        return;
    }
    let mut cable = Cable::new("d");
    cable.dacapo(&["network"]).success().says("card  off");
    let ran = cable.dacapo(&["network", "set", "dhcp"]).exits(1);
    ran.says("no DHCP server answers on card");
    cable.serve();
    cable.dacapo(&["network", "set", "dhcp"]).success().says("10.77.0.50/24");
    assert!(cable.client().is_some(), "nobody keeps the address");
    let routes = run("ip", &["-n", &cable.here, "route"]);
    assert!(routes.out().contains("default via 10.77.0.1 dev card"), "{routes}");
    run("ip", &["netns", "exec", &cable.here, "ping", "-c", "1", "-W", "5", "10.77.0.1"]);
    let text = cable.resolv_conf();
    assert!(text.contains("nameserver 10.77.0.1\nnameserver 10.77.0.2\n"), "{text}");
    let json = cable.dacapo(&["network", "--json"]).success();
    let card = &json.messages("summary")[0]["interfaces"][0];
    assert_eq!((card["name"].as_str(), card["link"].as_bool()), (Some("card"), Some(true)));
    assert!(card["addresses"].to_string().contains("10.77.0.50/24"), "{json}");
    // By hand: the client must not come and take it away again.
    let client = cable.client();
    let by_hand = "card:10.77.0.60/24:10.77.0.1:10.77.0.9";
    cable.dacapo(&["network", "set", by_hand]).success().says("10.77.0.60/24");
    let end = Instant::now() + Duration::from_secs(10);
    while fs::exists(format!("/proc/{}", client.clone().unwrap())).unwrap() {
        assert!(Instant::now() < end, "the DHCP client is still there");
        thread::sleep(Duration::from_millis(50));
    }
    let shown = run("ip", &["-n", &cable.here, "address", "show", "dev", "card"]);
    assert!(!shown.out().contains("10.77.0.50"), "{shown}");
}

#[test]
fn an_address_is_set_by_hand_or_the_reason_said() {
    if !requires(&NEEDS) {
        return;
    }
    let cable = Cable::new("s");
    // Without a name: the only card with a cable.
    let ran = cable.dacapo(&["network", "set", ":10.77.0.5/24:10.77.0.1:10.77.0.1"]).success();
    ran.says("card  10.77.0.5/24");
    assert_eq!(cable.resolv_conf(), "nameserver 10.77.0.1\n");
    run("ip", &["netns", "exec", &cable.here, "ping", "-c", "1", "-W", "5", "10.77.0.1"]);
    let ran = cable.dacapo(&["network", "set", "card:10.77.0.5/24:10.88.0.1"]).exits(1);
    ran.says("10.88.0.1 is no way out");
    cable.dacapo(&["network", "set", "eth9:dhcp"]).exits(1).says("there is card");
    cable.dacapo(&["network", "set", "card:10.77.0/24"]).exits(2);
    // The other end goes off: as a cable that is pulled.
    run("ip", &["-n", &cable.there, "link", "set", "dev", "router", "down"]);
    cable.dacapo(&["network"]).success().says("card  10.77.0.5/24");
    cable.dacapo(&["network", "set", "dhcp"]).exits(1).says("no network card is connected");
}

#[test]
fn an_installed_system_keeps_its_network() {
    if !requires(&["root"]) {
        return;
    }
    let ran = finish(
        {
            let mut command = dacapo_command(&["network", "set", "lo:10.77.0.5/24"]);
            command.env_remove("DACAPO_RESCUE");
            command
        },
        &[],
    );
    ran.exits(5).says("its own business");
}

#[test]
fn a_folder_that_cannot_be_connected_is_said() {
    if !requires(&["root"]) {
        return;
    }
    let connect = |folder: &str| finish(dacapo_command(&["network", "connect", folder]), &[]);
    connect("nas").exits(2).says("smb://nas/images");
    connect("smb://no-such-name.invalid/x").exits(1).says("no machine is known");
    let ran = connect("nfs://127.0.0.1/x").exits(1);
    ran.says("shares nothing by NFS");
    let ran = connect("smb://me:secret@no-such-name.invalid/x").exits(1);
    assert!(!ran.err().contains("secret"), "{ran}");
    // Without a terminal nobody can be asked.
    let mut command = Command::new("setsid");
    let program = dacapo_command(&["network", "connect", "smb://me@127.0.0.1/x"]);
    command.args(["--wait"]).arg(program.get_program()).args(program.get_args());
    finish(command, &[]).exits(1).says("USER:PASSWORD@");
}
