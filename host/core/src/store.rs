//! Numbers that plugins keep by example: over steps, phases and checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::memory::Memory;

/// One number per plugin, name and example.
#[derive(Debug, Default)]
pub struct Store {
    plugins: Mutex<Numbers>,
}

/// What a store holds: numbers by plugin, name and example.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers(pub BTreeMap<String, BTreeMap<String, BTreeMap<u64, f64>>>);

impl Store {
    /// The number of this name for each example, none where there is none yet.
    pub fn read(&self, plugin: &str, name: &str, ids: &[u64]) -> Vec<Option<f64>> {
        let plugins = self.lock();
        let numbers = plugins.0.get(plugin).and_then(|names| names.get(name));
        ids.iter().map(|id| numbers.and_then(|numbers| numbers.get(id)).copied()).collect()
    }

    /// Keeps one number per example. Of an id that comes twice the last number stays.
    pub fn write(&self, plugin: &str, name: &str, ids: &[u64], values: &[f64]) {
        // A name without a number is not kept, so that what is kept can be counted.
        if ids.is_empty() {
            return;
        }
        let mut plugins = self.lock();
        let numbers = plugins.0.entry(plugin.to_owned()).or_default().entry(name.to_owned()).or_default();
        numbers.extend(ids.iter().copied().zip(values.iter().copied()));
    }

    /// How many numbers the plugin has.
    pub fn count(&self, plugin: &str) -> usize {
        self.lock().0.get(plugin).map_or(0, |names| names.values().map(BTreeMap::len).sum())
    }

    /// All of it, for a checkpoint.
    pub fn save(&self) -> Numbers {
        self.lock().clone()
    }

    /// Takes back what [`Store::save`] gave.
    pub fn restore(&self, numbers: Numbers) {
        *self.lock() = numbers;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        // Maps of numbers are whole, whatever panicked while they were locked.
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for Store {
    fn save(&self) -> Option<Arc<Vec<u8>>> {
        let numbers = self.save();
        let blob = || serde_json::to_vec(&numbers).expect("numbers have text keys");
        (!numbers.0.is_empty()).then(|| Arc::new(blob()))
    }

    fn restore(&self, blob: Option<Vec<u8>>) {
        // A checkpoint's digest has been checked: what is there is what was saved.
        self.restore(blob.and_then(|blob| serde_json::from_slice(&blob).ok()).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_by_plugin_name_and_example() {
        let store = Store::default();
        store.write("a", "u", &[3, 5], &[0.5, -1.0]);
        store.write("a", "u", &[5], &[2.0]);
        assert_eq!(store.read("a", "u", &[5, 4, 3]), [Some(2.0), None, Some(0.5)]);
        assert_eq!((store.read("b", "u", &[5]), store.read("a", "v", &[5])), (vec![None], vec![None]));
        assert_eq!((store.count("a"), store.count("b")), (2, 0));
        store.write("b", "v", &[], &[]);
        assert!(!store.save().0.contains_key("b"), "a name alone is nothing");
    }

    #[test]
    fn it_reads_back_bit_for_bit() {
        let store = Store::default();
        store.write("a", "u", &[u64::MAX], &[0.1 + 0.2]);
        let text = serde_json::to_string(&store.save()).expect("JSON");
        let other = Store::default();
        other.restore(serde_json::from_str(&text).expect("it reads back"));
        assert_eq!(other.save(), store.save());
    }
}
