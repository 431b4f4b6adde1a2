//! What goes wrong, and how it ends.

use super::*;

fn bench() -> (Bench, Disk) {
    let bench = Bench::new(patterned(4096));
    let disk = bench.attach();
    (bench, disk)
}

fn read(bench: &Bench, disk: &Disk) -> Result<(), BlockError> {
    let memory = bench.memory(&[(0x700_0000, 8192)]);
    let result = bench.one(disk, request(BlockOp::Read, 16, 16, Some(Arc::clone(&memory))));
    if result.is_ok() {
        assert!(memory.bytes() == pattern(1 << 20)[8192..16_384]);
    }
    result
}

fn write(bench: &Bench, disk: &Disk) -> Result<(), BlockError> {
    let memory = bench.memory(&[(0x700_0000, 8192)]);
    memory.write(0, &[0x77; 8192]).unwrap();
    let result = bench.one(disk, request(BlockOp::Write, 2048, 16, Some(memory)));
    if result.is_ok() {
        let medium = &bench.sim.device();
        assert!(medium.card.as_ref().unwrap().medium[2048 * 512..2064 * 512] == [0x77; 8192]);
    }
    result
}

#[test]
fn an_error_is_tried_again() {
    let faults = [
        Fault::NoResponse,
        Fault::ResponseCrc,
        Fault::DataCrc,
        Fault::DataTimeout,
        Fault::Adma,
        Fault::Status(1 << 21),
        Fault::Status(1 << 23),
    ];
    for fault in faults {
        for count in 1..=3 {
            let (bench, disk) = bench();
            bench.sim.device().faults.extend(std::vec![(18, fault); count]);
            bench.sim.device().faults.extend(std::vec![(25, fault); count]);
            // Only the descriptors' fault shows once: the next try goes without them.
            let is_once = fault == Fault::Adma && count > 1;
            if is_once {
                continue;
            }
            assert_eq!(read(&bench, &disk), Ok(()), "{fault:?} {count}");
            assert_eq!(write(&bench, &disk), Ok(()), "{fault:?} {count}");
            assert!(bench.sim.device().faults.is_empty());
        }
    }
}

#[test]
fn tries_are_bounded_and_the_disk_lives_on() {
    for (fault, expected) in [
        (Fault::DataCrc, BlockError::Device),
        (Fault::DataTimeout, BlockError::Timeout),
        (Fault::Status(1 << 21), BlockError::Medium),
        (Fault::NoResponse, BlockError::Device),
    ] {
        let (bench, disk) = bench();
        bench.sim.device().faults.extend([(18, fault); 4]);
        assert_eq!(read(&bench, &disk), Err(expected));
        assert!(bench.sim.device().faults.is_empty());
        assert_eq!(read(&bench, &disk), Ok(()));
    }
}

#[test]
fn errors_of_the_bus_make_it_slower() {
    let (bench, disk) = bench();
    bench.sim.device().faults.extend([(18, Fault::DataCrc); 3]);
    assert_eq!(read(&bench, &disk), Ok(()));
    assert_eq!(
        bench.sim.device().clocks,
        [50_000_000, 50_000_000, 25_000_000, 12_500_000]
    );
    assert_eq!(read(&bench, &disk), Ok(()));
    assert_eq!(bench.sim.device().clocks.last(), Some(&12_500_000));
}

#[test]
fn a_tuned_bus_is_tuned_again() {
    let mut card = patterned(4096);
    (card.has_1_8, card.access_modes) = (true, 0b1111);
    let mut device = SimSdhci::new(Some(card));
    device.capabilities = [0x0568_c8b2, 0b11];
    let bench = Bench::with(device, HostConfig::PLAIN, Some(Box::leak(Box::<Regulators>::default())));
    let disk = bench.attach();
    assert_eq!(disk.info().mode, BusMode::Sdr104);
    bench.sim.device().faults.push_back((18, Fault::DataCrc));
    assert_eq!(read(&bench, &disk), Ok(()));
    let tunings = |bench: &Bench| {
        bench
            .sim
            .device()
            .commands
            .iter()
            .filter(|(index, _)| *index == 19)
            .count()
    };
    assert_eq!(tunings(&bench), 3);
    // Where it cannot be tuned any more, it is slower.
    bench.sim.device().tuning_rounds = Some(0);
    bench.sim.device().faults.push_back((18, Fault::DataCrc));
    assert_eq!(read(&bench, &disk), Ok(()));
    assert_eq!(bench.sim.device().clocks.last(), Some(&100_000_000));
}

#[test]
fn what_the_card_refuses_for_good_is_not_tried_again() {
    for (bits, expected) in [(1 << 31, BlockError::OutOfRange), (1 << 26, BlockError::ReadOnly)] {
        let (bench, disk) = bench();
        bench.sim.device().faults.push_back((25, Fault::Status(bits)));
        assert_eq!(write(&bench, &disk), Err(expected));
        let writes = bench
            .sim
            .device()
            .commands
            .iter()
            .filter(|(index, _)| *index == 25)
            .count();
        assert_eq!(writes, 1);
        assert_eq!(write(&bench, &disk), Ok(()));
    }
}

#[test]
fn a_card_that_stays_busy_costs_a_bounded_time() {
    let (bench, disk) = bench();
    bench.sim.device().faults.push_back((25, Fault::Stuck));
    assert_eq!(write(&bench, &disk), Err(BlockError::Timeout));
    assert!(bench.sim.device().commands.len() < 8);
    // The next request asks again, and ends.
    assert_eq!(read(&bench, &disk), Err(BlockError::Timeout));
    // Then it is done after all.
    bench.sim.device().unstick();
    assert_eq!(read(&bench, &disk), Ok(()));
}

#[test]
fn a_lost_interrupt_is_found_by_polling() {
    let (bench, disk) = bench();
    bench.sim.device().faults.push_back((18, Fault::Nothing));
    let memory = bench.memory(&[(0x700_0000, 8192)]);
    let lost = request(BlockOp::Read, 16, 16, Some(memory));
    disk.submit(0, lost).map_err(|(_, e)| e).unwrap();
    bench.run(&disk);
    assert_eq!(bench.take(), []);
    // The simulated clock moves on by being read: 10 s are over in a million looks.
    for _ in 0..1_100_000 {
        disk.poll();
    }
    bench.run(&disk);
    assert_eq!(bench.take(), [(1016, Ok(()))]);
}

#[test]
fn pulling_the_card_ends_everything() {
    for has_card_detect in [true, false] {
        let config = HostConfig {
            has_card_detect,
            ..HostConfig::PLAIN
        };
        let bench = Bench::with(SimSdhci::new(Some(patterned(4096))), config, None);
        let disk = bench.attach();
        bench.sim.device().is_slow = true;
        bench.sim.device().faults.push_back((18, Fault::Removal));
        let memory = bench.memory(&[(0x700_0000, 8192)]);
        for first in [16, 32, 48] {
            let request = request(BlockOp::Read, first, 16, Some(Arc::clone(&memory)));
            disk.submit(0, request).map_err(|(_, e)| e).unwrap();
        }
        bench.run(&disk);
        if !has_card_detect {
            // Without the contact it shows by silence: the time-out that ends the transfer, then no answer to CMD13.
            assert_eq!(bench.take(), []);
            for _ in 0..1_100_000 {
                disk.poll();
            }
        }
        let gone = [16, 32, 48].map(|first| (1000 + first, Err(BlockError::Gone)));
        assert_eq!(bench.take(), gone);
        assert_eq!(*bench.ended.removals.lock().unwrap(), 1);
        let again = request(BlockOp::Flush, 0, 0, None);
        assert_eq!(disk.submit(0, again).map_err(|(_, e)| e), Err(BlockError::Gone));
        disk.poll();
        disk.abort(1016);

        // Another card is another disk; the old one stays gone.
        bench.sim.device().is_slow = false;
        bench.sim.device().card = Some(patterned(2048));
        let next = bench.attach();
        assert_eq!(next.limits().sector_count, 2048);
        assert_eq!(read(&bench, &next), Ok(()));
        let again = request(BlockOp::Flush, 0, 0, None);
        assert_eq!(disk.submit(0, again).map_err(|(_, e)| e), Err(BlockError::Gone));
        assert_eq!(*bench.ended.removals.lock().unwrap(), 1);
    }
}

#[test]
fn a_card_that_lost_its_power_is_not_the_card_that_was_attached() {
    let (bench, disk) = bench();
    bench.sim.device().card.as_mut().unwrap().state = SimState::Standby;
    assert_eq!(read(&bench, &disk), Err(BlockError::Gone));
}

#[test]
fn aborting_takes_the_memory_back_and_the_others_go_on() {
    let (bench, disk) = bench();
    bench.sim.device().is_slow = true;
    bench.sim.device().faults.push_back((18, Fault::Nothing));
    let memory = bench.memory(&[(0x700_0000, 8192)]);
    for first in [16, 32, 48] {
        let request = request(BlockOp::Read, first, 16, Some(Arc::clone(&memory)));
        disk.submit(0, request).map_err(|(_, e)| e).unwrap();
    }
    bench.run(&disk);
    disk.abort(1032);
    assert_eq!(bench.take(), [(1032, Err(BlockError::Timeout))]);
    disk.abort(1016);
    assert_eq!(bench.take(), [(1016, Err(BlockError::Timeout))]);
    bench.run(&disk);
    assert_eq!(bench.take(), [(1048, Ok(()))]);
    // Nothing of that number is there any more.
    disk.abort(1016);
    assert_eq!(bench.take(), []);
    assert_eq!(
        Arc::strong_count(&memory),
        1,
        "the driver holds memory of requests that have ended"
    );
}

#[test]
fn a_controller_that_does_not_reset_after_an_error_is_given_up() {
    let (bench, disk) = bench();
    bench.sim.device().faults.push_back((18, Fault::DataCrc));
    bench.sim.device().reset_is_stuck = true;
    assert_eq!(read(&bench, &disk), Err(BlockError::Gone));
    assert_eq!(*bench.ended.removals.lock().unwrap(), 1);
}

#[test]
fn submitters_on_other_cpus_and_interrupts_get_along() {
    let (bench, disk) = bench();
    let memory = bench.memory(&[(0x700_0000, 512)]);
    let is_over = core::sync::atomic::AtomicBool::new(false);
    let count = core::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (bench, disk, memory, count, is_over) = (&bench, &disk, &memory, &count, &is_over);
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    for sector in 0..500 {
                        loop {
                            let one = request(BlockOp::Read, sector, 1, Some(Arc::clone(memory)));
                            match disk.submit(0, one) {
                                Ok(()) => break,
                                Err((_, BlockError::Busy)) => std::thread::yield_now(),
                                Err((_, error)) => panic!("{error}"),
                            }
                        }
                        count.fetch_add(1, core::sync::atomic::Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(move || {
                while !is_over.load(core::sync::atomic::Ordering::SeqCst) {
                    if bench.sim.device().is_interrupting() {
                        disk.poll();
                    }
                    std::thread::yield_now();
                }
            });
        }
        for submitter in submitters {
            submitter.join().unwrap();
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while bench.ended.results.lock().unwrap().len() < 1500 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        is_over.store(true, core::sync::atomic::Ordering::SeqCst);
    });
    let ended = bench.take();
    assert_eq!(ended.len(), 1500);
    assert!(ended.iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn a_controller_that_takes_the_power_away_is_believed_without_its_contact() {
    let config = HostConfig {
        has_card_detect: false,
        ..HostConfig::PLAIN
    };
    let bench = Bench::with(SimSdhci::new(Some(patterned(4096))), config, None);
    let disk = bench.attach();
    bench.sim.device().is_slow = true;
    let memory = bench.memory(&[(0x700_0000, 8192)]);
    let one = request(BlockOp::Read, 16, 16, Some(memory));
    disk.submit(0, one).map_err(|(_, e)| e).unwrap();
    bench.sim.device().remove_card_and_power();
    bench.run(&disk);
    assert_eq!(bench.take(), [(1016, Err(BlockError::Gone))]);
    assert_eq!(*bench.ended.removals.lock().unwrap(), 1);
}
