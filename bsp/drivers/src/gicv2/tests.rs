use sis_hal::{CpuId, IrqController, IrqError, IrqNumber, MAX_CPUS, Mpidr, SgiTarget, Trigger};

use super::GicV2;
use super::sim::{CpuInterface, Distributor, SimGicV2};
use crate::sim::{Absent, Sim};

type Gic = GicV2<Sim<Distributor>, Sim<CpuInterface>>;

const UART: IrqNumber = IrqNumber::spi(121);
const TIMER: IrqNumber = IrqNumber::ppi(14);

fn running_in(is_nonsecure_view: bool, interfaces: &[u8]) -> (SimGicV2, Gic) {
    let sim = SimGicV2::new(interfaces);
    sim.state().is_nonsecure_view = is_nonsecure_view;
    let gic = GicV2::new(sim.distributor(), sim.cpu_interface()).unwrap();
    for cpu in 0..interfaces.len() {
        sim.state().current = cpu;
        assert_eq!(gic.init_cpu(CpuId(cpu as u32), Mpidr::new(cpu as u64)), Ok(()));
    }
    sim.state().current = 0;
    (sim, gic)
}

fn running(interfaces: &[u8]) -> (SimGicV2, Gic) {
    running_in(false, interfaces)
}

fn take(sim: &SimGicV2, gic: &Gic, cpu: usize) -> Option<IrqNumber> {
    sim.state().current = cpu;
    let taken = gic.acknowledge()?;
    gic.end_of_interrupt(taken);
    Some(taken.number())
}

#[test]
fn nothing_is_left_of_what_firmware_had_pending() {
    for count in 1..=MAX_CPUS {
        let interfaces: std::vec::Vec<u8> = (0..count as u8).collect();
        let (sim, gic) = running(&interfaces);
        for cpu in 0..count {
            assert!(sim.deliverable(cpu).is_empty());
            assert_eq!(take(&sim, &gic, cpu), None);
        }
    }
}

#[test]
fn works_in_the_view_behind_secure_firmware_and_without_security() {
    for is_nonsecure_view in [false, true] {
        let (sim, gic) = running_in(is_nonsecure_view, &[0, 1]);
        gic.enable(UART, Trigger::Level, CpuId(1)).unwrap();
        sim.raise(UART);
        assert_eq!(take(&sim, &gic, 0), None);
        assert_eq!(take(&sim, &gic, 1), Some(UART));
        gic.send_sgi(2, SgiTarget::Cpu(CpuId(0))).unwrap();
        assert_eq!(take(&sim, &gic, 0), Some(IrqNumber::sgi(2)));
        assert_eq!(sim.cpu_control(0), 0x1e1, "the firmware's bypass bits stay");
    }
}

#[test]
fn interface_numbers_are_found_not_assumed() {
    let (sim, gic) = running(&[3, 1, 0, 2]);
    for target in 0..4 {
        gic.enable(UART, Trigger::Edge, CpuId(target)).unwrap();
        sim.raise(UART);
        for cpu in 0..4 {
            assert_eq!(take(&sim, &gic, cpu), (cpu == target as usize).then_some(UART));
        }
        assert_eq!(sim.trigger(UART), Trigger::Edge);
    }
}

#[test]
fn the_sender_of_a_software_interrupt_goes_back_with_its_end() {
    let (sim, gic) = running(&[0, 1, 2, 3]);
    for sender in [3, 1] {
        sim.state().current = sender;
        gic.send_sgi(4, SgiTarget::Cpu(CpuId(0))).unwrap();
    }
    // Two senders are two interrupts.
    assert_eq!(take(&sim, &gic, 0), Some(IrqNumber::sgi(4)));
    assert_eq!(take(&sim, &gic, 0), Some(IrqNumber::sgi(4)));
    assert_eq!(take(&sim, &gic, 0), None);
    assert_eq!(sim.state().ended, [4 | (1 << 10), 4 | (3 << 10)]);
}

#[test]
fn software_interrupts_reach_whom_they_name() {
    let (sim, gic) = running(&[0, 1, 2, 3]);
    sim.state().current = 2;
    gic.send_sgi(0, SgiTarget::AllButSelf).unwrap();
    for cpu in 0..4 {
        assert_eq!(take(&sim, &gic, cpu), (cpu != 2).then_some(IrqNumber::sgi(0)));
    }
    sim.state().current = 2;
    gic.send_sgi(15, SgiTarget::Cpu(CpuId(2))).unwrap();
    assert_eq!(take(&sim, &gic, 2), Some(IrqNumber::sgi(15)));
    assert_eq!(
        gic.send_sgi(16, SgiTarget::AllButSelf),
        Err(IrqError::NoSuchInterrupt(IrqNumber(16)))
    );
}

#[test]
fn private_interrupts_only_from_their_own_cpu() {
    let (sim, gic) = running(&[0, 1]);
    sim.state().current = 1;
    gic.enable(TIMER, Trigger::Level, CpuId(1)).unwrap();
    sim.raise_private(0, TIMER);
    sim.raise_private(1, TIMER);
    assert_eq!(take(&sim, &gic, 0), None);
    assert_eq!(take(&sim, &gic, 1), Some(TIMER));
    sim.state().current = 0;
    assert_eq!(
        gic.enable(TIMER, Trigger::Level, CpuId(1)),
        Err(IrqError::NoSuchCpu(CpuId(1)))
    );
    assert_eq!(gic.disable(TIMER, CpuId(1)), Err(IrqError::NoSuchCpu(CpuId(1))));
    assert_eq!(gic.disable(TIMER, CpuId(0)), Ok(()));
}

#[test]
fn a_disabled_interrupt_waits_until_it_is_enabled_again() {
    let (sim, gic) = running(&[0]);
    gic.enable(UART, Trigger::Level, CpuId::BOOT).unwrap();
    gic.disable(UART, CpuId::BOOT).unwrap();
    sim.raise(UART);
    assert_eq!(take(&sim, &gic, 0), None);
    gic.enable(UART, Trigger::Level, CpuId::BOOT).unwrap();
    assert_eq!(take(&sim, &gic, 0), Some(UART));
}

#[test]
fn numbers_beyond_the_controller_are_errors() {
    let (_, gic) = running(&[0]);
    for number in [0, 15, 192, 1019, 1023, u32::MAX] {
        let irq = IrqNumber(number);
        assert_eq!(
            gic.enable(irq, Trigger::Level, CpuId::BOOT),
            Err(IrqError::NoSuchInterrupt(irq))
        );
        assert_eq!(gic.disable(irq, CpuId::BOOT), Err(IrqError::NoSuchInterrupt(irq)));
    }
    assert_eq!(
        gic.enable(UART, Trigger::Level, CpuId(1)),
        Err(IrqError::NoSuchCpu(CpuId(1)))
    );
    assert_eq!(
        gic.send_sgi(0, SgiTarget::Cpu(CpuId(99))),
        Err(IrqError::NoSuchCpu(CpuId(99)))
    );
    let beyond = CpuId(MAX_CPUS as u32);
    assert_eq!(gic.init_cpu(beyond, Mpidr::new(0)), Err(IrqError::NoSuchCpu(beyond)));
}

#[test]
fn an_interface_that_does_not_say_who_it_is_is_refused() {
    let sim = SimGicV2::new(&[0, 1]);
    let gic = GicV2::new(sim.distributor(), sim.cpu_interface()).unwrap();
    for mask in [0, 3] {
        sim.state().own_mask = Some(mask);
        assert_eq!(
            gic.init_cpu(CpuId::BOOT, Mpidr::new(0)),
            Err(IrqError::NoInterface(Mpidr::new(0)))
        );
    }
}

#[test]
fn an_absent_or_other_controller_is_refused() {
    assert_eq!(
        GicV2::new(Sim::new(Absent), Sim::new(Absent)).err(),
        Some(IrqError::NotPresent)
    );
    let sim = SimGicV2::new(&[0]);
    sim.state().pidr2 = 0x3b;
    assert_eq!(
        GicV2::new(sim.distributor(), sim.cpu_interface()).err(),
        Some(IrqError::NotPresent)
    );
}
