//! What a kernel asks of the tree first.

use super::{Fdt, address::Reg, be64, node::Children, node::Node};

/// A range that must not be used as free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation<'a> {
    /// The physical address.
    pub start: u64,
    /// The size in bytes.
    pub size: u64,
    /// The node under `/reserved-memory`; empty for an entry of the reservation block.
    pub name: &'a str,
    /// The kernel must not even map it (`no-map`).
    pub is_no_map: bool,
}

/// The `/chosen` node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The kernel command line.
    pub bootargs: Option<&'a str>,
    /// The initramfs as (start, end) in physical addresses, when both are given and in order.
    pub initrd: Option<(u64, u64)>,
    /// The console: a path or alias with options, for [`Fdt::resolve`].
    pub stdout_path: Option<&'a str>,
    /// Random bytes from the firmware.
    pub rng_seed: Option<&'a [u8]>,
    /// A random number from the firmware for address-space randomisation.
    pub kaslr_seed: Option<u64>,
}

/// A CPU.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'a> {
    /// The affinity fields of MPIDR_EL1.
    pub mpidr: u64,
    /// How it is started: `psci`, `spin-table`.
    pub enable_method: Option<&'a str>,
    /// For `spin-table`: the physical address of the word that it polls.
    pub release_addr: Option<u64>,
    /// Whether its status allows its use.
    pub is_enabled: bool,
    /// The node.
    pub node: Node<'a>,
}

impl<'a> Fdt<'a> {
    /// The ranges of memory, (address, size) in bytes, of all enabled memory nodes under the root; empty ranges are left out.
    pub fn memory(&self) -> Memory<'a> {
        Memory {
            nodes: self.root().children(),
            reg: None,
        }
    }

    /// The reservation block and then the children of `/reserved-memory` that have a `reg`.
    ///
    /// Children without (to be placed by the kernel) are left out: nothing lies there yet.
    pub fn reservations(&self) -> Reservations<'a> {
        Reservations {
            block: self.reserved,
            nodes: self.find("/reserved-memory").map(|node| node.children()),
            current: None,
        }
    }

    /// The `/chosen` node; all fields empty when there is none.
    pub fn chosen(&self) -> Chosen<'a> {
        let Some(node) = self.find("/chosen") else {
            return Chosen::default();
        };
        let initrd = node
            .u64("linux,initrd-start")
            .zip(node.u64("linux,initrd-end"))
            .filter(|(start, end)| start < end);
        Chosen {
            bootargs: node.str("bootargs"),
            initrd,
            stdout_path: node.str("stdout-path").or_else(|| node.str("linux,stdout-path")),
            rng_seed: node.property("rng-seed"),
            kaslr_seed: node.u64("kaslr-seed"),
        }
    }

    /// The CPUs in the order of the tree. A node without `reg` is left out.
    pub fn cpus(&self) -> impl Iterator<Item = Cpu<'a>> + use<'a> {
        let parent = self.find("/cpus");
        parent.into_iter().flat_map(|parent| {
            let is_cpu = |node: &Node<'a>| node.str("device_type") == Some("cpu") || node.base_name() == "cpu";
            parent.children().filter(is_cpu).filter_map(move |node| {
                let (mpidr, _) = node.reg_raw().next()?;
                Some(Cpu {
                    mpidr,
                    enable_method: node.str("enable-method").or_else(|| parent.str("enable-method")),
                    release_addr: node.u64("cpu-release-addr"),
                    is_enabled: node.is_enabled(),
                    node,
                })
            })
        })
    }
}

/// Iterator of [`Fdt::memory`].
#[derive(Clone, Debug)]
pub struct Memory<'a> {
    nodes: Children<'a>,
    reg: Option<Reg<'a>>,
}

impl Iterator for Memory<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            if let Some(range) = self.reg.as_mut().and_then(|reg| reg.find(|(_, size)| *size > 0)) {
                return Some(range);
            }
            let is_memory = |node: &Node<'_>| match node.str("device_type") {
                Some(kind) => kind == "memory",
                None => node.base_name() == "memory",
            };
            self.reg = Some(self.nodes.find(|node| is_memory(node) && node.is_enabled())?.reg());
        }
    }
}

/// Iterator of [`Fdt::reservations`].
#[derive(Clone, Debug)]
pub struct Reservations<'a> {
    block: &'a [u8],
    nodes: Option<Children<'a>>,
    current: Option<(Node<'a>, Reg<'a>)>,
}

impl<'a> Iterator for Reservations<'a> {
    type Item = Reservation<'a>;

    fn next(&mut self) -> Option<Reservation<'a>> {
        // The block ends with an entry of two zeros (specification 5.3).
        if let Some((start, size)) = be64(self.block, 0).zip(be64(self.block, 8)) {
            if (start, size) != (0, 0) {
                self.block = self.block.get(16..).unwrap_or_default();
                return Some(Reservation {
                    start,
                    size,
                    name: "",
                    is_no_map: false,
                });
            }
            self.block = &[];
        }
        loop {
            if let Some((node, reg)) = &mut self.current
                && let Some((start, size)) = reg.next()
            {
                let is_no_map = node.property("no-map").is_some();
                return Some(Reservation {
                    start,
                    size,
                    name: node.name(),
                    is_no_map,
                });
            }
            let node = self.nodes.as_mut()?.find(Node::is_enabled)?;
            self.current = Some((node, node.reg()));
        }
    }
}
