//! What a plugin may use up: our own numbers, never an engine's defaults.

use serde::{Deserialize, Serialize};

/// What a plugin may use up. Each number holds for one call unless it says otherwise.
///
/// The defaults suit batches of thousands of rows; a recipe may set each one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Bytes of the component file. 64 MiB.
    pub component_bytes: usize,
    /// Bytes of one custom section, nested ones included. 16 MiB.
    pub section_bytes: usize,
    /// Sections of the component, nested ones included. 20,000.
    pub sections: usize,
    /// Core modules and components nested in the component. 100.
    pub modules: usize,
    /// Functions of all core modules together: compile time grows with them. 200,000.
    pub functions: usize,
    /// Bytes of the largest function body: compile time grows faster than it. 1 MiB.
    pub function_bytes: usize,
    /// Types of all core modules and components together. 200,000.
    pub types: usize,

    /// Bytes of all linear memories together. 512 MiB.
    pub memory_bytes: usize,
    /// Elements of each table. 100,000.
    pub table_elements: usize,
    /// Linear memories. 8.
    pub memories: usize,
    /// Tables. 64.
    pub tables: usize,
    /// Core instances. 100.
    pub instances: usize,
    /// Fuel: about one unit per WebAssembly instruction, the same on every machine. 100,000,000,000, one to three minutes.
    pub fuel: u64,
    /// Wall time outside tensors and services, in milliseconds: the brake behind `fuel`. 300,000.
    pub deadline_ms: u64,
    /// Wall time in tensor operations, in milliseconds, checked before each. 600,000.
    pub tensor_ms: u64,
    /// Wall time in models and judges, in milliseconds, checked before each use. 86,400,000, one day.
    pub service_ms: u64,

    /// Handles of any kind that are alive at once. 20,000.
    pub handles: usize,
    /// Tensor handles that are alive at once. 4,096.
    pub tensor_handles: usize,
    /// Tensor operations. 1,000,000.
    pub tensor_ops: u64,
    /// Bytes of the tensors that are alive at once, at four bytes per element. 16 GiB.
    pub tensor_bytes: u64,
    /// Bytes of all tensors that the call makes: the gradient graph may keep every one. 256 GiB.
    pub tensor_bytes_made: u64,
    /// Bytes that `read` copies from the device. 256 MiB.
    pub read_bytes: u64,

    /// Bytes that one host call, or one answer, may hand to the host. 64 MiB.
    pub hostcall_bytes: usize,
    /// Bytes that builders (training set, prompts) keep in the host. 512 MiB.
    pub held_bytes: u64,
    /// Sequences that the call may sample, score or embed. 1,048,576.
    pub sequences: u64,
    /// Answers that the call may have judged. 1,048,576.
    pub verdicts: u64,
    /// Bytes of the state that the plugin keeps between calls. 16 MiB.
    pub state_bytes: usize,
    /// Numbers that the plugin keeps by example, over the whole run. 4,194,304.
    pub stored_numbers: usize,

    /// Log lines. 200.
    pub log_lines: usize,
    /// Bytes of one log line; what is over is cut. 1,024.
    pub log_line_bytes: usize,
    /// Bytes of all log lines. 65,536.
    pub log_bytes: usize,
    /// Different names of metrics, and different reasons to skip or drop a row. 256 each.
    pub names: usize,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 64 * MIB,
            section_bytes: 16 * MIB,
            sections: 20_000,
            modules: 100,
            functions: 200_000,
            function_bytes: MIB,
            types: 200_000,
            memory_bytes: 512 * MIB,
            table_elements: 100_000,
            memories: 8,
            tables: 64,
            instances: 100,
            fuel: 100_000_000_000,
            deadline_ms: 300_000,
            tensor_ms: 600_000,
            service_ms: 86_400_000,
            handles: 20_000,
            tensor_handles: 4_096,
            tensor_ops: 1_000_000,
            tensor_bytes: 16 << 30,
            tensor_bytes_made: 256 << 30,
            read_bytes: 256 << 20,
            hostcall_bytes: 64 * MIB,
            held_bytes: 512 << 20,
            sequences: 1 << 20,
            verdicts: 1 << 20,
            state_bytes: 16 * MIB,
            stored_numbers: 1 << 22,
            log_lines: 200,
            log_line_bytes: 1_024,
            log_bytes: 65_536,
            names: 256,
        }
    }
}
