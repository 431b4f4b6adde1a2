//! Data both ways.

use super::*;

/// Every way to move data, with the place in the simulation's count of transfers.
const WAYS: [(u32, usize); 3] = [(0x0168_64b2, 0), (0x0160_64b2, 1), (0x0120_64b2, 2)];

fn bench(capabilities: u32, card: SimCard) -> Bench {
    let mut device = SimSdhci::new(Some(card));
    device.capabilities[0] = capabilities;
    Bench::with(device, HostConfig::PLAIN, None)
}

#[test]
fn reads_and_writes_by_every_way() {
    for (capabilities, way) in WAYS {
        for is_slow in [false, true] {
            for is_high_capacity in [false, true] {
                let mut card = patterned(4096);
                card.is_high_capacity = is_high_capacity;
                let bench = bench(capabilities, card);
                let disk = bench.attach();
                bench.sim.device().is_slow = is_slow;
                for (first, count) in [(0, 1), (7, 2), (100, 64), (4095, 1), (4000, 96)] {
                    let bytes = count as usize * 512;
                    let memory = bench.memory(&[(0x100_0000 + first * 0x1000, bytes)]);
                    assert_eq!(
                        bench.one(&disk, request(BlockOp::Read, first, count, Some(Arc::clone(&memory)))),
                        Ok(())
                    );
                    let start = first as usize * 512;
                    let expected = bench.sim.device().card.as_ref().unwrap().medium[start..start + bytes].to_vec();
                    assert!(memory.bytes() == expected);
                    let data: Vec<u8> = expected.iter().map(|b| !b).collect();
                    memory.write(0, &data).unwrap();
                    assert_eq!(
                        bench.one(&disk, request(BlockOp::Write, first, count, Some(memory))),
                        Ok(())
                    );
                    let card = &bench.sim.device();
                    let card = card.card.as_ref().unwrap();
                    assert!(card.medium[start..start + bytes] == data);
                    assert_eq!(card.state, SimState::Transfer);
                }
                assert_eq!(bench.sim.device().transfers[way], 10);
            }
        }
    }
}

#[test]
fn scattered_memory_needs_descriptors_or_the_buffer() {
    for (capabilities, way) in WAYS {
        let bench = bench(capabilities, patterned(2048));
        let disk = bench.attach();
        let pieces = [
            (0x400_0000, 512),
            (0x500_0004, 4096),
            (0x3fff_f000, 4096),
            (0x600_0000, 40_960),
        ];
        let count = pieces.iter().map(|(_, len)| *len as u32 / 512).sum();
        let memory = bench.memory(&pieces);
        assert_eq!(
            bench.one(&disk, request(BlockOp::Read, 3, count, Some(Arc::clone(&memory)))),
            Ok(())
        );
        assert!(memory.bytes() == pattern(1 << 20)[1536..1536 + count as usize * 512]);
        assert_eq!(bench.sim.device().transfers[if way == 1 { 2 } else { way }], 1);
    }
}

#[test]
fn memory_out_of_reach_is_bounced_and_what_does_not_fit_goes_through_the_buffer() {
    let bench = bench(WAYS[0].0, patterned(2048));
    let disk = bench.attach();
    // The last page within reach, one that straddles the end, two beyond it.
    let pieces = [
        (0x3fff_f000, 4096),
        (0x3fff_fe00, 1024),
        (0x8000_0000, 4096),
        (0x1_4000_0000, 8192),
    ];
    let memory = bench.memory(&pieces);
    assert_eq!(
        bench.one(&disk, request(BlockOp::Read, 0, 34, Some(Arc::clone(&memory)))),
        Ok(())
    );
    assert!(memory.bytes() == pattern(1 << 20)[..34 * 512]);
    let data: Vec<u8> = pattern(34 * 512).iter().map(|b| b ^ 0x5a).collect();
    memory.write(0, &data).unwrap();
    assert_eq!(bench.one(&disk, request(BlockOp::Write, 0, 34, Some(memory))), Ok(()));
    assert!(bench.sim.device().card.as_ref().unwrap().medium[..34 * 512] == data);
    assert_eq!(bench.sim.device().transfers, [2, 0, 0]);

    let memory = bench.memory(&[(0x9000_0000, 0x4200)]);
    assert_eq!(bench.one(&disk, request(BlockOp::Write, 64, 33, Some(memory))), Ok(()));
    assert_eq!(bench.sim.device().transfers, [2, 0, 1]);
    assert!(bench.sim.device().card.as_ref().unwrap().medium[64 * 512..97 * 512] == [0; 0x4200]);
}

#[test]
fn descriptors_of_64_bits_reach_everything() {
    let mut device = SimSdhci::new(Some(patterned(2048)));
    device.capabilities[0] |= 1 << 28;
    let table = dma(BusAddr(0x2_0000_0000), 4096);
    let bounce = dma(BusAddr(0x2_0010_0000), 4096);
    let high = dma(BusAddr(0x3_0000_0000), 4096);
    let unaligned = dma(BusAddr(0x3_1000_0004), 512);
    for memory in [table, bounce, high] {
        device.add_memory(memory);
    }
    let sim: &'static Sim<SimSdhci> = Box::leak(Box::new(Sim::new(device)));
    let setup = DmaSetup {
        window: DmaWindow::ALL,
        table,
        bounce,
    };
    let host: Arc<Host> = Sdhci::new(sim, SimClock::default(), HostConfig::PLAIN, None, Some(setup)).unwrap();
    let bench = Bench {
        sim,
        host,
        ended: Box::leak(Box::default()),
    };
    assert_eq!(bench.host.dma_name(), "64-bit ADMA2");
    let disk = bench.attach();
    let segments = [(0x3_0000_0000, 4096), (0x3_1000_0004, 512)];
    let memory = Arc::new(Pages {
        pieces: std::vec![high, unaligned],
        segments: segments
            .map(|(addr, len)| Segment {
                addr: PhysAddr(addr),
                len,
            })
            .to_vec(),
    });
    assert_eq!(
        bench.one(&disk, request(BlockOp::Read, 5, 9, Some(Arc::clone(&memory)))),
        Ok(())
    );
    assert!(memory.bytes() == pattern(1 << 20)[5 * 512..14 * 512]);
    assert_eq!(bench.sim.device().transfers, [1, 0, 0]);
}

#[test]
fn buffers_that_the_controller_does_not_reach_are_not_used() {
    let sim: &'static Sim<SimSdhci> = Box::leak(Box::new(Sim::new(SimSdhci::new(None))));
    for (table, len) in [
        (0x1_0000_0000, 4096),
        (0xffff_f800, 4096),
        (0x1000, 2048),
        (0x1004, 4096),
    ] {
        let setup = DmaSetup {
            window: WINDOW,
            table: dma(BusAddr(table), len),
            bounce: dma(BusAddr(0x8000), 4096),
        };
        let host = Sdhci::new(sim, SimClock::default(), HostConfig::PLAIN, None, Some(setup)).unwrap();
        assert_eq!(host.dma_name(), "PIO", "{table:#x}");
    }
}

#[test]
fn several_blocks_end_with_cmd12_or_are_announced_with_cmd23() {
    for (has_auto_cmd23, has_block_count) in [(false, true), (true, false), (true, true)] {
        let mut card = patterned(1024);
        card.has_block_count = has_block_count;
        let config = HostConfig {
            has_auto_cmd23,
            ..HostConfig::PLAIN
        };
        let bench = Bench::with(SimSdhci::new(Some(card)), config, None);
        let disk = bench.attach();
        let memory = bench.memory(&[(0x30_0000, 4096)]);
        for op in [BlockOp::Read, BlockOp::WriteThrough] {
            assert_eq!(bench.one(&disk, request(op, 8, 8, Some(Arc::clone(&memory)))), Ok(()));
            assert_eq!(bench.sim.device().card.as_ref().unwrap().state, SimState::Transfer);
        }
    }
}

#[test]
fn requests_queue_up_to_the_bound_and_end_in_order() {
    let bench = bench(WAYS[0].0, patterned(1024));
    let disk = bench.attach();
    bench.sim.device().is_slow = true;
    let memory = bench.memory(&[(0x30_0000, 512)]);
    let mut accepted = 0;
    let refused = loop {
        match disk.submit(0, request(BlockOp::Read, accepted, 1, Some(Arc::clone(&memory)))) {
            Ok(()) => accepted += 1,
            Err((request, error)) => break (request.tag, error),
        }
    };
    assert_eq!(accepted as usize, QUEUE_DEPTH);
    assert_eq!(refused, (1000 + accepted, BlockError::Busy));
    bench.run(&disk);
    let ended: Vec<_> = (0..accepted).map(|n| (1000 + n, Ok(()))).collect();
    assert_eq!(bench.take(), ended);
    assert_eq!(bench.one(&disk, request(BlockOp::Read, 1, 1, Some(memory))), Ok(()));
}

#[test]
fn flush_asks_the_card_and_discard_erases() {
    let bench = bench(WAYS[0].0, patterned(1024));
    let disk = bench.attach();
    assert_eq!(bench.one(&disk, request(BlockOp::Flush, 0, 0, None)), Ok(()));
    let status = (13, 0x1234_0000);
    assert_eq!(bench.sim.device().commands, [status]);
    // While it programs, the flush waits for it.
    bench.sim.device().is_slow = true;
    bench.sim.device().card.as_mut().unwrap().state = SimState::Program;
    disk.submit(0, request(BlockOp::Flush, 0, 0, None))
        .map_err(|(_, e)| e)
        .unwrap();
    bench.sim.device().tick();
    disk.poll();
    assert_eq!(bench.take(), []);
    bench.sim.device().card.as_mut().unwrap().state = SimState::Transfer;
    bench.run(&disk);
    assert_eq!(bench.take(), [(1000, Ok(()))]);

    assert_eq!(bench.one(&disk, request(BlockOp::Discard, 10, 20, None)), Ok(()));
    assert_eq!(
        bench.sim.device().card.as_ref().unwrap().erased.first(),
        Some(&(10 * 512..30 * 512))
    );
    assert_eq!(
        bench.one(&disk, request(BlockOp::WriteZeroes, 10, 20, None)),
        Err(BlockError::Unsupported)
    );
}

#[test]
fn requests_that_break_the_limits_are_refused() {
    let bench = bench(WAYS[0].0, patterned(1024));
    let disk = bench.attach();
    let memory = bench.memory(&[(0x30_0000, 1024)]);
    let refused = |first, count, memory: Option<&Arc<Pages>>, expected| {
        let request = request(BlockOp::Read, first, count, memory.cloned());
        assert_eq!(
            disk.submit(0, request).map_err(|(_, e)| e),
            Err(expected),
            "{first} {count}"
        );
    };
    refused(1023, 2, Some(&memory), BlockError::OutOfRange);
    refused(u64::MAX, 2, Some(&memory), BlockError::OutOfRange);
    refused(0, 0, Some(&memory), BlockError::Invalid);
    refused(0, 1, Some(&memory), BlockError::Invalid);
    refused(0, 2, None, BlockError::Invalid);
    refused(0, 2, Some(&bench.memory(&[(0x30_0002, 1024)])), BlockError::Invalid);
    refused(
        0,
        1,
        Some(&bench.memory(&[(0x30_0000, 256), (0x30_1000, 256)])),
        BlockError::Invalid,
    );
    assert!(disk.submit(1, request(BlockOp::Flush, 0, 0, None)).is_err());
    assert_eq!(bench.sim.device().commands, []);
}
