//! Finding a board's devices: the device tree where it speaks, the manual's numbers where it does not.

use sis_algo::fdt::Fdt;
use sis_hal::{DeviceSpec, IrqNumber, PhysAddr, Trigger};

/// A device that a board has.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// Register ranges: first address and bytes.
    pub registers: [Option<(PhysAddr, usize)>; 4],
    /// Its first interrupt.
    pub irq: Option<(IrqNumber, Trigger)>,
}

impl Located {
    /// Register range `n`.
    pub fn range(&self, n: usize) -> Option<(PhysAddr, usize)> {
        self.registers.get(n).copied().flatten()
    }
}

/// The first enabled device of the kinds that `spec` names; `None` when the tree has none.
pub fn find(fdt: &Fdt<'_>, spec: &DeviceSpec) -> Option<Located> {
    spec.compatible
        .iter()
        .flat_map(|c| fdt.find_compatible(c))
        .find(|n| n.is_enabled())
        .map(|n| located(&n))
}

/// As [`find`], or where `spec` says when the tree has none.
pub fn find_or_known(fdt: &Fdt<'_>, spec: &DeviceSpec) -> Located {
    find(fdt, spec).unwrap_or_else(|| {
        let mut registers = [None; 4];
        for (to, from) in registers.iter_mut().zip(spec.registers) {
            *to = Some((from.base, from.size_bytes as usize));
        }
        Located {
            registers,
            irq: spec.irqs.first().map(|l| (l.irq, l.trigger)),
        }
    })
}

/// Where one node's device is.
pub fn located(node: &sis_algo::fdt::Node<'_>) -> Located {
    let mut registers = [None; 4];
    for (to, (start, size)) in registers.iter_mut().zip(node.reg()) {
        *to = Some((PhysAddr(start), size as usize));
    }
    // GIC binding: kind (0 shared, 1 private), number, flags (1 or 2 edge, 4 or 8 level).
    let mut cells = node.interrupts();
    let irq = match (cells.next(), cells.next(), cells.next()) {
        (Some(kind), Some(number), Some(flags)) => {
            let base = if kind == 0 { 32 } else { 16 };
            let trigger = if flags & 3 != 0 { Trigger::Edge } else { Trigger::Level };
            Some((IrqNumber(number + base), trigger))
        }
        _ => None,
    };
    Located { registers, irq }
}
