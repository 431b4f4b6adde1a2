use std::sync::Arc;
use std::vec;

use sis_hal::{BusAddr, MacAddr, PowerError, RestartArgument, TemperatureError, TemperatureSensor};

use super::sim::SimVideoCore;
use super::{ClockId, FrameBuffer, Mailbox, MailboxError, MemoryRange, PowerDevice};
use crate::sim::{Absent, Sim, SimClock, SimDma};

const BUS: BusAddr = BusAddr(0xc010_0000);

struct Bench {
    sim: Sim<SimVideoCore>,
    buffer: Arc<SimDma>,
}

impl Bench {
    fn new() -> Self {
        Self::with_buffer(64)
    }

    fn with_buffer(len: usize) -> Self {
        let buffer = Arc::new(SimDma::new(BUS, len));
        Self {
            sim: Sim::new(SimVideoCore::new(Arc::clone(&buffer))),
            buffer,
        }
    }

    fn answering(tag: u32, answer: &[u32]) -> Self {
        let bench = Self::new();
        bench.sim.device().properties.insert(tag, answer.to_vec());
        bench
    }

    fn mailbox(&self) -> Mailbox<&Sim<SimVideoCore>, &SimDma, SimClock> {
        Mailbox::new(&self.sim, &*self.buffer, SimClock::default()).unwrap()
    }
}

#[test]
fn asks_for_a_clock_by_its_number() {
    let bench = Bench::answering(0x30002, &[2, 48_000_000]);
    assert_eq!(bench.mailbox().clock_rate_hz(ClockId::Uart), Ok(48_000_000));
    assert_eq!(bench.sim.device().requests, [(0x30002, vec![2])]);
}

#[test]
fn a_restart_into_the_other_system_is_a_flag() {
    let bench = Bench::answering(0x38064, &[1]);
    assert_eq!(bench.mailbox().set_restart_argument("0 tryboot"), Ok(()));
    assert_eq!(bench.sim.device().requests, [(0x38064, vec![1])]);
    for unknown in ["", "0", "tryboot2", "recovery"] {
        let answer = bench.mailbox().set_restart_argument(unknown);
        assert_eq!(answer, Err(PowerError::NotSupported), "{unknown}");
    }
    assert_eq!(bench.sim.device().requests.len(), 1);
    // Firmware that is too old for it.
    let answer = Bench::new().mailbox().set_restart_argument("0 tryboot");
    assert_eq!(answer, Err(PowerError::NotSupported));
}

#[test]
fn power_is_asked_for_and_waited_for() {
    let bench = Bench::answering(0x28001, &[3, 1]);
    assert_eq!(bench.mailbox().power_on(PowerDevice::Usb), Ok(true));
    assert_eq!(bench.sim.device().requests, [(0x28001, vec![3, 3])]);
    bench.sim.device().properties.insert(0x28001, vec![3, 2]);
    assert_eq!(bench.mailbox().power_on(PowerDevice::Usb), Ok(false), "no such device");
}

#[test]
fn a_frame_buffer_is_asked_for_at_once_and_checked() {
    assert_eq!(Bench::new().mailbox().frame_buffer(1, 1), Err(MailboxError::BadBuffer));
    let bench = Bench::with_buffer(128);
    bench.sim.device().properties.extend([
        (0x48003, vec![1024, 768]),
        (0x48004, vec![1024, 768]),
        (0x48005, vec![32]),
        (0x48006, vec![0]),
        (0x40001, vec![0xfc10_0000, 4096 * 768]),
        (0x40008, vec![4096]),
    ]);
    let made = bench.mailbox().frame_buffer(1024, 768);
    assert_eq!(
        made,
        Ok(FrameBuffer {
            bus_addr: BusAddr(0xfc10_0000),
            size_bytes: 4096 * 768,
            width: 1024,
            height: 768,
            pitch_bytes: 4096
        })
    );
    assert_eq!(bench.sim.device().requests.len(), 6);
    for (tag, wrong) in [
        (0x48005, vec![16]),
        (0x40008, vec![4095]),
        (0x40001, vec![0xfc10_0000, 4096 * 767]),
        (0x40001, vec![0, 0]),
        (0x40001, vec![1]),
    ] {
        let right = bench.sim.device().properties.insert(tag, wrong).unwrap();
        assert_eq!(bench.mailbox().frame_buffer(1024, 768), Err(MailboxError::BadAnswer));
        bench.sim.device().properties.insert(tag, right);
    }
    bench.sim.device().properties.remove(&0x40001);
    assert_eq!(
        bench.mailbox().frame_buffer(1024, 768),
        Err(MailboxError::UnknownTag(0x40001))
    );
}

#[test]
fn identity_and_memory() {
    let bench = Bench::new();
    bench.sim.device().properties.extend([
        (0x1, vec![0x5f44_0c10]),
        (0x10002, vec![0x00c0_3111]),
        (0x10003, vec![0x1b32_a6dc, 0x0000_5544]),
        (0x10004, vec![0x89ab_cdef, 0x1000_0000]),
        (0x10005, vec![0, 0x3b40_0000]),
        (0x10006, vec![0x3b40_0000, 0x04c0_0000]),
        (0x30046, vec![0x50005]),
    ]);
    let mailbox = bench.mailbox();
    assert_eq!(mailbox.firmware_revision(), Ok(0x5f44_0c10));
    assert_eq!(mailbox.board_revision(), Ok(0x00c0_3111));
    assert_eq!(mailbox.mac_address(), Ok(MacAddr([0xdc, 0xa6, 0x32, 0x1b, 0x44, 0x55])));
    assert_eq!(mailbox.board_serial(), Ok(0x1000_0000_89ab_cdef));
    assert_eq!(
        mailbox.arm_memory(),
        Ok(MemoryRange {
            base: 0,
            size_bytes: 0x3b40_0000
        })
    );
    assert_eq!(
        mailbox.videocore_memory(),
        Ok(MemoryRange {
            base: 0x3b40_0000,
            size_bytes: 0x04c0_0000
        })
    );
    assert_eq!(mailbox.throttled(), Ok(0x50005));
}

#[test]
fn temperature_is_in_thousandths() {
    let bench = Bench::answering(0x30006, &[0, 48_312]);
    assert_eq!(bench.mailbox().read_millicelsius(), Ok(48_312));
    bench.sim.device().delay = None;
    assert_eq!(bench.mailbox().read_millicelsius(), Err(TemperatureError::Device));
}

#[test]
fn expander_pins_report_refusal() {
    let bench = Bench::answering(0x38041, &[0, 1]);
    assert_eq!(bench.mailbox().set_expander_gpio(132, true), Ok(()));
    assert_eq!(bench.sim.device().requests, [(0x38041, vec![132, 1])]);
    bench.sim.device().properties.insert(0x38041, vec![132, 1]);
    assert_eq!(
        bench.mailbox().set_expander_gpio(132, true),
        Err(MailboxError::Refused(132))
    );
}

#[test]
fn unknown_tags_and_refusals_are_errors() {
    let bench = Bench::new();
    assert_eq!(bench.mailbox().board_revision(), Err(MailboxError::UnknownTag(0x10002)));
    bench.sim.device().refuse_with = Some(0x8000_0001);
    assert_eq!(
        bench.mailbox().board_revision(),
        Err(MailboxError::Refused(0x8000_0001))
    );
}

#[test]
fn an_answer_of_the_wrong_length_is_an_error() {
    let bench = Bench::answering(0x10004, &[1]);
    assert_eq!(bench.mailbox().board_serial(), Err(MailboxError::BadAnswer));
    // Longer than there is room for: the first words are still right.
    let bench = Bench::answering(0x10002, &[7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
    assert_eq!(bench.mailbox().board_revision(), Ok(7));
}

#[test]
fn firmware_that_never_answers_is_a_timeout_and_not_for_ever() {
    let bench = Bench::answering(0x10002, &[1]);
    bench.sim.device().delay = None;
    let mailbox = bench.mailbox();
    assert_eq!(mailbox.board_revision(), Err(MailboxError::Timeout));
    bench.sim.device().delay = Some(0);
    assert_eq!(mailbox.board_revision(), Ok(1));

    bench.sim.device().is_full = true;
    assert_eq!(mailbox.board_revision(), Err(MailboxError::Timeout));
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let bench = Bench::answering(0x10002, &[1]);
    let mailbox = bench.mailbox();
    let message = BUS.as_u64() as u32 | 8;
    // One that waits already, and messages of other channels.
    bench.sim.device().outbox.extend([message, 0x1230, message | 1]);
    assert_eq!(mailbox.board_revision(), Ok(1));

    // One that comes while the next request is under way: only its own answer counts.
    bench.sim.device().delay = Some(100);
    let spurious = std::thread::scope(|scope| {
        let asking = scope.spawn(|| mailbox.board_revision());
        while !asking.is_finished() {
            let mut device = bench.sim.device();
            if device.outbox.is_empty() && device.requests.len() < 2 {
                device.outbox.push_back(message);
            }
        }
        asking.join().unwrap()
    });
    assert_eq!(spurious, Ok(1));
}

#[test]
fn two_askers_take_turns() {
    let bench = Bench::answering(0x30002, &[2, 48_000_000]);
    bench.sim.device().properties.insert(0x10002, vec![0xc03111]);
    let mailbox = Mailbox::new(&bench.sim, &*bench.buffer, SimClock::new(1)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..500 {
                    assert_eq!(mailbox.clock_rate_hz(ClockId::Uart), Ok(48_000_000));
                    assert_eq!(mailbox.board_revision(), Ok(0xc03111));
                }
            });
        }
    });
}

#[test]
fn buffers_the_firmware_cannot_use_are_refused() {
    for (bus, len) in [
        (0xc010_0000, 32),
        (0xc010_0008, 64),
        (0x1_0000_0000, 64),
        (0xffff_fff0, 64),
        (u64::MAX - 15, 64),
    ] {
        let buffer = SimDma::new(BusAddr(bus), len);
        let refused = Mailbox::new(Sim::new(Absent), &buffer, SimClock::default()).err();
        assert_eq!(refused, Some(MailboxError::BadBuffer), "{bus:#x}");
    }
    let bench = Bench::new();
    assert_eq!(
        bench.mailbox().property(1, &[0; 11], &mut []),
        Err(MailboxError::BadBuffer)
    );
}

#[test]
fn an_absent_mailbox_is_a_timeout() {
    let buffer = SimDma::new(BUS, 128);
    let mailbox = Mailbox::new(Sim::new(Absent), &buffer, SimClock::default()).unwrap();
    assert_eq!(mailbox.board_revision(), Err(MailboxError::Timeout));
}
