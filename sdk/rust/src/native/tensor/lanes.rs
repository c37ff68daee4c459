//! Operations along one dimension, lane by lane, and over all elements.

use super::{Kind, Tensor};

/// The elements along one dimension with all other coordinates fixed.
struct Lane {
    values: Vec<f64>,
    tangents: Vec<f64>,
}

/// Gives one lane's new values and tangents.
type Change<'a> = &'a dyn Fn(&Lane) -> (Vec<f64>, Vec<f64>);

impl Tensor {
    /// For each lane along `dim`, the positions of its elements; lanes in row-major order of the other coordinates.
    fn lanes(&self, dim: usize) -> Vec<Vec<usize>> {
        let (step, size) = (self.step(dim), self.shape[dim]);
        let outer: usize = self.shape[..dim].iter().product();
        let firsts = (0..outer).flat_map(|block| (0..step).map(move |inner| block * size * step + inner));
        firsts.map(|first| (0..size).map(|place| first + place * step).collect()).collect()
    }

    /// Puts lanes of `size` elements each back along `dim`.
    fn unlanes(&self, dim: usize, size: usize, lanes: &[Vec<f64>]) -> (Vec<usize>, Vec<f64>) {
        let step = self.step(dim);
        let mut shape = self.shape.clone();
        shape[dim] = size;
        let element = |element: usize| {
            let (outer, place, inner) = (element / (size * step), element / step % size, element % step);
            lanes[outer * step + inner][place]
        };
        let values = (0..shape.iter().product()).map(element).collect();
        (shape, values)
    }

    /// Changes every lane along `dim` into one of `size` elements.
    fn by_lane(&self, op: &str, dim: u32, size: Option<usize>, change: Change<'_>) -> Self {
        let at = self.dim(op, dim);
        let size = size.unwrap_or(self.shape[at]);
        let changed = self.lanes(at).into_iter().map(|positions| {
            let values = positions.iter().map(|&position| self.values[position]).collect();
            let tangents = positions.iter().map(|&position| self.tangent(position)).collect();
            change(&Lane { values, tangents })
        });
        let (values, tangents): (Vec<_>, Vec<_>) = changed.unzip();
        let (shape, values) = self.unlanes(at, size, &values);
        let tangents = self.tangents.as_ref().map(|_| self.unlanes(at, size, &tangents).1);
        Self::make(op, self.kind, shape, values, tangents)
    }

    /// Picks `count` elements of every lane along `dim`: the elements, and their places as integers.
    fn pick_by_lane(&self, op: &str, dim: u32, count: usize, places: &dyn Fn(&[f64]) -> Vec<usize>) -> (Self, Self) {
        let at = self.dim(op, dim);
        let picked: Vec<Vec<f64>> = self
            .lanes(at)
            .into_iter()
            .map(|positions| {
                let values: Vec<f64> = positions.iter().map(|&position| self.values[position]).collect();
                places(&values).into_iter().map(|place| place as f64).collect()
            })
            .collect();
        let (shape, indices) = self.unlanes(at, count, &picked);
        let indices = Self::make(op, Kind::Int, shape, indices, None);
        (self.gather(dim, &indices), indices)
    }

    pub(crate) fn sum(&self) -> Self {
        let tangents = self.tangents.as_ref().map(|tangents| vec![tangents.iter().sum()]);
        Self::make("sum", self.kind, vec![], vec![self.values.iter().sum()], tangents)
    }

    pub(crate) fn mean(&self) -> Self {
        self.expect_float("mean");
        self.sum().mul_scalar(1.0 / self.values.len() as f32)
    }

    pub(crate) fn sum_dim(&self, dim: u32) -> Self {
        self.by_lane("sum-dim", dim, Some(1), &|lane| {
            (vec![lane.values.iter().sum()], vec![lane.tangents.iter().sum()])
        })
    }

    pub(crate) fn mean_dim(&self, dim: u32) -> Self {
        self.expect_float("mean-dim");
        self.by_lane("mean-dim", dim, Some(1), &|lane| {
            let count = lane.values.len() as f64;
            (vec![lane.values.iter().sum::<f64>() / count], vec![lane.tangents.iter().sum::<f64>() / count])
        })
    }

    pub(crate) fn max_dim(&self, dim: u32) -> Self {
        self.pick_by_lane("max-dim", dim, 1, &|lane| first(order(lane, true))).0
    }

    pub(crate) fn min_dim(&self, dim: u32) -> Self {
        self.pick_by_lane("min-dim", dim, 1, &|lane| first(order(lane, false))).0
    }

    pub(crate) fn argmax(&self, dim: u32) -> Self {
        self.pick_by_lane("argmax", dim, 1, &|lane| first(order(lane, true))).1
    }

    pub(crate) fn topk(&self, dim: u32, count: u32) -> (Self, Self) {
        let (at, count) = (self.dim("topk", dim), count as usize);
        assert!(count <= self.shape[at], "tensors.topk: {count} elements along {dim} of shape {:?}", self.shape);
        self.pick_by_lane("topk", dim, count, &|lane| {
            let mut places = order(lane, true);
            places.truncate(count);
            places
        })
    }

    pub(crate) fn sort(&self, dim: u32, descending: bool) -> (Self, Self) {
        let at = self.dim("sort", dim);
        self.pick_by_lane("sort", dim, self.shape[at], &|lane| order(lane, descending))
    }

    pub(crate) fn cumsum(&self, dim: u32) -> Self {
        let running = |values: &[f64]| {
            let mut sum = 0.0;
            values
                .iter()
                .map(|value| {
                    sum += value;
                    sum
                })
                .collect()
        };
        self.by_lane("cumsum", dim, None, &|lane| (running(&lane.values), running(&lane.tangents)))
    }

    pub(crate) fn softmax(&self, dim: u32) -> Self {
        self.expect_float("softmax");
        self.by_lane("softmax", dim, None, &|lane| {
            let shares = shares(&lane.values);
            let mean = weighted(&shares, &lane.tangents);
            let tangents = shares.iter().zip(&lane.tangents).map(|(share, tangent)| share * (tangent - mean)).collect();
            (shares, tangents)
        })
    }

    pub(crate) fn log_softmax(&self, dim: u32) -> Self {
        self.expect_float("log-softmax");
        self.by_lane("log-softmax", dim, None, &|lane| {
            let (total, mean) = (logsumexp(&lane.values), weighted(&shares(&lane.values), &lane.tangents));
            let values = lane.values.iter().map(|value| value - total).collect();
            (values, lane.tangents.iter().map(|tangent| tangent - mean).collect())
        })
    }

    pub(crate) fn logsumexp(&self, dim: u32) -> Self {
        self.expect_float("logsumexp");
        self.by_lane("logsumexp", dim, Some(1), &|lane| {
            (vec![logsumexp(&lane.values)], vec![weighted(&shares(&lane.values), &lane.tangents)])
        })
    }
}

/// The places of a lane's elements, sorted; equal elements keep their order.
fn order(lane: &[f64], descending: bool) -> Vec<usize> {
    let mut places: Vec<usize> = (0..lane.len()).collect();
    places.sort_by(|&left, &right| {
        let ascending = lane[left].total_cmp(&lane[right]);
        if descending { ascending.reverse() } else { ascending }
    });
    places
}

fn first(places: Vec<usize>) -> Vec<usize> {
    places.into_iter().take(1).collect()
}

fn logsumexp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        largest
    } else {
        largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
    }
}

fn shares(values: &[f64]) -> Vec<f64> {
    let total = logsumexp(values);
    values.iter().map(|value| (value - total).exp()).collect()
}

fn weighted(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}
