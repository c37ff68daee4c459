//! Keys and values of the tokens already seen, kept so that generation computes each token once.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::model::config::{ModelConfig, RopeConfig};

/// Preallocated keys and values of all layers for a batch of left-padded rows.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    /// First real column of each row.
    pub(crate) starts: Vec<usize>,
    length: usize,
    capacity: usize,
    /// The ids of each row's columns so far; kept only for models that may have to compute them again.
    tokens: Option<Vec<Vec<u32>>>,
}

/// Keys and values of one layer: `[rows, capacity, heads, width]` each.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    /// `None` only while a tensor is being written, so that it is never shared and the write is in place.
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// Room for `capacity` columns; `starts` is the number of padding columns at the left of each row.
    pub fn new(config: &ModelConfig, starts: Vec<usize>, capacity: usize, device: &Device) -> Self {
        let shape = [starts.len(), capacity, config.kv_heads, config.head_dim];
        let empty = || Some(Tensor::<4>::zeros(shape, device));
        let layers = (0..config.layers).map(|_| LayerCache { keys: empty(), values: empty() }).collect();
        let tokens = config.ropes.iter().any(RopeConfig::has_lengths).then(|| vec![Vec::new(); starts.len()]);
        Self { layers, starts, length: 0, capacity, tokens }
    }

    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Columns filled so far, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Columns that still fit.
    pub fn free(&self) -> usize {
        self.capacity - self.length
    }

    /// Notes that these columns, row by row, have been computed.
    pub(crate) fn append(&mut self, tokens: &[u32]) {
        let columns = tokens.len() / self.rows().max(1);
        self.length += columns;
        for (row, new) in self.tokens.iter_mut().flatten().zip(tokens.chunks(columns.max(1))) {
            row.extend(new);
        }
    }

    /// The ids of a row's columns so far.
    pub(crate) fn tokens(&self, row: usize) -> &[u32] {
        self.tokens.as_ref().and_then(|tokens| tokens.get(row)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes over a row's columns from the same row of another cache of the same model.
    pub(crate) fn replace(&mut self, row: usize, other: &Self, other_row: usize) {
        for (layer, other) in self.layers.iter_mut().zip(&other.layers) {
            for (slot, other) in [(&mut layer.keys, &other.keys), (&mut layer.values, &other.values)] {
                let (Some(whole), Some(other)) = (slot.take(), other) else { continue };
                let [_, columns, heads, width] = other.dims();
                let own = other.clone().narrow(0, other_row, 1);
                *slot = Some(whole.slice_assign([row..row + 1, 0..columns, 0..heads, 0..width], own));
            }
        }
    }

    /// Keeps only the rows named, in this order. Sequences that have ended leave the batch here.
    pub fn keep(&mut self, rows: &[usize]) {
        self.starts = rows.iter().map(|row| self.starts[*row]).collect();
        self.tokens = self.tokens.take().map(|tokens| rows.iter().map(|row| tokens[*row].clone()).collect());
        for layer in &mut self.layers {
            for slot in [&mut layer.keys, &mut layer.values] {
                *slot = slot.take().map(|tensor| {
                    let ids: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
                    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), &tensor.device());
                    tensor.select(0, ids)
                });
            }
        }
    }
}

impl LayerCache {
    /// Writes the new columns at `offset`; gives all columns up to the newest.
    pub(crate) fn extend(&mut self, keys: Tensor<4>, values: Tensor<4>, offset: usize) -> (Tensor<4>, Tensor<4>) {
        (write(&mut self.keys, keys, offset), write(&mut self.values, values, offset))
    }
}

fn write(slot: &mut Option<Tensor<4>>, new: Tensor<4>, offset: usize) -> Tensor<4> {
    let [rows, columns, heads, width] = new.dims();
    let end = offset + columns;
    let whole = match slot.take() {
        Some(whole) => whole.slice_assign([0..rows, offset..end, 0..heads, 0..width], new),
        None => new,
    };
    let seen = whole.clone().slice([0..rows, 0..end, 0..heads, 0..width]);
    *slot = Some(whole);
    seen
}
