//! Thousands of operations with shapes, indices and numbers drawn at random: each is done or refused, and none panics, forwards or backwards.

use burn::tensor::Tensor;

use super::*;

/// A fixed sequence of numbers (xorshift64*), so that a failure comes again.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn number(&mut self) -> f32 {
        let plain = self.below(2000) as f32 / 500.0 - 2.0;
        self.one(&[
            plain,
            plain,
            plain,
            0.0,
            1.0,
            -1.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            f32::MIN_POSITIVE,
        ])
    }

    fn shape(&mut self) -> Vec<usize> {
        let rank = self.one(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6]);
        (0..rank).map(|_| self.one(&[0, 1, 1, 2, 2, 3, 3, 4])).collect()
    }

    fn size(&mut self) -> usize {
        self.one(&[0, 0, 1, 1, 2, 3, 4, 5, usize::MAX])
    }
}

const BINARY: [Binary; 9] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Maximum,
    Binary::Minimum,
    Binary::Equal,
    Binary::Greater,
    Binary::GreaterEqual,
];
const SCALAR: [Scalar; 6] =
    [Scalar::Add, Scalar::Mul, Scalar::Pow, Scalar::Equal, Scalar::Greater, Scalar::GreaterEqual];
const UNARY: [Unary; 9] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Softplus,
    Unary::Relu,
];
const ALONG: [Along; 9] = [
    Along::Sum,
    Along::Mean,
    Along::Max,
    Along::Min,
    Along::Argmax,
    Along::Cumsum,
    Along::Softmax,
    Along::LogSoftmax,
    Along::Logsumexp,
];

fn made(draw: &mut Draw) -> Op {
    let shape = draw.shape();
    let count = shape.iter().product::<usize>() + usize::from(draw.below(30) == 0);
    match draw.below(4) {
        0 => Op::FromInts { values: (0..count).map(|_| draw.below(6) as i32 - 1).collect(), shape },
        1 => Op::Full { value: draw.number(), shape },
        2 => Op::Arange { start: draw.below(5) as i32 - 2, end: draw.below(6) as i32 },
        _ => Op::FromFloats { values: (0..count).map(|_| draw.number()).collect(), shape },
    }
}

fn drawn(draw: &mut Draw, engine: &BurnTensors, pool: &[TensorId]) -> Op {
    let input = draw.one(pool);
    let other = draw.one(pool);
    let shape = engine.shape(input).expect("live");
    let dim = draw.below(3);
    match draw.below(21) {
        0 => Op::Concat { parts: vec![input, other, input], dim },
        1 => Op::ToFloat(input),
        2 => Op::ToInt(input),
        3 => Op::Detach(input),
        4 => {
            let flat = shape.iter().product();
            let candidates = [vec![flat], vec![1, flat], shape.iter().rev().copied().collect(), draw.shape()];
            Op::Reshape(input, candidates[draw.below(4)].clone())
        }
        5 => {
            let mut dims: Vec<usize> = (0..shape.len()).collect();
            dims.rotate_left(draw.below(3).min(shape.len()));
            Op::Permute(input, dims)
        }
        6 => Op::Slice { input, dim, start: draw.size(), end: draw.size() },
        7 => Op::Expand(input, [vec![draw.below(3) + 1], shape].concat()),
        8 => Op::Gather { input, dim, index: other },
        9 => Op::IndexSelect { input, dim, index: other },
        10 => Op::Choose { input, condition: other, otherwise: draw.one(pool) },
        11 => Op::MaskedFill { input, mask: other, value: draw.number() },
        12 | 13 => Op::Binary(draw.one(&BINARY), input, other),
        14 => Op::Scalar(draw.one(&SCALAR), input, draw.number()),
        15 => Op::Unary(draw.one(&UNARY), input),
        16 => Op::Clamp { input, low: draw.number(), high: draw.number() },
        17 => draw.one(&[Op::Sum as fn(TensorId) -> Op, Op::Mean])(input),
        18 | 19 => Op::Along(draw.one(&ALONG), input, dim),
        _ => Op::Matmul(input, other),
    }
}

/// Draws operations on a growing pool, then goes back through the graph of one result.
fn sweep(seed: u64, refusals: &mut usize, backwards: &mut usize) {
    let mut draw = Draw(seed);
    let device = test_device().autodiff();
    let engine = BurnTensors::new(&device, Budget { device_bytes: 1 << 20, ..Budget::default() });
    let leaf = Tensor::<2>::from_floats([[0.5, -1.5, 2.0], [1.0, 0.0, 1.0]], &device).require_grad();
    let mut pool = vec![engine.insert_float(leaf.clone())];
    for _ in 0..60 {
        let op = if draw.below(4) == 0 { made(&mut draw) } else { drawn(&mut draw, &engine, &pool) };
        match engine.apply(&op) {
            Ok(id) => pool.push(id),
            Err(TensorError::Misuse { .. } | TensorError::Budget { .. }) => *refusals += 1,
            Err(error) => panic!("{op:?}: {error}"),
        }
        let input = draw.one(&pool);
        let (dim, count) = (draw.below(3), draw.below(4));
        let descending = draw.below(2) == 0;
        let pair = if descending {
            PairOp::TopK { input, dim, count }
        } else {
            PairOp::Sort { input, dim, descending: count == 0 }
        };
        if draw.below(5) == 0
            && let Ok((values, index)) = engine.apply_pair(&pair)
        {
            pool.extend([values, index]);
        }
    }
    // Everything that can be read is read; what is tracked is summed into one loss.
    let mut losses = Vec::new();
    for &id in &pool {
        let read = engine.read_floats(id).expect("within the budget");
        assert_eq!(read.len(), engine.shape(id).expect("live").iter().product::<usize>());
        if engine.is_tracked(id).expect("live")
            && let Ok(sum) = engine.apply(&Op::Sum(id))
        {
            losses.push(sum);
        }
    }
    let total = losses
        .into_iter()
        .reduce(|left, right| done(&engine, &binary(Binary::Add)(left, right)))
        .expect("the leaf is tracked");
    let grads = engine.scalar(total).expect("one number").backward();
    *backwards += usize::from(leaf.grad(&grads).is_some());
}

#[test]
fn no_operation_panics() {
    let (mut refusals, mut backwards) = (0, 0);
    for seed in 1_u64..=150 {
        sweep(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), &mut refusals, &mut backwards);
    }
    assert!(500 < refusals, "the sweep also draws what does not fit: {refusals}");
    assert_eq!(backwards, 150);
}
