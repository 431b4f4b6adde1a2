use std::vec::Vec;

use sis_hal::{CpuId, IrqController, IrqError, IrqNumber, MAX_CPUS, Mpidr, SgiTarget, Trigger};

use super::sim::{Distributor, Redistributors, SimGicV3};
use super::{GicV3, regs};
use crate::sim::{Absent, Sim, SimClock};

type Gic = GicV3<Sim<Distributor>, Sim<Redistributors>, SimGicV3, SimClock>;

const UART: IrqNumber = IrqNumber::spi(1);
const TIMER: IrqNumber = IrqNumber::ppi(14);

fn affinities(count: u64) -> Vec<Mpidr> {
    (0..count).map(Mpidr::new).collect()
}

fn new_driver(sim: &SimGicV3) -> Result<Gic, IrqError> {
    GicV3::new(
        sim.distributor(),
        sim.redistributors(),
        sim.clone(),
        SimClock::default(),
    )
}

/// A driver with every CPU initialised, as the kernel does it: the boot CPU first.
fn running(affinities: &[Mpidr]) -> (SimGicV3, Gic) {
    let sim = SimGicV3::new(affinities);
    let gic = new_driver(&sim).unwrap();
    for (index, mpidr) in affinities.iter().enumerate() {
        sim.state().current = index;
        assert_eq!(gic.init_cpu(CpuId(index as u32), *mpidr), Ok(()));
    }
    sim.state().current = 0;
    (sim, gic)
}

fn take(sim: &SimGicV3, gic: &Gic, cpu: usize) -> Option<IrqNumber> {
    sim.state().current = cpu;
    let taken = gic.acknowledge()?;
    gic.end_of_interrupt(taken);
    Some(taken.number())
}

#[test]
fn nothing_is_left_of_what_firmware_had_pending() {
    for count in 1..=MAX_CPUS as u64 {
        let (sim, gic) = running(&affinities(count));
        for cpu in 0..count as usize {
            assert!(sim.deliverable(cpu).is_empty());
            assert_eq!(take(&sim, &gic, cpu), None);
        }
    }
}

#[test]
fn a_shared_interrupt_goes_to_its_cpu_alone() {
    let (sim, gic) = running(&affinities(4));
    assert_eq!(gic.enable(UART, Trigger::Level, CpuId(2)), Ok(()));
    assert_eq!(sim.trigger(0, UART), Trigger::Level);
    sim.raise(UART);
    assert_eq!(take(&sim, &gic, 0), None);
    assert_eq!(take(&sim, &gic, 2), Some(UART));
    assert_eq!(sim.state().ended, [33]);

    // Moved to another CPU, as an edge.
    assert_eq!(gic.enable(UART, Trigger::Edge, CpuId(3)), Ok(()));
    assert_eq!(sim.trigger(0, UART), Trigger::Edge);
    sim.raise(UART);
    assert_eq!(take(&sim, &gic, 2), None);
    assert_eq!(take(&sim, &gic, 3), Some(UART));
}

#[test]
fn neighbours_in_a_trigger_register_keep_theirs() {
    let (sim, gic) = running(&affinities(1));
    let (a, b) = (IrqNumber::spi(16), IrqNumber::spi(17));
    gic.enable(a, Trigger::Edge, CpuId::BOOT).unwrap();
    gic.enable(b, Trigger::Level, CpuId::BOOT).unwrap();
    assert_eq!((sim.trigger(0, a), sim.trigger(0, b)), (Trigger::Edge, Trigger::Level));
}

#[test]
fn the_last_shared_interrupt_works_and_the_next_does_not_exist() {
    let (sim, gic) = running(&affinities(1));
    let last = IrqNumber(287);
    gic.enable(last, Trigger::Level, CpuId::BOOT).unwrap();
    sim.raise(last);
    assert_eq!(take(&sim, &gic, 0), Some(last));
    let beyond = IrqNumber(288);
    assert_eq!(
        gic.enable(beyond, Trigger::Level, CpuId::BOOT),
        Err(IrqError::NoSuchInterrupt(beyond))
    );
    let special = IrqNumber(1023);
    assert_eq!(
        gic.disable(special, CpuId::BOOT),
        Err(IrqError::NoSuchInterrupt(special))
    );
    let sgi = IrqNumber::sgi(3);
    assert_eq!(
        gic.enable(sgi, Trigger::Edge, CpuId::BOOT),
        Err(IrqError::NoSuchInterrupt(sgi))
    );
}

#[test]
fn a_private_interrupt_is_each_cpus_own() {
    let (sim, gic) = running(&affinities(4));
    gic.enable(TIMER, Trigger::Level, CpuId(1)).unwrap();
    for cpu in 0..4 {
        sim.raise_private(cpu, TIMER);
    }
    assert_eq!(take(&sim, &gic, 0), None);
    assert_eq!(take(&sim, &gic, 1), Some(TIMER));
    gic.disable(TIMER, CpuId(1)).unwrap();
    sim.raise_private(1, TIMER);
    assert_eq!(take(&sim, &gic, 1), None);
}

#[test]
fn a_disabled_interrupt_waits_until_it_is_enabled_again() {
    let (sim, gic) = running(&affinities(1));
    gic.enable(UART, Trigger::Level, CpuId::BOOT).unwrap();
    gic.disable(UART, CpuId::BOOT).unwrap();
    sim.raise(UART);
    assert_eq!(take(&sim, &gic, 0), None);
    gic.enable(UART, Trigger::Level, CpuId::BOOT).unwrap();
    assert_eq!(take(&sim, &gic, 0), Some(UART));
}

#[test]
fn software_interrupts_reach_whom_they_name() {
    // Two clusters, and a core beyond the first 16 of its cluster.
    let cpus = [0x0000, 0x0001, 0x0100, 0x0111, 0x01_0000_0012].map(Mpidr::new);
    let (sim, gic) = running(&cpus);
    for target in 0..cpus.len() {
        sim.state().current = 1;
        gic.send_sgi(5, SgiTarget::Cpu(CpuId(target as u32))).unwrap();
        for cpu in 0..cpus.len() {
            let expected = (cpu == target).then_some(IrqNumber::sgi(5));
            assert_eq!(take(&sim, &gic, cpu), expected, "sent to {target}, seen by {cpu}");
        }
    }
    sim.state().current = 1;
    gic.send_sgi(15, SgiTarget::AllButSelf).unwrap();
    for cpu in 0..cpus.len() {
        assert_eq!(take(&sim, &gic, cpu), (cpu != 1).then_some(IrqNumber::sgi(15)));
    }
    assert_eq!(
        gic.send_sgi(16, SgiTarget::AllButSelf),
        Err(IrqError::NoSuchInterrupt(IrqNumber(16)))
    );
}

#[test]
fn sgi_values_are_the_manuals() {
    // IHI 0069H, 12.2.22: Aff3 at 48, RS at 44, Aff2 at 32, INTID at 24, Aff1 at 16, the list below.
    assert_eq!(
        regs::sgi1r_for_cpu(7, Mpidr::new(0x04_0003_0225)),
        0x0004_2003_0702_0020
    );
    assert_eq!(regs::sgi1r_for_others(1), 0x0000_0100_0100_0000);
}

#[test]
fn a_gicv4_has_longer_redistributors() {
    let cpus = affinities(4);
    let sim = SimGicV3::new(&cpus);
    sim.state().has_vlpis = true;
    sim.state().pidr2 = 0x4b;
    let gic = new_driver(&sim).unwrap();
    sim.state().current = 3;
    assert_eq!(gic.init_cpu(CpuId(3), cpus[3]), Ok(()));
    gic.enable(TIMER, Trigger::Level, CpuId(3)).unwrap();
    sim.raise_private(3, TIMER);
    assert_eq!(take(&sim, &gic, 3), Some(TIMER));
}

#[test]
fn cpus_that_are_not_there_are_errors() {
    let (_, gic) = running(&affinities(2));
    assert_eq!(
        gic.enable(UART, Trigger::Level, CpuId(2)),
        Err(IrqError::NoSuchCpu(CpuId(2)))
    );
    assert_eq!(
        gic.send_sgi(1, SgiTarget::Cpu(CpuId(2))),
        Err(IrqError::NoSuchCpu(CpuId(2)))
    );
    let beyond = CpuId(MAX_CPUS as u32);
    assert_eq!(gic.init_cpu(beyond, Mpidr::new(0)), Err(IrqError::NoSuchCpu(beyond)));
    assert_eq!(
        gic.enable(UART, Trigger::Level, CpuId(u32::MAX)),
        Err(IrqError::NoSuchCpu(CpuId(u32::MAX)))
    );
    let stranger = Mpidr::new(0x300);
    assert_eq!(gic.init_cpu(CpuId(2), stranger), Err(IrqError::NoInterface(stranger)));
}

#[test]
fn an_absent_or_other_controller_is_refused() {
    let sim = SimGicV3::new(&affinities(1));
    let absent = GicV3::new(Sim::new(Absent), Sim::new(Absent), sim.clone(), SimClock::default());
    assert_eq!(absent.err(), Some(IrqError::NotPresent));
    sim.state().pidr2 = 0x2b;
    assert_eq!(new_driver(&sim).err(), Some(IrqError::NotPresent));
}

#[test]
fn an_empty_redistributor_region_is_no_interface() {
    let sim = SimGicV3::new(&affinities(1));
    let gic = GicV3::new(sim.distributor(), Sim::new(Absent), sim.clone(), SimClock::default()).unwrap();
    assert_eq!(
        gic.init_cpu(CpuId::BOOT, Mpidr::new(0)),
        Err(IrqError::NoInterface(Mpidr::new(0)))
    );
}

#[test]
fn a_cpu_without_system_registers_is_refused() {
    let sim = SimGicV3::new(&affinities(1));
    sim.state().has_no_sre = true;
    let gic = new_driver(&sim).unwrap();
    assert_eq!(
        gic.init_cpu(CpuId::BOOT, Mpidr::new(0)),
        Err(IrqError::NoInterface(Mpidr::new(0)))
    );
    assert_eq!(
        gic.enable(TIMER, Trigger::Level, CpuId::BOOT),
        Err(IrqError::NoSuchCpu(CpuId::BOOT))
    );
}

#[test]
fn hardware_that_never_finishes_is_a_timeout() {
    let sim = SimGicV3::new(&affinities(1));
    sim.state().rwp_reads = None;
    assert_eq!(new_driver(&sim).err(), Some(IrqError::Timeout));

    let sim = SimGicV3::new(&affinities(1));
    sim.state().never_wakes = true;
    let gic = new_driver(&sim).unwrap();
    assert_eq!(gic.init_cpu(CpuId::BOOT, Mpidr::new(0)), Err(IrqError::Timeout));

    let (sim, gic) = running(&affinities(1));
    sim.state().rwp_reads = None;
    assert_eq!(gic.disable(UART, CpuId::BOOT), Err(IrqError::Timeout));
    assert_eq!(gic.enable(TIMER, Trigger::Level, CpuId::BOOT), Err(IrqError::Timeout));
}
