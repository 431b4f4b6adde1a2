//! What was recorded is played, at any speed and from any place, and hostile bytes do no harm.

use minicbor::Encode;
use proptest::prelude::*;
use sis_protocol::codec::DecodeError;
use sis_protocol::wire::frame;

use super::format::Record;
use super::samples::{NOW, input, inputs};
use super::*;
use crate::boards::Board;
use crate::input::{Input, Link};

fn header() -> Header {
    Header::new("tests", NOW)
}

fn record(inputs: &[(u64, Input)]) -> Vec<u8> {
    let (mut recorder, mut bytes) = Recorder::new(&header());
    for (at_ms, input) in inputs {
        bytes.extend(recorder.record(*at_ms, input.clone()).unwrap());
    }
    bytes
}

fn live(inputs: &[(u64, Input)]) -> Board {
    let mut board = Board::default();
    for (at_ms, input) in inputs {
        board.apply(*at_ms, input.clone());
    }
    board
}

/// Does what the player says is due.
fn play(player: &mut Player, now_ms: u64, board: &mut Board) -> usize {
    let mut count = 0;
    while let Some(step) = player.poll(now_ms) {
        count += 1;
        match step {
            Step::Reset => *board = Board::default(),
            Step::Apply(TimedInput { at_ms, input }) => board.apply(at_ms, input),
        }
    }
    count
}

/// A recording of a link that tries so many times, once a second.
fn attempts(count: u32) -> Recording {
    let inputs: Vec<_> = (0..count)
        .map(|n| (NOW + u64::from(n) * 1000, Input::Link(Link::Connecting { attempt: n })))
        .collect();
    Recording::parse(record(&inputs)).unwrap()
}

#[derive(Debug, Clone)]
enum Act {
    Pass(u64),
    Speed(u32),
    Pause,
    Resume,
    Seek(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..5000_u64).prop_map(Act::Pass),
        1 => (0..200_000_u32).prop_map(Act::Speed),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        2 => (0..30_000_u64).prop_map(Act::Seek),
    ]
}

proptest! {
    #[test]
    fn an_input_is_read_as_it_was_written(input in input()) {
        let bytes = record(&[(NOW + 5, input.clone())]);
        let recording = Recording::parse(bytes).unwrap();
        prop_assert_eq!(recording.get(0), Some(TimedInput { at_ms: NOW + 5, input }));
        prop_assert_eq!((recording.len(), recording.get(1)), (1, None));
    }

    #[test]
    fn a_board_that_is_played_is_the_board_that_was_recorded(inputs in inputs(), acts in prop::collection::vec(act(), 0..12)) {
        let mut player = Player::new(Recording::parse(record(&inputs)).unwrap(), 0);
        let mut board = Board::default();
        let mut now_ms = 0;
        for act in acts {
            match act {
                Act::Pass(ms) => now_ms += ms,
                Act::Speed(permille) => player.set_speed(Speed::from_permille(permille), now_ms),
                Act::Pause => player.pause(now_ms),
                Act::Resume => player.resume(now_ms),
                Act::Seek(position_ms) => player.seek(position_ms, now_ms),
            }
            play(&mut player, now_ms, &mut board);
            // At every moment: what was told is the recording up to here.
            let end = player.recording().count_until(player.position_ms());
            prop_assert_eq!(&board, &live(&inputs[..end]));
        }
        player.seek(u64::MAX, now_ms);
        play(&mut player, now_ms, &mut board);
        prop_assert!(player.is_finished());
        prop_assert_eq!(board, live(&inputs));
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        inputs in inputs(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = record(&inputs);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        if let Ok(recording) = Recording::parse(bytes) {
            let mut player = Player::new(recording, 0);
            player.seek(u64::MAX, 0);
            play(&mut player, 0, &mut Board::default());
            prop_assert!(player.is_finished());
        }
    }

    #[test]
    fn a_torn_end_leaves_what_is_whole(inputs in inputs(), cut in any::<prop::sample::Index>()) {
        let bytes = record(&inputs);
        let head = record(&[]).len();
        let length = head + cut.index(bytes.len() - head + 1);
        let recording = Recording::parse(bytes[..length].to_vec()).unwrap();
        let whole = record(&inputs[..recording.len()]);
        prop_assert_eq!(whole.len() + recording.torn_bytes(), length);
        prop_assert_eq!(&bytes[..whole.len()], &whole[..]);
    }
}

#[test]
fn inputs_are_due_when_they_came() {
    let mut player = Player::new(attempts(5), 100);
    let mut board = Board::default();
    assert_eq!(play(&mut player, 100, &mut board), 1);
    assert_eq!(player.next_timeout_ms(), Some(1100));
    assert_eq!(play(&mut player, 1099, &mut board), 0);
    assert_eq!(play(&mut player, 1100, &mut board), 1);
    player.set_speed(Speed::from_permille(10_000), 1100);
    assert_eq!(player.next_timeout_ms(), Some(1200));
    player.set_speed(Speed::SLOWEST, 1150);
    // Half a second at ten times the speed, then a tenth of it.
    assert_eq!(player.position_ms(), 1500);
    assert_eq!(player.next_timeout_ms(), Some(6150));
    assert_eq!(play(&mut player, 6150, &mut board), 1);
    assert_eq!((player.progress_permille(), player.is_finished()), (500, false));
    player.set_speed(Speed::FASTEST, 6150);
    assert_eq!(play(&mut player, 6170, &mut board), 2);
    assert_eq!((player.progress_permille(), player.next_timeout_ms()), (1000, None));
    assert!(player.is_finished());
    assert_eq!(play(&mut player, 60_000, &mut board), 0);
    assert_eq!(player.position_ms(), 4000);
}

#[test]
fn at_the_time_that_is_asked_for_something_is_due() {
    for permille in [700, 3000, 99_999] {
        let mut player = Player::new(attempts(20), 5);
        let mut board = Board::default();
        play(&mut player, 5, &mut board);
        player.set_speed(Speed::from_permille(permille), 5);
        while let Some(at_ms) = player.next_timeout_ms() {
            assert_eq!(play(&mut player, at_ms - 1, &mut board), 0, "{permille}");
            assert_ne!(play(&mut player, at_ms, &mut board), 0, "{permille}");
        }
        assert!(player.is_finished());
    }
}

#[test]
fn a_paused_player_stands_still() {
    let mut player = Player::new(attempts(5), 0);
    let mut board = Board::default();
    play(&mut player, 500, &mut board);
    player.pause(500);
    assert_eq!(play(&mut player, 60_000, &mut board), 0);
    assert_eq!((player.position_ms(), player.next_timeout_ms()), (500, None));
    player.resume(60_000);
    assert_eq!(player.next_timeout_ms(), Some(60_500));
    // A clock that runs back plays nothing.
    assert_eq!(play(&mut player, 1, &mut board), 0);
    assert_eq!(play(&mut player, 60_100, &mut board), 0);
    assert_eq!(player.position_ms(), 600);
}

#[test]
fn seeking_back_begins_anew() {
    let mut player = Player::new(attempts(5), 0);
    let mut board = Board::default();
    player.seek(3000, 0);
    assert_eq!(play(&mut player, 0, &mut board), 4);
    player.seek(1500, 0);
    assert!(!player.is_finished());
    assert_eq!(player.poll(0), Some(Step::Reset));
    assert_eq!(play(&mut player, 0, &mut board), 2);
    // Back, but not behind what was told last.
    player.seek(1000, 0);
    assert_eq!(play(&mut player, 0, &mut board), 0);
}

#[test]
fn speeds_are_bounded() {
    assert_eq!(Speed::from_permille(0), Speed::SLOWEST);
    assert_eq!(Speed::from_permille(u32::MAX), Speed::FASTEST);
    assert_eq!(Speed::from_permille(2500).permille(), 2500);
}

#[test]
fn an_empty_recording_is_over_at_once() {
    let mut player = Player::new(Recording::parse(record(&[])).unwrap(), 0);
    assert_eq!((player.poll(10), player.next_timeout_ms()), (None, None));
    assert!(player.is_finished() && player.recording().is_empty());
    assert_eq!(player.progress_permille(), 1000);
}

#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    let parse = |bytes: &[u8]| Recording::parse(bytes.to_vec()).unwrap_err();
    assert!(matches!(parse(b"SISUPD1\n"), RecordingError::Magic));
    assert!(matches!(parse(b""), RecordingError::Magic));
    assert!(matches!(parse(&MAGIC), RecordingError::NoHeader));
    let with_version = |version| [MAGIC.to_vec(), frame::encode(&Header { version, ..header() })].concat();
    assert!(matches!(
        parse(&with_version(2)),
        RecordingError::Version { version: 2 }
    ));
    let mut long = record(&[]);
    long.extend(u32::MAX.to_be_bytes());
    let error = parse(&long);
    assert!(matches!(
        error,
        RecordingError::Record {
            number: 1,
            source: DecodeError::TooLong { .. }
        }
    ));
    let record_at = |offset_ms| {
        frame::encode(&Record {
            offset_ms,
            input: Input::Unknown,
        })
    };
    let back = [record(&[]), record_at(5), record_at(4)].concat();
    assert!(matches!(parse(&back), RecordingError::Time { number: 2 }));
    let late = [record(&[]), record_at(DURATION_MAX_MS + 1)].concat();
    assert!(matches!(parse(&late), RecordingError::Time { number: 1 }));
    let junk = [record(&[]), vec![0, 0, 0, 1, 0xff]].concat();
    assert!(matches!(parse(&junk), RecordingError::Record { number: 1, .. }));
    assert!(matches!(
        parse(&vec![0; RECORDING_BYTES_MAX + 1]),
        RecordingError::TooLong
    ));
}

#[test]
fn a_recording_has_so_many_records_and_no_more() {
    let record = frame::encode(&Record {
        offset_ms: 0,
        input: Input::Unknown,
    });
    let head = self::record(&[]);
    let most = [head, record.repeat(RECORDS_MAX)].concat();
    assert_eq!(Recording::parse(most.clone()).unwrap().len(), RECORDS_MAX);
    let more = [most, record].concat();
    assert!(matches!(Recording::parse(more), Err(RecordingError::TooLong)));
}

#[test]
fn an_input_of_a_newer_version_is_played_as_unknown() {
    /// A record whose input has a variant that does not exist yet.
    #[derive(Encode)]
    #[cbor(map)]
    struct NewerRecord {
        #[n(0)]
        offset_ms: u64,
        #[n(1)]
        input: NewerInput,
        #[n(9)]
        more: u32,
    }
    #[derive(Encode)]
    #[cbor(map)]
    enum NewerInput {
        #[n(40)]
        Tomorrow(#[n(0)] u32),
    }
    let newer = NewerRecord {
        offset_ms: 3,
        input: NewerInput::Tomorrow(1),
        more: 2,
    };
    let bytes = [record(&[]), frame::encode(&newer)].concat();
    let recording = Recording::parse(bytes).unwrap();
    let mut board = Board::default();
    let mut player = Player::new(recording, 0);
    player.seek(3, 0);
    assert_eq!(play(&mut player, 0, &mut board), 1);
    assert_eq!(board.unknown(), 1);
}

#[test]
fn a_recorder_refuses_what_it_could_not_read() {
    let (mut recorder, mut bytes) = Recorder::new(&header());
    let reason = "x".repeat(RECORD_BYTES_MAX);
    let long = Input::Link(Link::Refused { reason });
    assert!(matches!(recorder.record(NOW, long), Err(RecordError::TooLong { .. })));
    assert_eq!(
        recorder.record(NOW + DURATION_MAX_MS + 1, Input::Unknown),
        Err(RecordError::Full)
    );
    bytes.extend(recorder.record(NOW + DURATION_MAX_MS, Input::Unknown).unwrap());
    assert_eq!(Recording::parse(bytes).unwrap().duration_ms(), DURATION_MAX_MS);
    // A mebibyte at a time.
    let (mut recorder, bytes) = Recorder::new(&header());
    let reason = "x".repeat(1 << 20);
    let large = Input::Link(Link::Refused { reason });
    let mut written = bytes.len();
    let full = loop {
        match recorder.record(NOW, large.clone()) {
            Ok(bytes) => written += bytes.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(full, RecordError::Full);
    assert!(written <= RECORDING_BYTES_MAX && written > RECORDING_BYTES_MAX - (2 << 20));
}

#[test]
fn the_format_stays_as_it_is() {
    let (mut recorder, mut bytes) = Recorder::new(&Header::new("t", 5));
    bytes.extend(
        recorder
            .record(7, Input::Link(Link::Connecting { attempt: 3 }))
            .unwrap(),
    );
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

/// Magic; a header of version 1, by "t", from 5 on; two milliseconds later a link (input 1) that connects (1) for the third time.
const GOLDEN: &str = "534953524543310a\
    00000008a300010161740205\
    0000000da20002018201a1008201a10003";
