//! Bringing cards up.

use super::*;

/// Capabilities with SDR50, SDR104, DDR50.
fn uhs(card: SimCard) -> SimSdhci {
    let mut device = SimSdhci::new(Some(card));
    device.capabilities = [0x0568_c8b2, 0b111];
    device
}

fn uhs_card() -> SimCard {
    let mut card = patterned(2048);
    (card.has_1_8, card.access_modes) = (true, 0b1_1111);
    card
}

fn leak(regulators: Regulators) -> &'static Regulators {
    Box::leak(Box::new(regulators))
}

#[test]
fn a_high_capacity_card_comes_up_at_high_speed_with_four_lines() {
    let bench = Bench::new(SimCard::new(4096));
    let disk = bench.attach();
    let info = disk.info();
    assert_eq!(info.csd.sector_count, 4096);
    assert!(info.has_block_addresses && info.has_four_bits && !info.is_read_only);
    assert_eq!(info.mode, BusMode::HighSpeed);
    assert_eq!(&info.cid.product(), b"SIM01");
    assert_eq!(disk.serial(), "03534453494d30311001020304013500");
    let limits = disk.limits();
    assert_eq!((limits.sector_count, limits.queue_depth), (4096, 32));
    // 64 KiB a unit, 62.5 ms each (rounded up), 250 ms once: 27 units in 2 s, one of them for the edges.
    assert_eq!(limits.discard_sectors_max, 26 * 128);
    assert_eq!(bench.host.attach().err(), Some(CardError::Busy));
}

#[test]
fn old_and_small_cards_come_up_too() {
    let mut card = SimCard::new(2048);
    (card.is_version_1, card.is_high_capacity) = (true, false);
    let bench = Bench::new(card);
    let disk = bench.attach();
    assert_eq!(disk.info().mode, BusMode::DefaultSpeed);
    assert!(!disk.info().has_block_addresses);
    assert_eq!(disk.limits().sector_count, 2048);

    let mut card = SimCard::new(2048);
    card.is_high_capacity = false;
    assert_eq!(Bench::new(card).attach().info().mode, BusMode::HighSpeed);
}

#[test]
fn a_slot_without_a_card_or_a_controller_is_an_error_not_a_hang() {
    for has_card_detect in [true, false] {
        let config = HostConfig {
            has_card_detect,
            ..HostConfig::PLAIN
        };
        let bench = Bench::with(SimSdhci::new(None), config, None);
        assert_eq!(bench.host.attach().err(), Some(CardError::NoCard));
        assert_eq!(bench.host.is_card_present(), !has_card_detect);
        // Then one is put in.
        bench.sim.device().card = Some(SimCard::new(1024));
        assert!(bench.host.attach().is_ok());
    }
    let nothing: Result<Arc<Sdhci<_, _, &'static SimDma>>, _> =
        Sdhci::new(Sim::new(Absent), SimClock::default(), HostConfig::PLAIN, None, None);
    assert_eq!(nothing.err(), Some(CardError::Controller));
}

#[test]
fn a_card_that_never_starts_and_a_controller_that_never_resets_end() {
    let mut card = SimCard::new(1024);
    card.start_delay = None;
    assert_eq!(Bench::new(card).host.attach().err(), Some(CardError::DoesNotStart));

    let bench = Bench::new(SimCard::new(1024));
    bench.sim.device().reset_is_stuck = true;
    assert_eq!(bench.host.attach().err(), Some(CardError::Controller));
}

#[test]
fn damaged_answers_are_asked_for_again() {
    for index in [9, 13, 16, 41, 51, 55, 6] {
        let mut card = SimCard::new(1024);
        card.is_high_capacity = false;
        let bench = Bench::new(card);
        bench.sim.device().faults.push_back((index, Fault::ResponseCrc));
        let attached = bench.host.attach();
        assert!(attached.is_ok(), "CMD{index}: {:?}", attached.err());
    }
    let bench = Bench::new(SimCard::new(1024));
    bench.sim.device().faults.extend([(51, Fault::NoResponse); 3]);
    assert_eq!(bench.host.attach().err(), Some(CardError::Command(51)));
}

#[test]
fn uhs_modes_are_used_where_all_three_have_them() {
    for (caps1, modes, expected, hz) in [
        (0b111, 0b1_1111, BusMode::Sdr104, 200_000_000),
        (0b101, 0b1_1111, BusMode::Ddr50, 50_000_000),
        (0b001, 0b1_1111, BusMode::Sdr50, 100_000_000),
        (0b111, 0b0_0111, BusMode::Sdr50, 100_000_000),
        (0b111, 0b0_0011, BusMode::Sdr25, 50_000_000),
        (0b111, 0b0_0001, BusMode::Sdr12, 25_000_000),
    ] {
        let mut card = uhs_card();
        card.access_modes = modes;
        let mut device = uhs(card);
        device.capabilities[1] = caps1;
        let regulators = leak(Regulators::default());
        let bench = Bench::with(device, HostConfig::PLAIN, Some(regulators));
        let disk = bench.attach();
        assert_eq!(disk.info().mode, expected);
        assert_eq!(regulators.asked.lock().unwrap().as_slice(), [false, true]);
        let memory = bench.memory(&[(0x30_0000, 4096)]);
        assert_eq!(
            bench.one(&disk, request(BlockOp::Read, 8, 8, Some(Arc::clone(&memory)))),
            Ok(())
        );
        assert!(memory.bytes() == pattern(1 << 20)[4096..8192]);
        assert_eq!(bench.sim.device().clocks, [hz]);
    }
}

#[test]
fn without_1_8_v_a_fast_card_runs_at_high_speed() {
    // No regulator; one that refuses; a card that hangs half-way.
    let plain = Bench::with(uhs(uhs_card()), HostConfig::PLAIN, None);
    let refusing = leak(Regulators {
        is_refusing: true,
        ..Regulators::default()
    });
    let refused = Bench::with(uhs(uhs_card()), HostConfig::PLAIN, Some(refusing));
    let mut device = uhs(uhs_card());
    device.voltage_is_stuck = true;
    let stuck = Bench::with(device, HostConfig::PLAIN, Some(leak(Regulators::default())));
    for bench in [plain, refused, stuck] {
        assert_eq!(bench.attach().info().mode, BusMode::HighSpeed);
    }
}

#[test]
fn a_mode_that_cannot_be_tuned_gives_way_to_the_next() {
    for rounds in [Some(0), None] {
        let mut device = uhs(uhs_card());
        device.tuning_rounds = rounds;
        let bench = Bench::with(device, HostConfig::PLAIN, Some(leak(Regulators::default())));
        assert_eq!(bench.attach().info().mode, BusMode::Ddr50);
    }
}

#[test]
fn the_boards_limits_hold() {
    let config = HostConfig {
        max_clock_hz: 20_000_000,
        has_four_bits: false,
        ..HostConfig::PLAIN
    };
    let bench = Bench::with(SimSdhci::new(Some(patterned(1024))), config, None);
    let disk = bench.attach();
    assert!(!disk.info().has_four_bits);
    let memory = bench.memory(&[(0x30_0000, 512)]);
    assert_eq!(bench.one(&disk, request(BlockOp::Read, 0, 1, Some(memory))), Ok(()));
    assert!(bench.sim.device().clocks.iter().all(|hz| *hz <= 20_000_000));
}

#[test]
fn write_protection_is_the_slots_and_the_cards() {
    let mut device = SimSdhci::new(Some(SimCard::new(1024)));
    device.is_write_enabled = false;
    assert!(
        Bench::with(device, HostConfig::PLAIN, None)
            .attach()
            .limits()
            .is_read_only
    );

    let mut card = SimCard::new(1024);
    card.is_write_protected = true;
    let bench = Bench::new(card);
    let disk = bench.attach();
    assert!(disk.limits().is_read_only);
    let memory = bench.memory(&[(0x30_0000, 512)]);
    assert_eq!(
        bench.one(&disk, request(BlockOp::Write, 0, 1, Some(memory))),
        Err(BlockError::ReadOnly)
    );

    let mut device = SimSdhci::new(Some(SimCard::new(1024)));
    device.is_write_enabled = false;
    let config = HostConfig {
        has_write_protect: false,
        ..HostConfig::PLAIN
    };
    assert!(!Bench::with(device, config, None).attach().limits().is_read_only);
}
