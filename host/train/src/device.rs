//! Where tensors live: `cpu`, `cuda` or `cuda:N`.

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
}

/// Opens a device by its name, without gradients. Nothing is allocated on it.
///
/// # Errors
///
/// Fails when the name is unknown, or this build cannot use such devices.
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

#[cfg(feature = "cuda")]
fn cuda(index: usize, _: &str) -> Result<Device, DeviceError> {
    Ok(Device::cuda(index))
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

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_says_how_to_get_it() {
        assert!(open("cuda:1").is_err_and(|error| error.to_string().contains("--features cuda")));
    }
}
