use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::vec;
use std::vec::Vec;

use sis_hal::{BusAddr, NetDevice, TxError};

use super::sim::{Fault, SimDwc2};
use super::{CONTROL_BUFFER_BYTES, Dwc2, NET_BUFFER_BYTES, UsbNet};
use crate::sim::{Absent, Sim, SimClock, SimDma};
use crate::usb::descriptor::DeviceDescriptor;
use crate::usb::enumerate::Visitor;
use crate::usb::sim::{MAC, SimDevice, SimEther, SimHub};
use crate::usb::{CdcEther, Device, Speed, UsbError, enumerate};

type Frames<T> = Arc<Mutex<T>>;

struct Rig {
    net: UsbNet<&'static Sim<SimDwc2>, &'static SimDma, SimClock>,
    sim: &'static Sim<SimDwc2>,
    sent: Frames<Vec<Vec<u8>>>,
    incoming: Frames<VecDeque<Vec<u8>>>,
}

struct First(Option<(Device, DeviceDescriptor)>);

impl Visitor for First {
    fn device(&mut self, device: &Device, descriptor: &DeviceDescriptor) -> bool {
        self.0 = Some((*device, *descriptor));
        true
    }
    fn failed(&mut self, error: UsbError) {
        panic!("{error}");
    }
}

fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn memory() -> (&'static SimDma, &'static SimDma) {
    (
        forever(SimDma::new(BusAddr(0xc000_1000), CONTROL_BUFFER_BYTES)),
        forever(SimDma::new(BusAddr(0xc010_0000), NET_BUFFER_BYTES)),
    )
}

fn rig() -> Rig {
    let (control, frames) = memory();
    let ether = SimEther::default();
    let (sent, incoming) = (ether.sent.clone(), ether.incoming.clone());
    let hub = SimHub::new(vec![None, Some(SimDevice::new(ether))]);
    let device = SimDwc2::new(Some(SimDevice::new(hub)), vec![control, frames]);
    let sim = forever(Sim::new(device));
    let host = Dwc2::new(sim, control, SimClock::default(), true).unwrap();
    let speed = host.reset_port().unwrap();
    assert_eq!(speed, Speed::Full);
    let mut first = First(None);
    assert_eq!(enumerate(&host, speed, &mut first), Ok(true));
    let (device, descriptor) = first.0.unwrap();
    let cdc = CdcEther::configure(&host, &device, &descriptor).unwrap().unwrap();
    let net = UsbNet::new(host, cdc, frames).unwrap();
    Rig {
        net,
        sim,
        sent,
        incoming,
    }
}

fn frame(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + seed) as u8).collect()
}

#[test]
fn frames_of_every_length_go_out_whole() {
    let rig = rig();
    assert_eq!(rig.net.mac().0, MAC);
    let lens = [14, 60, 63, 64, 65, 127, 128, 1500, 1472, 1514];
    for (i, len) in lens.into_iter().enumerate() {
        assert_eq!(rig.net.transmit(&frame(len, i)), Ok(()));
    }
    // The simulation ends transfers at once, but an end is seen only when somebody looks.
    while rig.net.stats().tx_packets < lens.len() as u64 {
        assert_eq!(rig.net.receive(&mut [0; 1514]), None);
    }
    let want: Vec<Vec<u8>> = lens.into_iter().enumerate().map(|(i, len)| frame(len, i)).collect();
    assert_eq!(*rig.sent.lock().unwrap(), want);
    assert_eq!(rig.net.transmit(&frame(13, 0)), Err(TxError::BadLength));
    assert_eq!(rig.net.transmit(&frame(1515, 0)), Err(TxError::BadLength));
}

#[test]
fn frames_come_in_whole_and_raise_the_interrupt_until_they_are_taken() {
    let rig = rig();
    let want: Vec<Vec<u8>> = [60, 64, 128, 1514, 1472, 14].into_iter().map(|n| frame(n, n)).collect();
    assert!(!rig.sim.device().line());
    rig.incoming.lock().unwrap().extend(want.clone());
    rig.sim.device().tick();
    assert!(rig.sim.device().line());
    rig.net.acknowledge_interrupt();
    assert!(!rig.sim.device().line(), "silent until everything is taken");
    let mut got = Vec::new();
    let mut buffer = [0; 1514];
    while let Some(len) = rig.net.receive(&mut buffer) {
        got.push(buffer[..len].to_vec());
    }
    assert_eq!(got, want);
    assert!(!rig.sim.device().line());
    rig.incoming.lock().unwrap().push_back(frame(99, 1));
    rig.sim.device().tick();
    assert!(rig.sim.device().line(), "the next frame is told of");
    assert_eq!(rig.net.receive(&mut [0; 50]), None, "no room: dropped");
    assert_eq!(rig.net.stats().rx_dropped, 1);
}

#[test]
fn sending_leaves_the_interrupt_of_what_came_in() {
    let rig = rig();
    rig.incoming.lock().unwrap().push_back(frame(99, 1));
    rig.sim.device().tick();
    rig.net.acknowledge_interrupt();
    assert_eq!(rig.net.transmit(&frame(60, 0)), Ok(()));
    assert!(rig.sim.device().line(), "a frame still waits");
}

#[test]
fn a_frame_that_is_too_long_is_an_error_and_not_a_frame() {
    let rig = rig();
    rig.incoming
        .lock()
        .unwrap()
        .extend([frame(1535, 0), frame(5, 0), frame(80, 3)]);
    rig.sim.device().tick();
    let mut buffer = [0; 1514];
    let mut got = None;
    for _ in 0..8 {
        got = got.or_else(|| rig.net.receive(&mut buffer));
    }
    assert_eq!(got, Some(80));
    assert_eq!(rig.net.stats().rx_errors, 1);
}

#[test]
fn a_full_queue_says_so_and_a_device_that_is_gone_too() {
    let rig = rig();
    rig.sim.device().fault = Some(Fault::Silence);
    let mut taken = 0;
    while rig.net.transmit(&frame(60, 0)) == Ok(()) {
        taken += 1;
    }
    assert_eq!(taken, 16);
    assert_eq!(rig.net.transmit(&frame(60, 0)), Err(TxError::Full));
    rig.sim.device().fault = Some(Fault::Errors);
    rig.sim.device().tick();
    for _ in 0..100 {
        rig.net.receive(&mut [0; 1514]);
    }
    assert!(!rig.net.is_link_up());
    assert_eq!(rig.net.transmit(&frame(60, 0)), Err(TxError::Device));
}

#[test]
fn what_is_no_controller_or_has_nothing_plugged_in_is_said() {
    let (control, _) = memory();
    let nothing = Dwc2::new(forever(Sim::new(Absent)), control, SimClock::default(), true);
    assert!(matches!(nothing, Err(UsbError::NoController)));
    let sim = Sim::new(SimDwc2::new(None, vec![]));
    let host = Dwc2::new(&sim, control, SimClock::default(), true).unwrap();
    assert_eq!(host.reset_port(), Err(UsbError::NoDevice));
    let short = SimDma::new(BusAddr(0), 100);
    assert!(matches!(
        Dwc2::new(&sim, &short, SimClock::default(), true),
        Err(UsbError::BadBuffer)
    ));
}

#[test]
fn a_device_that_never_answers_is_given_up() {
    let (control, _) = memory();
    let device = SimDevice::new(SimEther::default());
    let sim = forever(Sim::new(SimDwc2::new(Some(device), vec![control])));
    let host = Dwc2::new(sim, control, SimClock::default(), true).unwrap();
    let speed = host.reset_port().unwrap();
    for (fault, error) in [
        (Fault::Silence, UsbError::Timeout),
        (Fault::Errors, UsbError::Transaction),
    ] {
        sim.device().fault = Some(fault);
        assert_eq!(enumerate(&host, speed, &mut First(None)), Err(error));
    }
}
