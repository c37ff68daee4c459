//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split as in Hugging Face checkpoints.

use std::f32::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use crate::fused;
use crate::model::config::{RopeConfig, RopeScaling};

/// Where a token stands in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Count of the tokens before it.
    pub position: u32,
    /// Length of the sequence: some scalings of the angles depend on it.
    pub length: u32,
}

/// Cosines and sines of one batch, for all layers of one kind.
///
/// Dimension `i` and `i + d/2` of the turned part of a head, `d` wide, form a pair that is turned by `position * theta^(-2i/d)`, or what
/// the scaling makes of it.
#[derive(Clone, Debug)]
pub struct Rope {
    /// `[rows or 1, columns, 1, d / 2]`.
    pub cos: Tensor<4>,
    /// As `cos`.
    pub sin: Tensor<4>,
}

impl Rope {
    /// Computes the angles of `places`, `rows` rows of equal length. Rows that are all alike are stored once.
    pub fn new(config: &RopeConfig, places: &[Place], rows: usize, device: &Device) -> Self {
        let columns = places.len() / rows.max(1);
        let alike = places.chunks(columns.max(1)).all(|row| row == &places[..columns]);
        let (rows, places) = if alike { (1, &places[..columns]) } else { (rows, places) };
        let sets = [false, true].map(|is_long| frequencies(config, is_long));
        let is_long = |place: &Place| config.is_long(place.length as usize);
        let angles = || {
            places.iter().flat_map(|place| {
                sets[usize::from(is_long(place))].iter().map(move |frequency| place.position as f32 * frequency)
            })
        };
        let factor = config.attention_factor();
        let shape = [rows, columns, 1, config.rotary_dim / 2];
        let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
        Self {
            cos: tensor(angles().map(|angle| angle.cos() * factor).collect()),
            sin: tensor(angles().map(|angle| angle.sin() * factor).collect()),
        }
    }

    /// Turns `[rows, columns, heads, width]`; what is beyond the turned part of a head stays.
    pub(crate) fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let (width, turned) = (x.dims()[3], 2 * self.cos.dims()[3]);
        if turned == width {
            return fused::rope(x, self.cos.clone(), self.sin.clone());
        }
        let first = fused::rope(x.clone().narrow(3, 0, turned), self.cos.clone(), self.sin.clone());
        Tensor::cat(vec![first, x.narrow(3, turned, width - turned)], 3)
    }
}

impl RopeConfig {
    /// Whether a sequence of this length has the angles of long ones.
    pub(crate) fn is_long(&self, length: usize) -> bool {
        matches!(&self.scaling, RopeScaling::Long { original, .. } if *original < length)
    }

    /// Whether the angles depend on the length of the sequence.
    pub(crate) fn has_lengths(&self) -> bool {
        matches!(self.scaling, RopeScaling::Long { .. })
    }

    fn attention_factor(&self) -> f32 {
        match &self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::Long { attention_factor, .. } => {
                *attention_factor as f32
            }
            _ => 1.0,
        }
    }
}

/// The angle of one step, for each pair. In single precision, as transformers does: at high positions the rounding is visible.
fn frequencies(config: &RopeConfig, is_long: bool) -> Vec<f32> {
    let dim = config.rotary_dim;
    let wavelengths = (0..dim / 2).map(|pair| (config.theta as f32).powf((2 * pair) as f32 / dim as f32));
    match &config.scaling {
        RopeScaling::None => wavelengths.map(f32::recip).collect(),
        RopeScaling::Linear { factor } => wavelengths.map(|wavelength| wavelength.recip() / *factor as f32).collect(),
        RopeScaling::Long { short, long, .. } => {
            let divisors = if is_long { long } else { short };
            wavelengths.zip(divisors).map(|(wavelength, divisor)| (*divisor as f32 * wavelength).recip()).collect()
        }
        RopeScaling::Llama3 { factor, low, high, original } => {
            let [factor, low, high, original] = [*factor, *low, *high, *original as f64].map(|number| number as f32);
            wavelengths.map(|wavelength| blended(wavelength.recip(), factor, [low, high], original)).collect()
        }
        RopeScaling::Yarn { .. } => yarn(config, &wavelengths.collect::<Vec<f32>>()),
    }
}

/// One frequency of Llama 3.1: kept where it turns `high` times or more over the original positions, divided where it turns `low` times
/// or less.
fn blended(frequency: f32, factor: f32, [low, high]: [f32; 2], original: f32) -> f32 {
    let wavelength = TAU / frequency;
    if original / low < wavelength {
        return frequency / factor;
    }
    if wavelength < original / high {
        return frequency;
    }
    let kept = (original / wavelength - low) / (high - low);
    (1.0 - kept) * frequency / factor + kept * frequency
}

/// The frequencies of `YaRN`: a ramp over the pairs from kept to divided.
fn yarn(config: &RopeConfig, wavelengths: &[f32]) -> Vec<f32> {
    let RopeScaling::Yarn { factor, beta_fast, beta_slow, original, is_truncated, .. } = config.scaling else {
        return Vec::new();
    };
    let dim = config.rotary_dim as f64;
    // The pair that makes this many turns over the original positions.
    let pair = |turns: f64| dim * (original as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * config.theta.ln());
    let (low, high) = (pair(beta_fast), pair(beta_slow));
    let (low, high) = if is_truncated { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(dim - 1.0));
    let (low, width) = (low as f32, if (high - low).abs() < f64::EPSILON { 0.001 } else { high - low } as f32);
    let blend = |(pair, wavelength): (usize, &f32)| {
        let divided = ((pair as f32 - low) / width).clamp(0.0, 1.0);
        (factor as f32 * wavelength).recip() * divided + wavelength.recip() * (1.0 - divided)
    };
    wavelengths.iter().enumerate().map(blend).collect()
}
