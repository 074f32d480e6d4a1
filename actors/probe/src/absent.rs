//! What stands in for the switches in a build without them: constants, and nothing to
//! switch.

use crate::{Plant, Point};

pub(crate) const fn reach(_: &'static str) {}

pub(crate) const fn strikes(_: Plant) -> bool {
    false
}

pub(crate) const fn draw(_: Point) -> bool {
    false
}

/// Plants nothing.
pub fn plant(_: Option<Plant>) {}

/// Switches nothing on.
pub fn loosen(_: u64, _: impl Fn(Point) -> u32) {}

/// No path was recorded.
pub fn reached() -> Vec<(&'static str, u64)> {
    Vec::new()
}

/// No point has said yes.
pub fn buggified() -> Vec<(Point, u64)> {
    Vec::new()
}

/// Nothing has struck.
pub fn struck() -> u64 {
    0
}
