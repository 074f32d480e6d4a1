//! How rarely the product does what is rare but legal, in one run.
//!
//! Swarm style: each seed draws which points there are at all, and how often each says
//! yes, so that no point hides what another would show.

use probe::Point;

use crate::kernel::rng::Stream;

/// Of a million seeds, so many have a point at all.
const ENABLED_PPM: u64 = 400_000;
/// A point that there is says yes at least, and at most, so often, in millionths.
const SHARE_PPM_MIN: u64 = 10_000;
const SHARE_PPM_MAX: u64 = 500_000;

/// Switches the points of this process on as this seed draws them.
pub fn loosen(seed: u64) {
    let mut stream = Stream::new(seed, "rare", 0);
    let shares: Vec<u32> = Point::ALL.iter().map(|_| share_ppm(&mut stream)).collect();
    probe::loosen(seed, |point| shares.get(point as usize).copied().unwrap_or_default());
}

fn share_ppm(stream: &mut Stream) -> u32 {
    if !stream.chance(ENABLED_PPM as u32) {
        return 0;
    }
    // As likely rarely as often.
    let most = if stream.chance(500_000) { 100_000 } else { SHARE_PPM_MAX };
    (SHARE_PPM_MIN + stream.below(most - SHARE_PPM_MIN)) as u32
}
