//! Which strategy fits: a pure function of smoothed measurements, with hysteresis.

use super::types::{ConfidenceReason, Reason, Strategy};

/// The numbers of the policy. Shares are of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From this use of memory on, be conservative.
    pub pressure_enter: u32,
    /// Down to this use, stay conservative. Below `pressure_enter`.
    pub pressure_leave: u32,
    /// Up to this use there is room for a large pool. At most `pressure_leave`.
    pub pressure_room: u32,
    /// From this many faults a second on, a larger pool helps.
    pub faults_enter: u32,
    /// Down to this many faults a second, keep it. Below `faults_enter`.
    pub faults_leave: u32,
    /// From this share of faults without a pre-zeroed page on, a larger pool helps.
    pub misses_enter: u32,
    /// How many observations in a row another strategy must fit before it is proposed.
    pub streak: u32,
    /// The confidence that a proposal needs, 0 to 1000.
    pub confidence_threshold: u32,
    /// The risk up to which a proposal needs no approval while approval mode is off, 0 to 100.
    pub risk_ceiling: u32,
    /// The pause after a proposal or a change.
    pub pause_ns: u64,
    /// The pause before a change that was rejected, or that nobody decided about, is proposed again.
    pub refused_pause_ns: u64,
    /// How long a proposal waits.
    pub expiry_ns: u64,
    /// How long the effect of a change is measured at least.
    pub measure_min_ns: u64,
    /// How long it is measured at most.
    pub measure_max_ns: u64,
    /// How many faults it takes to measure an effect before the longest time.
    pub measure_faults: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            pressure_enter: 900,
            pressure_leave: 800,
            pressure_room: 700,
            faults_enter: 1000,
            faults_leave: 200,
            misses_enter: 100,
            streak: 3,
            confidence_threshold: 600,
            risk_ceiling: 30,
            pause_ns: 5 * SECOND,
            refused_pause_ns: 60 * SECOND,
            expiry_ns: 120 * SECOND,
            measure_min_ns: 2 * SECOND,
            measure_max_ns: 15 * SECOND,
            measure_faults: 200,
        }
    }
}

/// The state that a decision rests on: smoothed, in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Used memory of all, of 1000. The pool of pre-zeroed pages counts as free.
    pub pressure_permille: u32,
    /// Page faults a second.
    pub faults_per_s: u32,
    /// The share of faults that found no pre-zeroed page, of 1000.
    pub miss_permille: u32,
    /// The mean fault latency, 0 when no fault was measured.
    pub fault_mean_ns: u64,
    /// Free frames at the last observation, without the pool.
    pub free_frames: u64,
    /// Frames in the pool at the last observation.
    pub zero_pool_frames: u64,
}

impl Policy {
    /// Which strategy fits, seen from the one in force, and why. It is the one in force when there is no reason to change.
    ///
    /// Seen from the answer, the answer is the same: constant measurements lead to at most one change.
    pub fn fitting(&self, current: Strategy, state: &Summary) -> (Strategy, Option<Reason>) {
        let &Summary {
            pressure_permille,
            faults_per_s,
            miss_permille,
            ..
        } = state;
        let (to, reason) = if pressure_permille >= self.pressure_enter {
            (Strategy::Conservative, Reason::HighPressure { pressure_permille })
        } else if current == Strategy::Conservative && pressure_permille > self.pressure_leave {
            return (current, None);
        } else if faults_per_s >= self.faults_enter
            && miss_permille >= self.misses_enter
            && pressure_permille <= self.pressure_room
        {
            (
                Strategy::Aggressive,
                Reason::FaultRate {
                    faults_per_s,
                    miss_permille,
                },
            )
        } else if current == Strategy::Aggressive
            && faults_per_s > self.faults_leave
            && pressure_permille <= self.pressure_leave
        {
            return (current, None);
        } else if current == Strategy::Conservative {
            (Strategy::Balanced, Reason::PressureEased { pressure_permille })
        } else {
            (
                Strategy::Balanced,
                Reason::FaultsEased {
                    faults_per_s,
                    pressure_permille,
                },
            )
        };
        if to == current {
            (current, None)
        } else {
            (to, Some(reason))
        }
    }

    /// Whether a change is still needed: the strategy is still the one that it starts from, and what it leads to would be kept. A change
    /// back to the middle must also still be called for, as it would nearly always be kept.
    pub fn is_still_needed(&self, current: Strategy, from: Strategy, to: Strategy, state: &Summary) -> bool {
        let is_kept = self.fitting(to, state).0 == to;
        let is_called_for = self.fitting(from, state).0 != from;
        current == from && from != to && is_kept && (to != Strategy::Balanced || is_called_for)
    }

    /// How sure a proposal is, 0 to 1000: more the further beyond the threshold the measurements are and the longer they have been; less
    /// with a short history or when the use of memory swings by `swing` (of 1000).
    pub fn confidence(
        &self,
        to: Strategy,
        state: &Summary,
        streak: u32,
        seen: u64,
        swing: u32,
    ) -> (u32, ConfidenceReason) {
        let beyond = |value: u32, threshold: u32, end: u32| {
            let room = u64::from(end.saturating_sub(threshold).max(1));
            (u64::from(value.saturating_sub(threshold)) * 1000 / room).min(1000) as u32
        };
        let margin = match to {
            Strategy::Conservative => beyond(state.pressure_permille, self.pressure_enter, 1000),
            Strategy::Aggressive => {
                let faults = beyond(
                    state.faults_per_s,
                    self.faults_enter,
                    self.faults_enter.saturating_mul(3),
                );
                faults.min(beyond(
                    state.miss_permille,
                    self.misses_enter,
                    self.misses_enter.saturating_mul(5),
                ))
            }
            // Giving memory or pool back is the surer the less of it is used.
            Strategy::Balanced => 1000 - state.pressure_permille.min(1000),
        };
        let patience = streak.saturating_sub(self.streak).min(4) * 50;
        let sure = 500 + margin * 3 / 10 + patience;
        match seen {
            0..10 => (sure / 4, ConfidenceReason::Initializing),
            10..50 => (sure - 200, ConfidenceReason::InsufficientHistory),
            _ if swing > 300 => (sure - 250, ConfidenceReason::HighStateUncertainty),
            _ => (sure, ConfidenceReason::Normal),
        }
    }

    /// How bad a change may turn out, 0 to 100: a large pool takes memory that may be missing later; the others give memory back.
    pub fn risk(&self, to: Strategy, state: &Summary) -> u32 {
        match to {
            Strategy::Aggressive if state.pressure_permille > 650 => 80,
            Strategy::Aggressive if state.pressure_permille > 500 => 50,
            Strategy::Aggressive | Strategy::Balanced | Strategy::Conservative => 20,
        }
    }
}
