//! Methods that train on several completions of a prompt, and on what the policy says.

use digit_lab::{count, dft, languages, online, preference};

use super::check;

#[test]
fn discriminative_fine_tuning_starts_as_it_did() {
    // With as few steps as here, plain fine-tuning with five times the steps is the one without.
    dft::arms().iter().filter(|arm| !arm.name.ends_with("5x")).for_each(check);
}

#[test]
fn rewarded_additions_start_as_they_did() {
    online::arms().iter().for_each(check);
}

#[test]
fn preferences_start_as_they_did() {
    // With as few steps as here, plain fine-tuning with twice the steps is the one without.
    preference::arms().iter().filter(|arm| !arm.name.ends_with("2x")).for_each(check);
}

#[test]
fn graded_rewards_start_as_they_did() {
    count::arms().iter().for_each(check);
}

#[test]
fn preferences_of_languages_start_as_they_did() {
    languages::arms().iter().for_each(check);
}
