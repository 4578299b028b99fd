//! A PostgreSQL server of the tests' own: on a Unix socket in a temporary folder, stopped when the last test lets go of it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// A running server.
pub struct Server {
    folder: tempfile::TempDir,
    process: Child,
    databases: AtomicU32,
}

impl Server {
    /// The server that other tests of this process use, or a new one.
    pub fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match shared.upgrade() {
            Some(server) => server,
            None => {
                let server = Arc::new(Server::start());
                *shared = Arc::downgrade(&server);
                server
            }
        }
    }

    /// Starts one (about a second).
    pub fn start() -> Server {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a temporary folder");
        if is_root() {
            // initdb and postgres refuse to run as root.
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("data");
        run(tool("initdb").args(["-A", "trust", "-U", "postgres", "-D"]).arg(&data).stdout(Stdio::null()));
        let process = serve(folder.path());
        let server = Server { folder, process, databases: AtomicU32::new(0) };
        server.wait_until_up();
        server
    }

    /// Stops it as a power cut would.
    pub fn cut(&mut self) {
        let stop = ["-m", "immediate", "stop"];
        assert!(run_quietly(tool("pg_ctl").arg("-D").arg(self.folder.path().join("data")).args(stop)));
        let _ = self.process.wait();
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.process = serve(self.folder.path());
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.psql("postgres", "SELECT 1") {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A new database; gives its address.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        assert!(self.psql("postgres", &format!("CREATE DATABASE {name}")), "{name} can't be made");
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{name}")
    }

    fn psql(&self, database: &str, statement: &str) -> bool {
        let mut psql = Command::new(binaries().join("psql"));
        psql.arg("-h").arg(self.folder.path()).args(["-U", "postgres", "-d", database, "-qc", statement]);
        psql.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = ["-m", "immediate", "stop"];
        let _ = run_quietly(tool("pg_ctl").arg("-D").arg(self.folder.path().join("data")).args(stop));
        let _ = self.process.wait();
        if is_root() {
            let _ = run_quietly(Command::new("chown").arg("-R").arg("root").arg(self.folder.path()));
        }
    }
}

fn serve(folder: &Path) -> Child {
    let mut postgres = tool("postgres");
    postgres.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    postgres.args(["-c", "listen_addresses=", "-c", "max_connections=200"]);
    postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres starts")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed: run `make setup`");
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max();
    newest.expect("PostgreSQL is not installed: run `make setup`").join("bin")
}

/// A program of PostgreSQL, run as its own user.
fn tool(name: &str) -> Command {
    let program = binaries().join(name);
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(Path::new("/tmp"));
    command
}

fn run(command: &mut Command) {
    assert!(command.status().expect("the program runs").success(), "{command:?} failed");
}

fn run_quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
