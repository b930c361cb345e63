//! Which trade ids were seen: a few ranges, however long the tape.

/// Sets of ids as sorted, disjoint, inclusive ranges.
#[derive(Debug, Default)]
pub(crate) struct IdRanges {
    pub(crate) ranges: Vec<(u64, u64)>,
}

impl IdRanges {
    pub(crate) fn contains(&self, id: u64) -> bool {
        match self.ranges.last() {
            Some(&(_, high)) if id > high => false,
            Some(&(low, _)) if id >= low => true,
            _ => {
                let after = self.ranges.partition_point(|&(low, _)| low <= id);
                after > 0 && self.ranges[after - 1].1 >= id
            }
        }
    }

    /// Adds an id that is not contained.
    pub(crate) fn insert(&mut self, id: u64) {
        if let Some((_, high)) = self.ranges.last_mut()
            && *high < u64::MAX
            && *high + 1 == id
        {
            *high = id;
            return;
        }
        let after = self.ranges.partition_point(|&(low, _)| low <= id);
        let joins_left = after > 0 && self.ranges[after - 1].1.checked_add(1) == Some(id);
        let joins_right = self
            .ranges
            .get(after)
            .is_some_and(|&(low, _)| id.checked_add(1) == Some(low));
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = id,
            (false, true) => self.ranges[after].0 = id,
            (false, false) => self.ranges.insert(after, (id, id)),
        }
    }
}
