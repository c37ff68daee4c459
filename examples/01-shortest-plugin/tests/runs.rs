//! The shortest plugin runs, and its gradient is that of 1 - p.

use shortest_plugin::OneMinusP;
use tunesmith_sdk_test::{PretendHost, TokenRow, check_manifest};

#[test]
fn the_loss_is_one_minus_the_mean_probability() {
    let row = TokenRow::new(&[0.5_f32.ln(), 0.25_f32.ln()]);
    let loss = PretendHost::new().objective::<OneMinusP>(std::slice::from_ref(&row)).expect("it needs nothing");
    assert!((loss - 0.625).abs() < 1e-6, "{loss}");
    let gradient = PretendHost::new().gradient::<OneMinusP>(&[row]).expect("it needs nothing");
    assert!((gradient[0][1] + 0.25).abs() < 1e-6, "{gradient:?}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<OneMinusP>(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml"));
}
