//! The budgets of a call, and what the host inserts.

use burn::tensor::{Int, Tensor};

use super::*;

fn limited(budget: Budget) -> BurnTensors {
    BurnTensors::new(&test_device().autodiff(), budget)
}

#[track_caller]
fn check_spent(result: Result<impl std::fmt::Debug, TensorError>, what: &'static str, limit: u64) {
    assert_eq!(result.expect_err("the budget is spent"), TensorError::Budget { what, limit });
}

#[test]
fn live_handles_are_limited_and_released_ones_do_not_count() {
    let engine = limited(Budget { live_handles: 2, ..Budget::default() });
    let first = floats(&engine, &[1.0, 2.0], &[2]);
    let second = engine.share(first).expect("room for two");
    check_spent(engine.share(first), "live handles", 2);
    check_spent(engine.apply(&Op::Sum(first)), "live handles", 2);
    engine.release(first);
    assert_eq!(engine.read_floats(second), Ok(vec![1.0, 2.0]), "the other handle stays");
    check_spent(engine.apply_pair(&PairOp::Sort { input: second, dim: 0, descending: false }), "live handles", 2);
    floats(&engine, &[1.0], &[1]);
    assert_eq!(engine.live(), 2);
}

#[test]
fn operations_are_limited_for_one_call() {
    let budget = Budget { operations: 2, ..Budget::default() };
    let engine = limited(budget);
    let one = floats(&engine, &[1.0], &[1]);
    done(&engine, &Op::Sum(one));
    check_spent(engine.apply(&Op::Sum(one)), "operations", 2);
    engine.start_call(budget);
    done(&engine, &Op::Sum(one));
}

#[test]
fn bytes_on_the_device_are_checked_before_they_are_taken() {
    let engine = limited(Budget { device_bytes: 1000, ..Budget::default() });
    check_spent(engine.apply(&Op::Full { value: 0.0, shape: vec![i32::MAX as usize] }), "device bytes", 1000);
    let some = done(&engine, &Op::Full { value: 0.0, shape: vec![200] });
    check_spent(engine.apply(&Op::Expand(some, vec![2, 200])), "device bytes", 1000);
    let other = engine.share(some).expect("live");
    engine.release(some);
    assert_eq!(engine.usage().device_bytes, 800, "another handle keeps the tensor");
    engine.release(other);
    assert_eq!(engine.usage().device_bytes, 0);
}

#[test]
fn what_the_graph_keeps_stays_charged() {
    let engine = limited(Budget::default());
    let leaf = Tensor::<1>::ones([10], &test_device().autodiff()).require_grad();
    let leaf = engine.insert_float(leaf);
    assert_eq!(engine.usage().device_bytes, 0, "the host's own tensors are free");
    let tracked = done(&engine, &unary(Unary::Exp)(leaf));
    engine.release(tracked);
    assert_eq!(engine.usage().device_bytes, 40);
    let constant = done(&engine, &Op::Detach(leaf));
    engine.release(constant);
    assert_eq!(engine.usage().device_bytes, 40);
}

#[test]
fn bytes_read_are_limited() {
    let engine = limited(Budget { bytes_read: 10, ..Budget::default() });
    let two = floats(&engine, &[1.0, 2.0], &[2]);
    assert_eq!(engine.read_floats(two), Ok(vec![1.0, 2.0]));
    check_spent(engine.read_floats(two), "bytes read", 10);
}

#[test]
fn the_hosts_tensors_are_converted_to_32_bits() {
    let engine = engine();
    let half = Tensor::<2>::ones([2, 2], &test_device()).cast(burn::tensor::DType::BF16);
    let half = engine.insert_float(half);
    let sum = done(&engine, &Op::Sum(half));
    assert_eq!(engine.read_floats(sum), Ok(vec![4.0]));
    let long = Tensor::<1, Int>::from_ints([5, -6], &test_device()).cast(burn::tensor::DType::I64);
    let long = engine.insert_int(long);
    let more = done(&engine, &scalar(Scalar::Add, 1.0)(long));
    assert_eq!(engine.read_ints(more), Ok(vec![6, -5]));
    let one = engine.insert_scalar(Tensor::<2>::ones([1, 1], &test_device())).expect("one element");
    assert_eq!(engine.shape(one), Ok(vec![]));
    refused(engine.insert_scalar(Tensor::<1>::ones([2], &test_device())));
}

#[test]
fn the_engine_can_be_shared_between_threads() {
    let engine = engine();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for _ in 0..50 {
                    let id = floats(engine, &[thread as f32; 8], &[8]);
                    let sum = done(engine, &Op::Sum(id));
                    assert_eq!(engine.read_floats(sum), Ok(vec![8.0 * thread as f32]));
                    engine.release(id);
                    engine.release(sum);
                }
            });
        }
    });
    assert_eq!(engine.live(), 0);
}
