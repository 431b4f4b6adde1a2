//! Times as FAT keeps them: a date and a time of day since 1980, in steps of two seconds, of no time zone. They are taken for
//! UTC, as Linux does on a machine without a local time zone.

/// Seconds since 1970, UTC, and what goes beyond whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds below a second.
    pub nanoseconds: u32,
}

const DAY: i64 = 86_400;
/// 1980-01-01.
const FIRST: i64 = 315_532_800;
/// 2107-12-31 23:59:58.
const LAST: i64 = 4_354_819_198;

/// Year, month and day of days since 1970 (Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*).
const fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The inverse of [`civil`].
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl Timestamp {
    /// The first that FAT can say.
    pub const MIN: Self = Self {
        seconds: FIRST,
        nanoseconds: 0,
    };
    /// The last.
    pub const MAX: Self = Self {
        seconds: LAST,
        nanoseconds: 0,
    };

    /// The date, the time of day, and the hundredths of a second beyond it (0 to 199). What FAT cannot say becomes the nearest
    /// that it can.
    pub(crate) fn to_fat(self) -> (u16, u16, u8) {
        let seconds = self.seconds.clamp(FIRST, LAST);
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let date = ((year - 1980) << 9) | (month << 5) | day;
        let time = ((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | (of_day % 60 / 2);
        let fine = (of_day % 2) * 100 + i64::from(self.nanoseconds / 10_000_000).min(99);
        (date as u16, time as u16, fine as u8)
    }

    /// The inverse; a month or day of 0 counts as 1.
    pub(crate) fn from_fat(date: u16, time: u16, fine: u8) -> Self {
        let (date, time, fine) = (i64::from(date), i64::from(time), i64::from(fine.min(199)));
        let day = days(1980 + (date >> 9), ((date >> 5) & 15).clamp(1, 12), (date & 31).max(1));
        let of_day = (time >> 11) * 3600 + ((time >> 5) & 63) * 60 + (time & 31) * 2;
        Self {
            seconds: day * DAY + of_day + fine / 100,
            nanoseconds: (fine % 100) as u32 * 10_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_are_as_mtools_writes_them() {
        // 2026-11-26 20:31:07.5 UTC.
        let t = Timestamp {
            seconds: 1_795_725_067,
            nanoseconds: 500_000_000,
        };
        let (date, time, fine) = t.to_fat();
        assert_eq!((date >> 9, date >> 5 & 15, date & 31), (46, 11, 26));
        assert_eq!((time >> 11, time >> 5 & 63, (time & 31) * 2), (20, 31, 6));
        assert_eq!(fine, 150);
        assert_eq!(Timestamp::from_fat(date, time, fine), t);
    }

    #[test]
    fn every_day_of_the_range_comes_back() {
        let mut seconds = FIRST;
        while seconds < LAST {
            let t = Timestamp {
                seconds,
                nanoseconds: 0,
            };
            let (date, time, fine) = t.to_fat();
            assert_eq!(Timestamp::from_fat(date, time, fine), t);
            seconds += DAY;
        }
    }

    #[test]
    fn what_fat_cannot_say_becomes_the_nearest_that_it_can() {
        let at = |seconds| Timestamp {
            seconds,
            nanoseconds: 0,
        };
        let back = |t: Timestamp| {
            let (date, time, fine) = t.to_fat();
            Timestamp::from_fat(date, time, fine)
        };
        assert_eq!(back(at(0)), at(FIRST));
        assert_eq!(back(at(i64::MIN)), at(FIRST));
        assert_eq!(back(at(i64::MAX)), at(LAST));
        // Any bits are some time.
        for bits in 0..=u16::MAX {
            let _ = Timestamp::from_fat(bits, bits, bits as u8);
        }
    }
}
