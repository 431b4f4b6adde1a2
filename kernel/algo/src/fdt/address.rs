//! `reg`: addresses in the parent's terms, and as the CPU sees them.

use super::{MAX_DEPTH, be32, node::Node};

/// The cell counts of a bus: how its children write addresses and sizes.
#[derive(Clone, Copy, Debug)]
struct Width {
    address: usize,
    size: usize,
}

impl Width {
    /// The defaults are those of the specification (2.3.5).
    fn of(bus: &Node<'_>) -> Option<Self> {
        let count = |name, default| bus.property(name).map_or(Some(default), |_| bus.u32(name));
        let width = Self {
            address: count("#address-cells", 2)? as usize,
            size: count("#size-cells", 1)? as usize,
        };
        (width.address <= 3 && width.size <= 2).then_some(width)
    }
}

/// `cells` cells at `at` as one number. Of three cells (PCI) the first, which holds flags, is left out.
fn number(bytes: &[u8], at: usize, cells: usize) -> Option<u64> {
    match cells {
        0 => Some(0),
        1 => be32(bytes, at).map(u64::from),
        2 | 3 => {
            let at = at + (cells - 2) * 4;
            Some(u64::from(be32(bytes, at)?) << 32 | u64::from(be32(bytes, at + 4)?))
        }
        _ => None,
    }
}

/// Iterator of [`Node::reg_raw`]: (address, size) as written, not translated.
#[derive(Clone, Debug)]
pub struct RawReg<'a> {
    rest: &'a [u8],
    width: Width,
}

impl Iterator for RawReg<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let Width { address, size } = self.width;
        let entry = (address + size) * 4;
        if entry == 0 || self.rest.len() < entry {
            return None;
        }
        let item = (number(self.rest, 0, address)?, number(self.rest, address * 4, size)?);
        self.rest = self.rest.get(entry..)?;
        Some(item)
    }
}

/// Iterator of [`Node::reg`]: (address, size) as the CPU sees them. Entries that no ancestor's `ranges` covers are left out.
#[derive(Clone, Debug)]
pub struct Reg<'a> {
    raw: RawReg<'a>,
    /// The ancestors, the root first.
    buses: [Option<Node<'a>>; MAX_DEPTH],
    depth: usize,
}

impl Iterator for Reg<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            let (address, size) = self.raw.next()?;
            if let Some(address) = self.translate(address, size) {
                return Some((address, size));
            }
        }
    }
}

impl Reg<'_> {
    /// Through every bus between the node and the root, which has no `ranges`.
    fn translate(&self, mut address: u64, size: u64) -> Option<u64> {
        for level in (1..self.depth).rev() {
            let bus = self.buses.get(level).copied().flatten()?;
            let above = self.buses.get(level - 1).copied().flatten()?;
            address = through(&bus, &above, address, size)?;
        }
        Some(address)
    }
}

/// An address on a bus as the bus above it has it (specification 2.3.8).
fn through(bus: &Node<'_>, above: &Node<'_>, address: u64, size: u64) -> Option<u64> {
    let ranges = bus.property("ranges")?;
    if ranges.is_empty() {
        return Some(address);
    }
    let child = Width::of(bus)?;
    let parent = Width::of(above)?;
    if child.address > 2 || parent.address > 2 {
        // A PCI bus has several address spaces; its devices are found by configuration, not by `reg`.
        return None;
    }
    let entry = (child.address + parent.address + child.size) * 4;
    if entry == 0 {
        return None;
    }
    ranges.chunks_exact(entry).find_map(|range| {
        let from = number(range, 0, child.address)?;
        let to = number(range, child.address * 4, parent.address)?;
        let len = number(range, (child.address + parent.address) * 4, child.size)?;
        let offset = address.checked_sub(from)?;
        // The whole register block must be covered; an empty one needs only its address.
        (offset < len && size <= len - offset)
            .then(|| to.checked_add(offset))
            .flatten()
    })
}

/// Memory that the devices of a bus reach: an entry of the bus's `dma-ranges` (specification 2.3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRange {
    /// Where the devices see its first byte.
    pub bus_start: u64,
    /// Where the bus above does.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

impl<'a> Node<'a> {
    /// The first entry of the `dma-ranges` of the bus that the node is on, in terms of the bus above that: of the CPU, for buses
    /// right under the root. `None` without the property, or when it is empty (everything is reached, at its own address).
    pub fn dma_range(&self) -> Option<DmaRange> {
        let bus = self.parent()?;
        let (child, parent) = (Width::of(&bus)?, Width::of(&bus.parent()?)?);
        if child.address > 2 || parent.address > 2 {
            return None;
        }
        let range = bus.property("dma-ranges")?;
        Some(DmaRange {
            bus_start: number(range, 0, child.address)?,
            start: number(range, child.address * 4, parent.address)?,
            len: number(range, (child.address + parent.address) * 4, child.size)?,
        })
    }

    /// The entries of `reg` as (address, size) in the terms of the parent.
    pub fn reg_raw(&self) -> RawReg<'a> {
        self.reg_in(self.parent())
    }

    /// The entries of `reg` as (address, size) as the CPU sees them; those that no `ranges` of an ancestor covers are left out.
    pub fn reg(&self) -> Reg<'a> {
        let (buses, depth) = self.ancestors();
        let parent = depth.checked_sub(1).and_then(|last| buses.get(last).copied().flatten());
        Reg {
            raw: self.reg_in(parent),
            buses,
            depth,
        }
    }

    fn reg_in(&self, parent: Option<Node<'a>>) -> RawReg<'a> {
        match parent.and_then(|parent| Width::of(&parent)) {
            Some(width) => RawReg {
                rest: self.property("reg").unwrap_or_default(),
                width,
            },
            None => RawReg {
                rest: &[],
                width: Width { address: 0, size: 0 },
            },
        }
    }
}
