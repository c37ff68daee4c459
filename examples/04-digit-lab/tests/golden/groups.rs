//! Methods that train on several completions of a prompt.

use digit_lab::dft;

use super::check;

#[test]
fn discriminative_fine_tuning_starts_as_it_did() {
    // With as few steps as here, plain fine-tuning with five times the steps is the one without.
    dft::arms().iter().filter(|arm| !arm.name.ends_with("5x")).for_each(check);
}
