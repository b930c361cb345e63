//! Lines of CSV files as people have them: cut anywhere, some of them bad, some in the wrong place.
//!
//! A bad line is left out, counted, and the first few are kept with their numbers. It leaves a
//! doubt: what lies between the good lines around it is not known to be complete.

/// How many bad lines are kept to be told; all are counted.
pub const MOST_TOLD: usize = 10;

/// A longer line is none; bounds the memory for a file without line feeds.
const LONGEST: usize = 4096;

/// Stands for a line that is too long: bad for every reader.
const TOO_LONG: &[u8] = b"\0\n";

/// A line that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// 1-based number of the line.
    pub line: u64,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// The lines that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadLines {
    /// The first of them.
    pub first: Vec<BadLine>,
    /// How many there are in all.
    pub count: u64,
}

impl BadLines {
    pub(crate) fn add(&mut self, line: u64, problem: &'static str) {
        self.count += 1;
        if self.first.len() < MOST_TOLD {
            self.first.push(BadLine { line, problem });
        }
    }
}

/// Puts pieces of a file together to whole lines.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The unfinished line at the end of the last piece.
    rest: Vec<u8>,
    /// That line is too long already, and dropped.
    too_long: bool,
}

impl Pieces {
    /// Hands on whole lines, several at once, each with its line feed.
    pub(crate) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) {
        let Some(end) = piece.iter().rposition(|&byte| byte == b'\n') else {
            return self.keep(piece);
        };
        let (mut whole, rest) = piece.split_at(end + 1);
        if (self.too_long || !self.rest.is_empty())
            && let Some(first) = whole.iter().position(|&byte| byte == b'\n')
        {
            self.keep(&whole[..=first]);
            self.hand_on(&mut each);
            whole = &whole[first + 1..];
        }
        each(whole);
        self.keep(rest);
    }

    /// Hands on the last line, should it have no line feed.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if self.too_long || !self.rest.is_empty() {
            self.keep(b"\n");
            self.hand_on(&mut each);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_long || self.rest.len() + part.len() > LONGEST {
            self.too_long = true;
            self.rest.clear();
        } else {
            self.rest.extend_from_slice(part);
        }
    }

    fn hand_on(&mut self, each: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.rest);
        each(if std::mem::take(&mut self.too_long) {
            TOO_LONG
        } else {
            &line
        });
    }
}

/// The place behind the line feed, when the line ends here.
#[inline]
pub(crate) fn line_end(text: &[u8], at: usize) -> Option<usize> {
    match (text.get(at), text.get(at + 1)) {
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        _ => None,
    }
}

/// The place behind the next line feed; the end of the text without one.
pub(crate) fn next_line(text: &[u8], at: usize) -> usize {
    let left = text.get(at..).unwrap_or_default();
    left.iter()
        .position(|&byte| byte == b'\n')
        .map_or(text.len(), |length| at + length + 1)
}

/// Where a line stands among its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinePlace {
    /// Times rise.
    InOrder,
    /// The file goes back here, and rises again from here on.
    Back,
    /// The time of the line before once more.
    Doubled,
    /// The line alone disturbs the order: its time is wrong, or it was put in the wrong place.
    Out,
}

/// Judges a line by the times of the last good one and of the one behind.
#[inline]
fn place(before: Option<i64>, here: i64, behind: Option<i64>, ties: bool) -> LinePlace {
    let Some(before) = before else {
        return LinePlace::InOrder;
    };
    if here == before && !ties {
        return LinePlace::Doubled;
    }
    let goes_on = |from: i64, to: i64| from < to || (ties && from == to);
    if here >= before {
        return match behind {
            Some(behind) if behind < here && goes_on(before, behind) => LinePlace::Out,
            _ => LinePlace::InOrder,
        };
    }
    match behind {
        Some(behind) if behind < before && goes_on(here, behind) => LinePlace::Back,
        _ => LinePlace::Out,
    }
}

/// A line that could be read.
#[derive(Debug)]
struct KeptLine<T> {
    number: u64,
    time: i64,
    row: T,
}

/// Puts lines in their place, one behind: one wrong time must not shut out all that follow.
#[derive(Debug)]
pub(crate) struct Sequence<T> {
    /// Whether two lines may share a time.
    ties: bool,
    /// The first line, should the second lie before it: the third decides which of them is wrong.
    first: Option<KeptLine<T>>,
    /// The newest line, judged when the next one is known.
    waiting: Option<KeptLine<T>>,
    last: Option<i64>,
    in_order: bool,
    bad: BadLines,
    doubts: Doubts,
    /// More time than this between two good lines is told: nobody knows what was there.
    longest: i64,
    silences: Vec<(i64, i64)>,
}

#[derive(Debug, Default)]
struct Doubts {
    stretches: Vec<(i64, i64)>,
    /// Something was left out behind the last good line.
    here: bool,
    /// Something was left out behind the line that waits.
    behind: bool,
}

impl<T> Sequence<T> {
    pub(crate) fn new(ties: bool, longest: i64) -> Self {
        Self {
            ties,
            first: None,
            waiting: None,
            last: None,
            in_order: true,
            bad: BadLines::default(),
            doubts: Doubts::default(),
            longest,
            silences: Vec::new(),
        }
    }

    /// Time of the last good line.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Whether the file has not gone back in time so far.
    pub(crate) fn in_order(&self) -> bool {
        self.in_order
    }

    pub(crate) fn bad(&self) -> &BadLines {
        &self.bad
    }

    /// Takes the stretches of time in which lines were left out: the good lines around them.
    pub(crate) fn take_doubts(&mut self) -> Vec<(i64, i64)> {
        std::mem::take(&mut self.doubts.stretches)
    }

    /// Takes the stretches without a line that are too long: the good lines around them.
    pub(crate) fn take_silences(&mut self) -> Vec<(i64, i64)> {
        std::mem::take(&mut self.silences)
    }

    /// Notes a line that could not be read.
    pub(crate) fn refuse(&mut self, number: u64, problem: &'static str) {
        self.bad.add(number, problem);
        if self.waiting.is_some() {
            self.doubts.behind = true;
        } else {
            self.doubts.here = true;
        }
    }

    /// Adds a line that could be read; `each` takes the one before, should it be in its place.
    /// Gives how many were taken.
    #[inline]
    pub(crate) fn add(
        &mut self,
        number: u64,
        time: i64,
        row: T,
        each: &mut impl FnMut(T) -> Result<(), &'static str>,
    ) -> u64 {
        let taken = self.settle(Some(time), each);
        self.waiting = Some(KeptLine { number, time, row });
        taken
    }

    /// Decides on what still waits: there is no other line.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(T) -> Result<(), &'static str>) -> u64 {
        self.settle(None, each)
    }

    #[inline]
    fn settle(
        &mut self,
        behind: Option<i64>,
        each: &mut impl FnMut(T) -> Result<(), &'static str>,
    ) -> u64 {
        let Some(line) = self.waiting.take() else {
            return 0;
        };
        let mut taken = 0;
        if let Some(first) = self.first.take() {
            taken += match behind {
                Some(behind) if behind < first.time => self.leave_out(&first),
                _ => self.accept(first, each),
            };
            self.doubts.here |= self.doubts.behind;
        }
        if self.last.is_none() && behind.is_some_and(|behind| behind < line.time) {
            self.first = Some(line);
            return taken;
        }
        taken += match place(self.last, line.time, behind, self.ties) {
            LinePlace::InOrder => self.accept(line, each),
            LinePlace::Back => {
                self.in_order = false;
                self.accept(line, each)
            }
            LinePlace::Doubled => {
                self.bad.add(line.number, "the time occurs twice");
                0
            }
            LinePlace::Out => self.leave_out(&line),
        };
        self.doubts.here |= std::mem::take(&mut self.doubts.behind);
        taken
    }

    fn leave_out(&mut self, line: &KeptLine<T>) -> u64 {
        self.bad.add(line.number, "the time does not rise");
        self.doubts.here = true;
        0
    }

    #[inline]
    fn accept(
        &mut self,
        line: KeptLine<T>,
        each: &mut impl FnMut(T) -> Result<(), &'static str>,
    ) -> u64 {
        if let Err(problem) = each(line.row) {
            self.bad.add(line.number, problem);
            self.doubts.here = true;
            return 0;
        }
        if std::mem::take(&mut self.doubts.here)
            && let Some(last) = self.last
        {
            self.doubts
                .stretches
                .push((last.min(line.time), last.max(line.time)));
        }
        if let Some(last) = self.last
            && line.time.saturating_sub(last) > self.longest
        {
            self.silences.push((last, line.time));
        }
        self.last = Some(line.time);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut reader = Pieces::default();
        for piece in pieces {
            reader.feed(piece, |text| all.extend_from_slice(text));
        }
        reader.finish(|text| all.extend_from_slice(text));
        all.split_inclusive(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn a_line_may_span_pieces() {
        let wanted: [&[u8]; 3] = [b"ab\n", b"cd\r\n", b"e\n"];
        assert_eq!(lines(&[b"ab\ncd\r\ne"]), wanted);
        assert_eq!(lines(&[b"a", b"b", b"\nc", b"d\r\ne", b"\n"]), wanted);
        assert!(lines(&[b"", b""]).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_one_bad_line() {
        let long = vec![b'1'; LONGEST + 1];
        assert_eq!(
            lines(&[b"a\n", &long, &long, b"x\nb\n"])[1..],
            [TOO_LONG.to_vec(), b"b\n".to_vec()]
        );
        assert_eq!(lines(&[&long, b"\n"]), [TOO_LONG]);
        assert_eq!(lines(&[&long]), [TOO_LONG]);
        let just = [&long[..LONGEST - 1], b"\n"].concat();
        assert_eq!(
            lines(&[&just[..9], &just[9..]]),
            std::slice::from_ref(&just)
        );
    }

    #[test]
    fn one_wrong_time_shuts_nothing_out() {
        use LinePlace::{Back, Doubled, InOrder, Out};
        for (before, here, behind, wanted) in [
            (None, 5, None, InOrder),
            (None, 5, Some(4), InOrder),
            (Some(1), 2, Some(3), InOrder),
            (Some(1), 2, None, InOrder),
            (Some(1), 9, Some(2), Out),
            (Some(1), 9, Some(9), InOrder),
            (Some(1), 9, Some(1), InOrder), // the next one is the double
            (Some(1), 9, Some(0), InOrder), // the file goes back behind it
            (Some(5), 5, Some(6), Doubled),
            (Some(5), 1, Some(6), Out),
            (Some(5), 1, Some(5), Out),
            (Some(5), 1, None, Out),
            (Some(5), 1, Some(2), Back),
            (Some(5), 1, Some(1), Out),
            (Some(5), 1, Some(0), Out),
        ] {
            let found = place(before, here, behind, false);
            assert_eq!(found, wanted, "{before:?} {here} {behind:?}");
        }
        // Trades may share a time.
        assert_eq!(place(Some(5), 5, Some(6), true), InOrder);
        assert_eq!(place(Some(5), 9, Some(5), true), Out);
        assert_eq!(place(Some(5), 1, Some(1), true), Back);
        assert_eq!(place(Some(5), 1, Some(5), true), Out);
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_ten_kept() {
        let mut bad = BadLines::default();
        for line in 1..=12 {
            bad.add(line, "x");
        }
        assert_eq!((bad.count, bad.first.len()), (12, MOST_TOLD));
        assert_eq!(bad.first[9].line, 10);
    }

    type Found = (Vec<i64>, Vec<u64>, Vec<(i64, i64)>);

    /// Reads times; None is a line that is none. Gives what was taken, bad lines, doubts.
    fn sequence(times: &[Option<i64>]) -> Found {
        let mut taken = Vec::new();
        let mut each = |time| {
            taken.push(time);
            Ok(())
        };
        let mut lines = Sequence::new(false, i64::MAX);
        for (time, number) in times.iter().zip(1..) {
            match time {
                Some(time) => {
                    lines.add(number, *time, *time, &mut each);
                }
                None => lines.refuse(number, "none"),
            }
        }
        lines.finish(&mut each);
        assert_eq!(lines.last(), taken.last().copied());
        let bad = lines.bad().first.iter().map(|bad| bad.line).collect();
        (taken, bad, lines.take_doubts())
    }

    #[test]
    fn the_first_line_may_be_the_wrong_one() {
        let times = |times: &[i64]| times.iter().copied().map(Some).collect::<Vec<_>>();
        for (given, taken, bad) in [
            (vec![9, 1, 2, 3], vec![1, 2, 3], vec![1]),
            (vec![1, 0, 2, 3], vec![1, 2, 3], vec![2]),
            (vec![1, 0], vec![1], vec![2]),
            (vec![5], vec![5], vec![]),
            (vec![9, 8, 1, 2], vec![1, 2], vec![1, 2]),
            (vec![5, 1, 5, 6], vec![5, 6], vec![2, 3]),
        ] {
            let found = sequence(&times(&given));
            assert_eq!((found.0, found.1), (taken, bad), "{given:?}");
        }
    }

    #[test]
    fn a_doubt_lies_between_the_good_lines() {
        let none = None;
        for (given, doubts) in [
            (vec![none, Some(1), Some(2), none], vec![]),
            (vec![Some(1), none, Some(4), Some(5)], vec![(1, 4)]),
            (
                vec![Some(1), Some(2), none, none, Some(4), none, Some(9)],
                vec![(2, 4), (4, 9)],
            ),
            (vec![Some(1), Some(90), Some(2), Some(3)], vec![(1, 2)]),
            (vec![Some(1), Some(1), Some(2)], vec![]),
            (vec![Some(1), Some(1), none, Some(2)], vec![(1, 2)]),
            // The first is wrong, and something is missing before the second (where the doubt costs
            // nothing), or behind it.
            (vec![Some(9), none, Some(1), Some(2), Some(3)], vec![(1, 2)]),
            (vec![Some(1), none, Some(0), Some(4), Some(5)], vec![(1, 4)]),
            (vec![Some(1), Some(0), none, Some(4), Some(5)], vec![(1, 4)]),
            (vec![Some(9), Some(1), none, Some(4), Some(5)], vec![(1, 4)]),
        ] {
            assert_eq!(sequence(&given).2, doubts, "{given:?}");
        }
    }

    #[test]
    fn a_stretch_without_a_line_that_is_too_long_is_told() {
        let mut lines = Sequence::new(false, 10);
        for (number, time) in [(1, 1), (2, 11), (3, 22), (4, 3), (5, 4), (6, 90)] {
            lines.add(number, time, (), &mut |()| Ok(()));
        }
        lines.finish(&mut |()| Ok(()));
        // Ten are not too many, and going back is no silence.
        assert_eq!(lines.take_silences(), [(11, 22), (4, 90)]);
        assert!(lines.take_silences().is_empty());
    }

    #[test]
    fn what_is_not_taken_is_bad() {
        let mut lines = Sequence::new(true, i64::MAX);
        let mut each = |row: u8| if row == 2 { Err("two") } else { Ok(()) };
        let mut taken = 0;
        for (number, row) in [(1, 1), (2, 2), (3, 3)] {
            taken += lines.add(number, 7, row, &mut each);
        }
        taken += lines.finish(&mut each);
        assert_eq!(taken, 2);
        assert_eq!(
            lines.bad().first,
            [BadLine {
                line: 2,
                problem: "two"
            }]
        );
        assert_eq!(lines.take_doubts(), [(7, 7)]);
    }
}
