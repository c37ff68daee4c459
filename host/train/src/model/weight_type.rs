//! Element types of weights in files: float32, bfloat16, float16.

use half::{bf16, f16};

use crate::error::ModelError;

/// How weights are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WeightType {
    /// Four bytes per number, exact.
    F32,
    /// Two bytes per number, rounded to nearest even; the range of float32.
    Bf16,
    /// Two bytes per number, rounded to nearest even; at most 65504.
    F16,
}

impl WeightType {
    const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The type with this name in a safetensors file (`F32`, `BF16`, `F16`), if it is one of these.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its name in a safetensors file: `F32`, `BF16`, `F16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
        }
    }

    /// Its name in a `config.json`: `float32`, `bfloat16`, `float16`.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The numbers in these little-endian bytes; a rest shorter than a number is ignored.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        match self {
            Self::F32 => {
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
            }
            Self::Bf16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            Self::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        }
    }

    /// The numbers as little-endian bytes; `tensor` is for the message.
    ///
    /// # Errors
    ///
    /// Fails when a finite number is too large for this type: it would become infinite.
    pub fn encode(self, tensor: &str, values: &[f32]) -> Result<Vec<u8>, ModelError> {
        let is_lost = |value: &&f32| match self {
            Self::F32 => false,
            Self::Bf16 => value.is_finite() && !bf16::from_f32(**value).is_finite(),
            Self::F16 => value.is_finite() && !f16::from_f32(**value).is_finite(),
        };
        if let Some(value) = values.iter().find(is_lost) {
            let kind = self.config_name();
            return Err(ModelError::request(format!(
                "tensor `{tensor}` holds {value}, which {kind} cannot hold\nhint: write float32 or bfloat16"
            )));
        }
        Ok(match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_fit_come_back() {
        for kind in WeightType::ALL {
            let bytes = kind.encode("a", &[1.5, -2.0, 0.0]).expect("they fit");
            assert_eq!((bytes.len(), kind.decode(&bytes)), (3 * kind.size(), vec![1.5, -2.0, 0.0]));
            assert_eq!(WeightType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(WeightType::from_name("I8"), None);
    }

    #[test]
    fn a_number_never_becomes_infinite_unsaid() {
        let error = WeightType::F16.encode("a.weight", &[7e4]).expect_err("too large").to_string();
        assert!(error.contains("`a.weight` holds 70000, which float16 cannot hold"), "{error}");
        assert!(WeightType::Bf16.encode("a", &[f32::MAX]).is_err());
        let bytes = WeightType::F16.encode("a", &[f32::INFINITY]).expect("it is infinite already");
        assert_eq!(WeightType::F16.decode(&bytes), [f32::INFINITY]);
    }
}
