use std::boxed::Box;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use sis_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockOp, BlockRequest, BusAddr, DmaBuffer, DmaWindow, OutOfRange,
    PhysAddr, ScatterList, Segment,
};

use super::sim::{Fault, SimCard, SimSdhci, SimState};
use super::{BusMode, CardError, CardPower, DmaSetup, HostConfig, PowerRefused, QUEUE_DEPTH, SdDisk, Sdhci};
use crate::sim::{Absent, Sim, SimClock, SimDma};

mod faults;
mod identify;
mod transfers;

const ALIAS: u64 = 0xc000_0000;
const WINDOW: DmaWindow = DmaWindow {
    start: PhysAddr(0),
    len: 0x4000_0000,
    bus_start: BusAddr(ALIAS),
};

type Host = Sdhci<&'static Sim<SimSdhci>, SimClock, &'static SimDma>;
type Disk = SdDisk<&'static Sim<SimSdhci>, SimClock, &'static SimDma>;

/// Memory that is never freed.
fn dma(bus: BusAddr, len: usize) -> &'static SimDma {
    Box::leak(Box::new(SimDma::new(bus, len)))
}

/// Memory of a request: pieces of simulated memory.
struct Pages {
    pieces: Vec<&'static SimDma>,
    segments: Vec<Segment>,
}

impl Pages {
    fn locate(&self, offset: usize, len: usize) -> Result<Vec<(&'static SimDma, usize)>, OutOfRange> {
        // Byte by byte is fast enough, and right.
        let total: usize = self.pieces.iter().map(|p| p.len()).sum();
        if offset + len > total {
            return Err(OutOfRange);
        }
        let mut out = Vec::new();
        let mut base = 0;
        for piece in &self.pieces {
            for at in 0..piece.len() {
                if (offset..offset + len).contains(&(base + at)) {
                    out.push((*piece, at));
                }
            }
            base += piece.len();
        }
        Ok(out)
    }

    fn bytes(&self) -> Vec<u8> {
        let len = self.pieces.iter().map(|p| p.len()).sum();
        let mut out = std::vec![0; len];
        let mut at = 0;
        for piece in &self.pieces {
            DmaBuffer::read(*piece, 0, &mut out[at..at + piece.len()]).unwrap();
            at += piece.len();
        }
        out
    }
}

impl ScatterList for Pages {
    fn segments(&self) -> &[Segment] {
        &self.segments
    }
    fn sync_for_device(&self) {
        for piece in &self.pieces {
            piece.sync_for_device(0..piece.len());
        }
    }
    fn sync_for_cpu(&self) {
        for piece in &self.pieces {
            piece.sync_for_cpu(0..piece.len());
        }
    }
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let places = self.locate(offset, out.len())?;
        for (to, (piece, at)) in out.iter_mut().zip(places) {
            DmaBuffer::read(piece, at, core::slice::from_mut(to))?;
        }
        Ok(())
    }
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        for (from, (piece, at)) in data.iter().zip(self.locate(offset, data.len())?) {
            DmaBuffer::write(piece, at, core::slice::from_ref(from))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Ended {
    results: Mutex<Vec<(u64, Result<(), BlockError>)>>,
    removals: Mutex<u32>,
}

impl BlockCompletion for Ended {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        self.results.lock().unwrap().push((tag, result));
    }
    fn removed(&self) {
        *self.removals.lock().unwrap() += 1;
    }
}

/// A board's regulators: counts, and can refuse 1.8 V.
#[derive(Default)]
struct Regulators {
    is_refusing: bool,
    asked: Mutex<Vec<bool>>,
}

impl CardPower for Regulators {
    fn set_power(&self, _is_on: bool) -> Result<(), PowerRefused> {
        Ok(())
    }
    fn set_signal_1_8(&self, is_1_8: bool) -> Result<(), PowerRefused> {
        self.asked.lock().unwrap().push(is_1_8);
        if is_1_8 && self.is_refusing {
            Err(PowerRefused)
        } else {
            Ok(())
        }
    }
}

struct Bench {
    sim: &'static Sim<SimSdhci>,
    host: Arc<Host>,
    ended: &'static Ended,
}

impl Bench {
    fn with(device: SimSdhci, config: HostConfig, power: Option<&'static dyn CardPower>) -> Self {
        let sim: &'static Sim<SimSdhci> = Box::leak(Box::new(Sim::new(device)));
        let table = dma(BusAddr(ALIAS + 0x10_0000), 4096);
        let bounce = dma(BusAddr(ALIAS + 0x20_0000), 0x4000);
        sim.device().add_memory(table);
        sim.device().add_memory(bounce);
        let setup = DmaSetup {
            window: WINDOW,
            table,
            bounce,
        };
        let host = Sdhci::new(sim, SimClock::default(), config, power, Some(setup)).unwrap();
        Self {
            sim,
            host,
            ended: Box::leak(Box::default()),
        }
    }

    fn new(card: SimCard) -> Self {
        Self::with(SimSdhci::new(Some(card)), HostConfig::PLAIN, None)
    }

    fn attach(&self) -> Disk {
        let disk = self.host.attach().unwrap();
        disk.set_completion(self.ended);
        self.sim.device().commands.clear();
        self.sim.device().clocks.clear();
        disk
    }

    /// Memory of these pieces: physical address and bytes. What the controller does not reach is not on its bus.
    fn memory(&self, pieces: &[(u64, usize)]) -> Arc<Pages> {
        let mut pages = Pages {
            pieces: Vec::new(),
            segments: Vec::new(),
        };
        for (addr, len) in pieces {
            let piece = dma(BusAddr(addr.wrapping_add(ALIAS)), *len);
            if addr + *len as u64 <= WINDOW.len {
                self.sim.device().add_memory(piece);
            }
            pages.pieces.push(piece);
            pages.segments.push(Segment {
                addr: PhysAddr(*addr),
                len: *len as u32,
            });
        }
        Arc::new(pages)
    }

    /// Lets interrupts happen until nothing moves any more.
    fn run(&self, disk: &Disk) {
        for _ in 0..100_000 {
            let is_interrupting = self.sim.device().is_interrupting();
            if is_interrupting {
                disk.poll();
            } else if !self.sim.device().tick() {
                return;
            }
        }
        panic!("interrupts without end");
    }

    fn take(&self) -> Vec<(u64, Result<(), BlockError>)> {
        core::mem::take(&mut self.ended.results.lock().unwrap())
    }

    /// Runs one request to its end.
    fn one(&self, disk: &Disk, request: BlockRequest) -> Result<(), BlockError> {
        let tag = request.tag;
        disk.submit(0, request).map_err(|(_, error)| error)?;
        self.run(disk);
        let ended = self.take();
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert_eq!(ended[0].0, tag);
        ended[0].1
    }
}

fn request(op: BlockOp, first_sector: u64, sector_count: u32, memory: Option<Arc<Pages>>) -> BlockRequest {
    BlockRequest {
        op,
        first_sector,
        sector_count,
        memory: memory.map(|m| m as Arc<dyn ScatterList>),
        tag: first_sector.wrapping_add(1000),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// A card whose medium is a pattern.
fn patterned(sectors: usize) -> SimCard {
    let mut card = SimCard::new(sectors);
    card.medium = pattern(sectors * 512);
    card
}
