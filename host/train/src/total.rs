//! The sum of all elements of a tensor, in an order that depends on their number alone.

use burn::tensor::Tensor;

use crate::device;

/// Elements that one thread of a card sums.
const LINE: usize = 256;

/// The sum of at least one element, as `[1]`. Gradients flow.
///
/// burn's own sum has a fixed order on the CPU, for as many elements as are summed in one piece. On cards it adds partial sums with
/// atomics, in any order, and a run would not come out twice the same.
pub(crate) fn total(tensor: Tensor<1>) -> Tensor<1> {
    if device::is_cpu(&tensor.device()) { tensor.sum() } else { in_lines(tensor) }
}

/// Sums lines of elements, then their sums in the same way, until one is left.
pub(crate) fn in_lines(mut tensor: Tensor<1>) -> Tensor<1> {
    loop {
        let [len] = tensor.dims();
        if len <= LINE {
            return tensor.sum_dim(0);
        }
        let (lines, rest) = (len / LINE, len % LINE);
        let whole = if rest == 0 { tensor.clone() } else { tensor.clone().narrow(0, 0, lines * LINE) };
        let sums = whole.reshape([lines, LINE]).sum_dim(1).reshape([lines]);
        tensor = if rest == 0 { sums } else { Tensor::cat(vec![sums, tensor.narrow(0, lines * LINE, rest)], 0) };
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::tensor_values;

    #[test]
    fn every_element_is_summed_once() {
        let device = Device::flex().autodiff();
        for len in [1, 2, 255, 256, 257, 512, 65_536, 70_001] {
            let numbers: Vec<f32> = (0..len).map(|index| (index % 7) as f32).collect();
            let expected: f32 = numbers.iter().sum();
            let tensor = Tensor::<1>::from_floats(numbers.as_slice(), &device).require_grad();
            let sum = in_lines(tensor.clone());
            assert_eq!(tensor_values(sum.clone()), [expected], "{len} elements");
            assert_eq!(tensor_values(total(tensor.clone())), [expected], "{len} elements");
            let gradient = tensor.grad(&sum.backward()).expect("it is tracked");
            assert_eq!(tensor_values(gradient), vec![1.0; len], "{len} elements");
        }
    }
}
