//! The trained parameters of a decoder by name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use tunesmith_core::digest;

use crate::model::{Decoder, NamedTensor};
use crate::tensor_values;

/// Every parameter that requires a gradient, with its values, in the order of the decoder.
pub fn trained_parameters(decoder: &Decoder) -> Vec<NamedTensor> {
    let mut tensors = Vec::new();
    each_trained(decoder, &mut |name, shape, values| {
        tensors.push(NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: values() });
    });
    tensors
}

/// The shapes of those parameters.
pub fn shapes_of_trained(decoder: &Decoder) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    each_trained(decoder, &mut |name, shape, _| {
        shapes.insert(name.to_owned(), shape.to_vec());
    });
    shapes
}

/// The digest of the names, shapes and values of those parameters.
pub fn digest_of_trained(decoder: &Decoder) -> String {
    let mut parts: Vec<String> = Vec::new();
    each_trained(decoder, &mut |name, shape, values| {
        let bytes: Vec<u8> = values().iter().flat_map(|value| value.to_le_bytes()).collect();
        parts.push(format!("{name} {shape:?} {}", digest::of(&bytes)));
    });
    digest::of_parts(parts.iter().map(String::as_bytes))
}

/// Takes the name, the shape, and a way to the values.
type Take<'a> = &'a mut dyn FnMut(&str, &[usize], &dyn Fn() -> Vec<f32>);

fn each_trained(decoder: &Decoder, take: Take<'_>) {
    decoder.visit(&mut Each { path: Vec::new(), take });
}

struct Each<'a> {
    path: Vec<String>,
    take: Take<'a>,
}

impl ModuleVisitor for Each<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        if value.is_require_grad() {
            (self.take)(&self.path.join("."), &value.dims(), &|| tensor_values(value.clone()));
        }
    }
}
