//! The log: a region of a disk, a sector a record, past every cache.

use crate::sys::{Fd, What, open};
use sis_workload::{Kind, RECORD_BYTES, REGION_BYTES, Record};

/// Direct I/O wants memory at a multiple of the disk's block.
#[repr(C, align(4096))]
struct Sector([u8; RECORD_BYTES]);

pub(super) struct Log {
    disk: Fd,
    seed: u64,
    worker: u32,
    at: u64,
    end: u64,
    sector: Box<Sector>,
}

impl Log {
    pub(super) fn open(path: &str, seed: u64, worker: u32) -> Result<Self, String> {
        let disk = open(path, libc::O_WRONLY | libc::O_DIRECT | libc::O_CLOEXEC, 0).what(path)?;
        let at = u64::from(worker) * REGION_BYTES;
        Ok(Self {
            disk,
            seed,
            worker,
            at,
            end: at + REGION_BYTES,
            sector: Box::new(Sector([0; RECORD_BYTES])),
        })
    }

    /// When this returns, the disk has it.
    pub(super) fn write(&mut self, kind: Kind, number: u64, text: &str) -> Result<(), String> {
        if self.at >= self.end {
            return Err("the log is full".to_owned());
        }
        let record = Record {
            seed: self.seed,
            worker: self.worker,
            kind,
            number,
            text: text.to_owned(),
        };
        self.sector.0 = record.to_bytes();
        let written = sys!(
            SYS_pwrite64,
            &self.disk,
            self.sector.0.as_ptr(),
            RECORD_BYTES,
            self.at as i64
        )
        .what("writing the log")?;
        if written != RECORD_BYTES as i64 {
            return Err(format!("only {written} bytes of the log written"));
        }
        self.at += RECORD_BYTES as u64;
        Ok(())
    }
}
