//! Where tensors live: `cpu`, `cuda` or `cuda:N`.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name is none that this program knows.
    #[error("`{0}` is no device\nhint: give `cpu`, `cuda`, or `cuda:1` for the second card")]
    Unknown(String),
    /// The name is known, but this program was built without it.
    #[error("this build has no `{0}`\nhint: build with `--features cuda`, or use `cpu`")]
    NotBuilt(String),
    /// The machine has no such card, or its driver does not answer.
    #[error(
        "there is no `{name}`: the NVIDIA driver reports {cards} cards\nhint: `nvidia-smi -L` lists the cards and says what is wrong \
         with the driver; the first is `cuda:0`"
    )]
    NoCard {
        /// What was asked for.
        name: String,
        /// How many cards there are.
        cards: usize,
    },
    /// The card is there, but a first small kernel did not run.
    #[error(
        "`{name}` cannot compute: {reason}\nhint: kernels are compiled on the machine that runs them, with `nvvm/libdevice` of the CUDA \
         toolkit: install it, or set CUDA_PATH to the folder that holds it"
    )]
    Unusable {
        /// What was asked for.
        name: String,
        /// What the device said.
        reason: String,
    },
}

/// Opens a device by its name, without gradients. A card is asked to compute one number first.
///
/// # Errors
///
/// Fails when the name is unknown, this build cannot use such devices, the machine has no such card, or the card cannot compute.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::flex()),
        None if name == "cuda" => Some(0),
        Some(("cuda", index)) => index.parse().ok(),
        _ => None,
    };
    let index: usize = index.ok_or_else(|| DeviceError::Unknown(name.escape_debug().to_string()))?;
    cuda(index, name)
}

/// Whether tensors of this device, tracked or not, are the CPU's.
pub(crate) fn is_cpu(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Tries first what burn would panic about in the middle of the work: a missing driver, card or toolkit.
#[cfg(feature = "cuda")]
fn cuda(index: usize, name: &str) -> Result<Device, DeviceError> {
    let cards = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len();
    if cards <= index {
        return Err(DeviceError::NoCard { name: name.to_owned(), cards });
    }
    let device = Device::cuda(index);
    // The exponential is one of the functions that come from the toolkit.
    let number = burn::tensor::Tensor::<1>::from_floats([1.0], &device).exp();
    match number.try_into_data() {
        Ok(_) => Ok(device),
        Err(error) => Err(DeviceError::Unusable { name: name.to_owned(), reason: error.to_string() }),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize, name: &str) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_opened_by_its_name() {
        assert!(open("cpu").is_ok());
        for name in ["gpu", "cuda:", "cuda:x", "cpu:1", ""] {
            assert_eq!(open(name).err(), Some(DeviceError::Unknown(name.into())));
        }
    }

    #[test]
    fn the_cpu_is_told_apart_with_and_without_autodiff() {
        assert!(is_cpu(&Device::flex()) && is_cpu(&Device::flex().autodiff()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_says_how_to_get_it() {
        assert!(open("cuda:1").is_err_and(|error| error.to_string().contains("--features cuda")));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_card_that_is_not_there_is_an_error_and_no_panic() {
        assert!(matches!(open("cuda:4096"), Err(DeviceError::NoCard { .. })));
    }
}
