//! A proposal's way, from both sides.

use sis_protocol::control::{Counts, ErrorCode, EventKind, Failure, RequestBody, ResponseBody, Selection, Verdict};

use super::samples::{bootstrap, decided, event, faults, outcome, proposal, started};
use super::*;

const NOW: u64 = 1_700_000_000_000;
const HOLD: u64 = 5000;

/// Events of a board that has proposed 1 to 3.
fn proposed() -> Events {
    let mut events = Events::default();
    events.apply(started(1, 0, 3));
    for id in 1..=3 {
        events.apply(event(1, id, EventKind::Proposal(proposal(id))));
    }
    events
}

fn phase(events: &Events, id: u64) -> Phase<'_> {
    events.approvals().get(id).unwrap().phase()
}

fn pending(events: &Events) -> Vec<u64> {
    events.approvals().pending().map(|(id, _)| id).collect()
}

#[test]
fn an_approval_goes_all_its_way() {
    let mut events = proposed();
    let approvals = events.approvals_mut();
    approvals.decide(2, Decision::Approve, NOW, HOLD).unwrap();
    assert_eq!(approvals.poll_request(NOW + HOLD - 1), None);
    assert_eq!(approvals.next_request_ms(), Some(NOW + HOLD));
    let which = Selection::Ids(vec![2]);
    let request = RequestBody::MemApprove { which, by: None };
    assert_eq!(approvals.poll_request(NOW + HOLD), Some((2, request)));
    assert_eq!(
        (approvals.poll_request(NOW + HOLD), approvals.next_request_ms()),
        (None, None)
    );
    let sent = Submission::Sent {
        decision: Decision::Approve,
        at_ms: NOW + HOLD,
    };
    assert_eq!(phase(&events, 2), Phase::Submitting(&sent));
    events.approvals_mut().answered(
        2,
        Counts {
            executed: 1,
            ..Counts::default()
        },
    );
    let acknowledged = Submission::Acknowledged {
        decision: Decision::Approve,
    };
    assert_eq!(phase(&events, 2), Phase::Submitting(&acknowledged));
    events.apply(event(1, 4, decided(2, Verdict::Approved)));
    assert_eq!(phase(&events, 2), Phase::Approved { by: Some("laptop") });
    let outcome = outcome(2, Some(faults(1000, 3000)));
    events.apply(event(1, 5, EventKind::Outcome(outcome.clone())));
    assert_eq!(phase(&events, 2), Phase::Settled(&outcome));
    let effect = events.approvals().get(2).unwrap().effect().unwrap();
    assert_eq!(effect.mean_change_percent, -75.0);
    assert!((effect.p99_change_percent + 66.667).abs() < 0.001);
    assert_eq!(pending(&events), [1, 3]);
}

#[test]
fn what_is_held_can_be_undone_and_what_is_sent_cannot() {
    let mut events = proposed();
    let approvals = events.approvals_mut();
    approvals.decide(1, Decision::Reject, NOW, HOLD).unwrap();
    approvals.undo(1).unwrap();
    assert_eq!(approvals.poll_request(NOW + 10 * HOLD), None);
    assert_eq!(approvals.undo(1), Err(DecideError::NothingToUndo { id: 1 }));
    approvals.decide(1, Decision::Reject, NOW, 0).unwrap();
    let which = Selection::Ids(vec![1]);
    assert_eq!(
        approvals.poll_request(NOW),
        Some((1, RequestBody::MemReject { which, by: None }))
    );
    assert_eq!(approvals.undo(1), Err(DecideError::NothingToUndo { id: 1 }));
    assert_eq!(approvals.undo(9), Err(DecideError::Unknown { id: 9 }));
}

#[test]
fn a_proposal_is_decided_once() {
    let mut events = proposed();
    let mut decide = |id| events.approvals_mut().decide(id, Decision::Approve, NOW, 0);
    assert_eq!(decide(1), Ok(()));
    assert_eq!(decide(1), Err(DecideError::Submitted { id: 1 }));
    assert_eq!(decide(9), Err(DecideError::Unknown { id: 9 }));
    events.apply(event(1, 4, decided(2, Verdict::Expired)));
    let approvals = events.approvals_mut();
    let refused = approvals.decide(2, Decision::Approve, NOW, 0);
    assert_eq!(refused, Err(DecideError::NotPending { id: 2 }));
}

#[test]
fn a_decision_that_does_not_get_through_can_be_made_again() {
    let ends: [fn(&mut Approvals); 3] = [
        |approvals| {
            approvals.refused(
                1,
                Failure {
                    code: ErrorCode::Forbidden,
                    message: "you may not\x07".into(),
                },
            );
        },
        |approvals| approvals.unanswered(1),
        |approvals| {
            approvals.answered(
                1,
                Counts {
                    not_found: 1,
                    ..Counts::default()
                },
            );
        },
    ];
    let mut reasons = Vec::new();
    for end in ends {
        let mut events = proposed();
        let approvals = events.approvals_mut();
        approvals.decide(1, Decision::Approve, NOW, 0).unwrap();
        assert!(approvals.poll_request(NOW).is_some());
        end(approvals);
        let Phase::Pending { failure: Some(reason) } = phase(&events, 1) else {
            panic!("{:?}", phase(&events, 1));
        };
        reasons.push(reason.to_owned());
        assert_eq!(events.approvals_mut().decide(1, Decision::Approve, NOW, 0), Ok(()));
    }
    assert_eq!(reasons[0], "you may not\\u{7}");
    assert_ne!(reasons[1], reasons[2]);
}

#[test]
fn an_answer_to_what_was_not_sent_is_no_answer() {
    let mut events = proposed();
    let approvals = events.approvals_mut();
    approvals.decide(1, Decision::Approve, NOW, HOLD).unwrap();
    approvals.answered(1, Counts::default());
    approvals.unanswered(1);
    approvals.unanswered(2);
    assert_eq!(approvals.next_request_ms(), Some(NOW + HOLD));
    assert_eq!(phase(&events, 2), Phase::Pending { failure: None });
}

#[test]
fn numbers_out_of_their_range_are_brought_into_it() {
    let mut events = Events::default();
    let mut wild = proposal(1);
    (wild.risk, wild.confidence) = (u32::MAX, u32::MAX);
    events.apply(event(1, 1, EventKind::Proposal(wild)));
    let proposal = events.approvals().get(1).unwrap().proposal().unwrap();
    assert_eq!((proposal.risk, proposal.confidence), (100, 1000));
}

#[test]
fn somebody_else_may_be_faster() {
    let mut events = proposed();
    events.approvals_mut().decide(1, Decision::Approve, NOW, HOLD).unwrap();
    events.apply(event(1, 4, decided(1, Verdict::Rejected)));
    assert_eq!(phase(&events, 1), Phase::Rejected { by: Some("laptop") });
    assert_eq!(events.approvals_mut().poll_request(NOW + HOLD), None);
    assert_eq!(events.approvals().next_request_ms(), None);
}

#[test]
fn every_verdict_is_shown_for_what_it_is() {
    let mut events = proposed();
    events.apply(event(1, 4, decided(1, Verdict::Expired)));
    events.apply(event(1, 5, decided(2, Verdict::Dropped)));
    events.apply(event(1, 6, decided(3, Verdict::Unknown(77))));
    assert_eq!(phase(&events, 1), Phase::Expired);
    assert_eq!(phase(&events, 2), Phase::Dropped);
    assert_eq!(phase(&events, 3), Phase::DecidedOtherwise { number: 77 });
    assert_eq!(pending(&events), [0; 0]);
}

#[test]
fn missing_events_put_what_waited_in_doubt_until_the_board_lists_it() {
    let mut events = proposed();
    events.apply_answer(&ResponseBody::Approvals(vec![]));
    events.apply_answer(&ResponseBody::History(vec![]));
    // Nothing was in doubt: an answer that is older than the events does not take them back.
    assert_eq!(pending(&events), [1, 2, 3]);
    assert!(!events.needs_state());
    events.apply(bootstrap(1, 50));
    assert!(events.needs_state());
    events.apply(event(1, 51, EventKind::Proposal(proposal(9))));
    events.apply_answer(&ResponseBody::Approvals(vec![proposal(2), proposal(7)]));
    assert_eq!(pending(&events), [2, 7, 9]);
    assert_eq!(phase(&events, 1), Phase::Gone);
    assert!(events.needs_state());
    events.apply_answer(&ResponseBody::History(vec![outcome(3, None), outcome(1, None)]));
    assert!(matches!(phase(&events, 1), Phase::Settled(_)));
    assert!(!events.needs_state());
}

#[test]
fn an_old_list_does_not_bring_back_what_was_decided() {
    let mut events = proposed();
    events.apply(event(1, 4, decided(1, Verdict::Rejected)));
    events.apply_answer(&ResponseBody::Approvals(vec![proposal(1)]));
    assert_eq!(pending(&events), [2, 3]);
    let measured = outcome(2, Some(faults(1, 1)));
    events.apply(event(1, 5, EventKind::Outcome(measured.clone())));
    events.apply_answer(&ResponseBody::History(vec![outcome(2, None)]));
    events.apply(event(1, 6, decided(2, Verdict::Approved)));
    assert_eq!(phase(&events, 2), Phase::Settled(&measured));
}

#[test]
fn a_new_life_numbers_proposals_anew() {
    let mut events = proposed();
    events.apply(event(1, 4, decided(1, Verdict::Rejected)));
    events.apply(bootstrap(2, 0));
    assert_eq!(events.approvals().iter().count(), 0);
    events.apply(event(2, 1, EventKind::Proposal(proposal(1))));
    assert_eq!(pending(&events), [1]);
}

#[test]
fn no_effect_is_made_up() {
    let nothing = |samples| sis_protocol::control::FaultStats {
        samples,
        mean_ns: 0,
        p99_ns: 0,
    };
    for after in [None, Some(nothing(0))] {
        assert_eq!(Effect::of(&outcome(1, after)), None);
    }
    let mut from_nothing = outcome(1, Some(faults(5, 5)));
    from_nothing.before = Some(nothing(3));
    assert_eq!(Effect::of(&from_nothing), None);
}

#[test]
fn so_many_approvals_are_kept_and_those_that_wait_go_last() {
    let mut events = Events::default();
    events.apply(started(1, 0, 0));
    for id in 1..=1000 {
        events.apply(event(1, 2 * id, EventKind::Proposal(proposal(id))));
        if id > 10 {
            events.apply(event(1, 2 * id + 1, decided(id, Verdict::Rejected)));
        }
    }
    assert_eq!(events.approvals().iter().count(), KEPT_MAX);
    assert_eq!(pending(&events), (1..=10).collect::<Vec<_>>());
    // Word of one that was forgotten comes too late.
    events.apply_answer(&ResponseBody::Approvals(vec![proposal(20)]));
    assert_eq!(pending(&events), (1..=10).collect::<Vec<_>>());
}
