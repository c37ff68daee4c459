//! The one WebAssembly engine of a process, and the clock behind its deadlines.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use wasmparser::WasmFeatures;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::{Cache, Known};
use super::v0_1::{self, CallState};
use crate::error::EngineError;
use crate::outline::Outline;

/// How often the clock ticks: a deadline is kept to within one tick.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How to start an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Whether NaN bits are the same on every processor, even inside a plugin. Makes float loops 2.6 to 4 times slower. False.
    pub is_strict: bool,
    /// Where compiled plugins are kept between runs; none keeps nothing. The folder is made if it is not there.
    pub cache: Option<PathBuf>,
    /// Calls that may run at the same time. 64.
    pub slots: u32,
    /// Bytes of stack that a plugin may use. Must leave room on the stack of the calling thread. 512 KiB.
    pub stack_bytes: usize,
    /// Whether address space for all slots is reserved in advance: quicker calls. True; falls back if the reservation fails.
    pub is_pooled: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { is_strict: false, cache: None, slots: 64, stack_bytes: 512 << 10, is_pooled: true }
    }
}

/// The WebAssembly engine. Cheap to clone; one per process is enough. Its clock stops when the last clone and the last plugin are gone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    /// Made once: it takes longer than loading a plugin.
    imports: Linker<CallState>,
    cache: Option<Cache>,
    is_pooled: bool,
    /// Dropped with the last engine, which ends the clock's thread.
    _clock: Sender<()>,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    ///
    /// Fails when this machine cannot run WebAssembly, or the cache folder is not private.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let start = |is_pooled| wasmtime::Engine::new(&config(options, is_pooled));
        let pooled = if options.is_pooled { start(true).ok() } else { None };
        let is_pooled = pooled.is_some();
        let unfit = |error: wasmtime::Error| EngineError::Engine(format!("{error:#}"));
        let wasmtime = match pooled {
            Some(engine) => engine,
            None => start(false).map_err(unfit)?,
        };
        let imports = v0_1::imports(&wasmtime).map_err(unfit)?;
        let cache = options.cache.as_deref().map(|folder| Cache::open(folder, &wasmtime)).transpose()?;
        let clock = start_clock(wasmtime.clone()).map_err(EngineError::Ticker)?;
        Ok(Self { inner: Arc::new(Inner { wasmtime, imports, cache, is_pooled, _clock: clock }) })
    }

    /// Whether slots are reserved in advance.
    pub fn is_pooled(&self) -> bool {
        self.inner.is_pooled
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    pub(crate) fn imports(&self) -> &Linker<CallState> {
        &self.inner.imports
    }

    /// A component that was inspected and compiled before, from the cache.
    pub(crate) fn recall(&self, digest: &str) -> Option<Known> {
        self.inner.cache.as_ref()?.load(&self.inner.wasmtime, digest)
    }

    /// Compiles a component, and keeps it with its outline if there is a cache.
    pub(crate) fn compile(&self, digest: &str, bytes: &[u8], outline: &Outline) -> wasmtime::Result<Component> {
        let component = Component::from_binary(&self.inner.wasmtime, bytes)?;
        if let Some(cache) = &self.inner.cache {
            cache.store(digest, outline, &component);
        }
        Ok(component)
    }
}

fn config(options: &EngineOptions, is_pooled: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_simd(true)
        // What is not deterministic, or young and large, is off.
        .wasm_relaxed_simd(false)
        .wasm_features(
            WasmFeatures::THREADS | WasmFeatures::GC | WasmFeatures::EXCEPTIONS | WasmFeatures::STACK_SWITCHING,
            false,
        )
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(options.stack_bytes)
        .cranelift_nan_canonicalization(options.is_strict);
    if is_pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options.slots)));
    } else {
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    config
}

/// A pool for `slots` components at a time. What one call may use is limited per plugin, and more tightly.
fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(16))
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(8))
        .max_memories_per_module(8)
        .max_tables_per_module(8)
        .table_elements(100_000)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(16 << 20)
        // Measured: 64 KiB is right; 1 MiB is slower, since it is cleared each time.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(64 << 10);
    pool
}

/// Ticks until the returned sender is dropped.
fn start_clock(engine: wasmtime::Engine) -> std::io::Result<Sender<()>> {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::Builder::new().name("plugin-clock".into()).spawn(move || {
        while receiver.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            engine.increment_epoch();
        }
    })?;
    Ok(sender)
}
