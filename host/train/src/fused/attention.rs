//! The softmax of causal attention, without a mask in memory.

use std::ops::RangeInclusive;
use std::sync::Arc;

use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::flex::{self, Operand, dense, elements};
use super::lanes::{self, exp_negative};

#[derive(Debug)]
struct CausalSoftmax;

#[derive(Debug, Clone)]
struct State {
    /// The result.
    map: FlexTensor,
    sight: Sight,
}

/// Which keys a query sees.
#[derive(Debug, Clone)]
struct Sight {
    first_keys: Arc<[u32]>,
    offset: usize,
    heads: usize,
    queries: usize,
}

impl Sight {
    /// The keys that line `line` of `[rows * heads * queries, keys]` sees.
    fn of(&self, line: usize) -> RangeInclusive<usize> {
        let (row, query) = (line / (self.heads * self.queries), line % self.queries);
        self.first_keys[row * self.queries + query] as usize..=self.offset + query
    }
}

pub(super) fn causal_softmax(scores: Operand, first_keys: &Arc<[u32]>, offset: usize) -> Tensor<4> {
    flex::apply(CausalSoftmax, [scores], |[scores]| {
        let mut map = dense(scores);
        let shape = map.shape();
        let (heads, queries, keys) = (shape[1], shape[2], shape[3]);
        let sight = Sight { first_keys: Arc::clone(first_keys), offset, heads, queries };
        lanes::each_row(map.storage_mut(), keys, |line, scores| {
            let seen = sight.of(line);
            scores[..*seen.start()].fill(0.0);
            scores[seen.end() + 1..].fill(0.0);
            let scores = &mut scores[seen];
            let largest = lanes::largest(scores);
            for score in &mut *scores {
                *score = exp_negative(*score - largest);
            }
            let factor = 1.0 / lanes::sum_of(scores, |e| e);
            for score in scores {
                *score *= factor;
            }
        });
        (map.clone(), State { map, sight })
    })
}

impl Backward<Flex, 1> for CausalSoftmax {
    type State = State;

    /// `p * (grad - sum(grad * p))`.
    fn backward(self, ops: Ops<State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut grad = dense(grads.consume::<Flex>(&ops.node));
        let [scores] = ops.parents;
        let Some(scores) = scores else { return };
        let State { map, sight } = ops.state;
        let keys = map.shape()[3];
        let map = elements(&map);
        lanes::each_row(grad.storage_mut(), keys, |line, grad| {
            let seen = sight.of(line);
            grad[..*seen.start()].fill(0.0);
            grad[seen.end() + 1..].fill(0.0);
            let (grad, map) = (&mut grad[seen.clone()], &map[line * keys..][seen]);
            let mean = lanes::dot(grad, map);
            for (grad, &p) in grad.iter_mut().zip(map) {
                *grad = p * (*grad - mean);
            }
        });
        grads.register::<Flex>(scores.id, grad);
    }
}
