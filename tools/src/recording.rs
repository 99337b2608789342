//! What `--pcap` writes down of a stack, into one pcapng file.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use libnet::capture::pcapng::{CaptureConfig, CaptureFile, PcapngWriter};
use libnet::capture::{CaptureTap, ClockAnchor};
use libnet::driver::Driver as _;
use libnet::driver::threads::ThreadDriver;
use libnet::link::LinkInfo;
use rumpnet::Inet;

use crate::fail::Failure;

/// A capture file that is written. Dropping it writes the rest, and says if that did not work.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: Arc<CaptureFile<BufWriter<File>>>,
}

impl Recording {
    /// Begins a file; one that is there is replaced.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let created =
            File::create(path).and_then(|file| PcapngWriter::new(BufWriter::new(file), "rumpnet"));
        let writer = created.map_err(|error| cannot(path, &error))?;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let anchor = ClockAnchor { driver: ThreadDriver::new().now(), unix };
        let file = CaptureFile::new(writer, anchor, CaptureConfig::default());
        Ok(Recording { path: path.to_owned(), file })
    }

    /// What passes one interface goes into it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn tap(&self, name: &str, link: &LinkInfo) -> Result<Arc<dyn CaptureTap>, Failure> {
        self.file.tap(name, link).map_err(|error| cannot(&self.path, &error))
    }

    /// What passes the interfaces of a stack goes into it; `lo0` too.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn watch(&self, inet: &Inet) -> Result<(), Failure> {
        let engine = inet.engine();
        for iface in engine.interfaces() {
            let tap = self.tap(&iface.name, &iface.link)?;
            if let Some(taps) = engine.taps(iface.index) {
                taps.add(tap);
            }
        }
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        match (self.file.flush(), self.file.skipped()) {
            (Err(error), _) => cannot(&self.path, &error).report(),
            (Ok(()), 0) => {}
            (Ok(()), skipped) => {
                let path = self.path.display();
                Failure::new(format!("{path} is full: {skipped} frames are not in it")).report();
            }
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::doing(format_args!("cannot write {}", path.display()), error)
}
