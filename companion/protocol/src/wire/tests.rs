use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::string::ToString;

use super::*;
use crate::codec::{self, Lenient};
use crate::control::{CpuTimes, Message, Metrics, NetCounters, Request};

/// Strategies of large types are large values themselves; a test's own stack is too small for some.
fn check_all<T: Arbitrary>(cases: u32, test: impl Fn(T) -> Result<(), TestCaseError> + Send + 'static) {
    let run = move || {
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(cases)
        };
        TestRunner::new(config)
            .run(&any::<T>(), test)
            .map_err(|error| error.to_string())
    };
    std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
}

macro_rules! round_trips {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check_all(64, |value: $type| {
                    let bytes = codec::to_vec(&value);
                    prop_assert_eq!(codec::from_slice::<$type>(&bytes, usize::MAX).unwrap(), value);
                    Ok(())
                });
            }
        )*
    };
}

round_trips! {
    requests_round_trip: Request,
    messages_round_trip: Message,
    openings_round_trip: Open,
    answers_to_openings_round_trip: Opened,
    event_frames_round_trip: EventFrame,
    exec_input_round_trips: ExecInput,
    exec_output_round_trips: ExecOutput,
    agent_requests_round_trip: AgentRequest,
    agent_responses_round_trip: AgentResponse,
    datagrams_round_trip: MetricsDatagram,
}

/// Whatever comes, an error or a value; never a panic.
fn decode_as_everything(bytes: &[u8]) {
    let _ = Request::from_cbor(bytes);
    let _ = Message::from_cbor(bytes);
    let _ = codec::from_slice::<Lenient<Open>>(bytes, MAX_CLIENT_FRAME_BYTES);
    let _ = codec::from_slice::<Lenient<Opened>>(bytes, MAX_FRAME_BYTES);
    let _ = codec::from_slice::<Lenient<EventFrame>>(bytes, MAX_FRAME_BYTES);
    let _ = codec::from_slice::<Lenient<ExecInput>>(bytes, MAX_CLIENT_FRAME_BYTES);
    let _ = codec::from_slice::<Lenient<ExecOutput>>(bytes, MAX_FRAME_BYTES);
    let _ = codec::from_slice::<AgentRequest>(bytes, MAX_CLIENT_FRAME_BYTES);
    let _ = codec::from_slice::<AgentResponse>(bytes, MAX_FRAME_BYTES);
    let _ = codec::from_slice::<MetricsDatagram>(bytes, 65_536);
    let _ = Assembler::default().feed(bytes);
}

fn damage(bytes: &[u8], index: prop::sample::Index, xor: u8) {
    let index = index.index(bytes.len());
    let mut damaged = bytes.to_vec();
    damaged[index] ^= xor;
    decode_as_everything(&damaged);
    decode_as_everything(&bytes[..index]);
}

#[test]
fn damaged_messages_never_panic() {
    check_all(256, |(message, index, xor): (Message, prop::sample::Index, u8)| {
        damage(&message.to_cbor(), index, xor);
        Ok(())
    });
}

#[test]
fn damaged_requests_never_panic() {
    check_all(256, |(request, index, xor): (AgentRequest, prop::sample::Index, u8)| {
        damage(&codec::to_vec(&request), index, xor);
        Ok(())
    });
}

proptest! {
    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn frames_survive_any_chunking(bodies in prop::collection::vec(any::<ExecInput>(), 0..20), sizes in prop::collection::vec(1..50usize, 1..50)) {
        let mut bytes = Vec::new();
        for body in &bodies {
            frame::push(&mut bytes, body);
        }
        let (mut reader, mut seen, mut rest) = (frame::Reader::new(MAX_FRAME_BYTES), Vec::new(), bytes.as_slice());
        for size in sizes.iter().cycle() {
            while let Some(body) = reader.next_item::<ExecInput>().unwrap() {
                seen.push(body);
            }
            if rest.is_empty() {
                break;
            }
            let (chunk, more) = rest.split_at(rest.len().min(*size));
            reader.feed(chunk);
            rest = more;
        }
        prop_assert_eq!(seen, bodies);
        prop_assert!(reader.is_at_boundary());
    }

    #[test]
    fn samples_survive_loss_and_disorder(cpus in 0..400usize, max_bytes in 900..1200usize, seed: u64) {
        let cpu = CpuTimes { user_ns: seed, system_ns: u64::MAX, idle_ns: 7, irq_ns: seed >> 7 };
        let metrics = Metrics { cpus: vec![cpu; cpus], ..crowded() };
        let mut datagrams: Vec<(u64, Vec<u8>)> = (1..=3)
            .flat_map(|seq| split(seq, seq * 100, &metrics, max_bytes).into_iter().map(move |bytes| (seq, bytes)))
            .collect();
        prop_assert!(!datagrams.is_empty());
        prop_assert!(datagrams.iter().all(|(_, bytes)| bytes.len() <= max_bytes));
        // One of sample 2 is lost, sample 3 comes backwards, and everything twice.
        let lost = datagrams.iter().position(|(seq, _)| *seq == 2).unwrap();
        datagrams.remove(lost);
        let third = datagrams.iter().position(|(seq, _)| *seq == 3).unwrap();
        datagrams[third..].reverse();
        let mut assembler = Assembler::default();
        let mut delivered = Vec::new();
        for (_, bytes) in datagrams.iter().flat_map(|datagram| [datagram, datagram]) {
            delivered.extend(assembler.feed(bytes).unwrap());
        }
        let [first, third] = &delivered[..] else { panic!("{} samples", delivered.len()) };
        prop_assert_eq!((first.seq, first.lost_before, third.seq, third.lost_before), (1, 0, 3, 1));
        prop_assert_eq!(&first.metrics, &metrics);
        prop_assert_eq!(&third.metrics, &metrics);
    }
}

/// Every field at its longest.
fn crowded() -> Metrics {
    let n = Some(u64::MAX);
    let small = Some(u32::MAX);
    Metrics {
        uptime_ns: n,
        cpus: Vec::new(),
        mem_total_bytes: n,
        mem_free_bytes: n,
        mem_cached_bytes: n,
        mem_kernel_bytes: n,
        mem_zero_pool_bytes: n,
        load1_milli: small,
        load5_milli: small,
        load15_milli: small,
        faults_minor: n,
        faults_major: n,
        faults_cow: n,
        fault_mean_ns: n,
        fault_p99_ns: n,
        context_switches: n,
        interrupts: n,
        syscalls: n,
        unknown_syscalls: n,
        processes: small,
        threads: small,
        net: Some(NetCounters {
            rx_packets: u64::MAX,
            rx_bytes: u64::MAX,
            rx_errors: u64::MAX,
            rx_drops: u64::MAX,
            tx_packets: u64::MAX,
            tx_bytes: u64::MAX,
            tx_errors: u64::MAX,
            tx_drops: u64::MAX,
        }),
        disk: None,
        temperature_milli_c: Some(i32::MIN),
        boot_time_ns: n,
        mmu_enable_ns: n,
        strategy: Some(crate::control::Strategy::Aggressive),
        pending_approvals: small,
        ts_ns: n,
        cntfrq_hz: n,
        ctx_switch_ns: n,
        irq_latency_ns: n,
        agent_rss_bytes: n,
        agent_cpu_ns: n,
        agent_clients: small,
    }
}

#[test]
fn eight_cpus_fit_one_datagram() {
    let cpu = CpuTimes {
        user_ns: u64::MAX,
        system_ns: u64::MAX,
        idle_ns: u64::MAX,
        irq_ns: u64::MAX,
    };
    // The least that QUIC's smallest packet leaves for a datagram (RFC 9000 section 14.1, less header, frame and tag).
    assert_eq!(
        split(
            u64::MAX,
            u64::MAX,
            &Metrics {
                cpus: vec![cpu; 8],
                ..crowded()
            },
            1150
        )
        .len(),
        1
    );
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_read() {
    let mut reader = frame::Reader::new(100);
    reader.feed(&[0, 0, 0, 101]);
    assert!(matches!(
        reader.next_body(),
        Err(codec::DecodeError::TooLong { len: 101, max: 100 })
    ));
}

#[test]
fn every_close_code_comes_back() {
    for (code, number) in CloseCode::TABLE {
        assert_eq!(
            (code.code(), CloseCode::from_code(u64::from(number))),
            (number, Some(code))
        );
    }
    assert_eq!(CloseCode::from_code(99), None);
}

#[test]
fn deep_nesting_costs_no_stack() {
    for opener in [0x81, 0x9f, 0xc1, 0xd8] {
        // {0: 1, 99: [[[[..
        let mut bytes = vec![0xa2, 0x00, 0x01, 0x18, 99];
        bytes.resize(60_000, opener);
        decode_as_everything(&bytes);
        decode_as_everything(&bytes[5..]);
    }
}
