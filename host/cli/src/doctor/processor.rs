//! The processor, on which everything runs that is not on a card.

use std::env::consts::ARCH;
use std::thread;

use super::{Check, Need};

/// Every processor can train; wide vectors make it several times faster.
pub(super) fn check() -> Check {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let vectors = vectors();
    let found = if vectors.is_empty() { "plain".to_owned() } else { vectors.join(", ") };
    Check::fine(Need::Training, "processor", format!("{cores} cores of {ARCH}; vectors: {found}"))
}

/// The vector extensions that make a difference, as far as this processor has them.
fn vectors() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [("neon", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}
