//! `batches`: a micro-batch as tokens, and as tensors.

use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::Port;
use wasmtime::component::Resource;

use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::{batches, types};
use crate::wasm::v0_1::call::{CallState, refusal};
use crate::wasm::v0_1::desk::Handle;
use crate::wasm::v0_1::views::{Batch, TokenBatch};

impl batches::Host for CallState {}

impl batches::HostTokenBatch for CallState {
    fn len(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.rows.len() as u32)
    }

    fn ids(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&batch)?.table().ids())
    }

    fn offsets(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<u32>> {
        let rows = &self.table.get(&batch)?.0.rows;
        let ends = rows.iter().scan(0_u32, |end, row| {
            *end = end.saturating_add(row.tokens.len() as u32);
            Some(*end)
        });
        Ok(std::iter::once(0).chain(ends).collect())
    }

    fn tokens(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&batch)?.0.rows.iter().flat_map(|row| row.tokens.iter().copied()).collect())
    }

    fn mask(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<bool>> {
        Ok(self.table.get(&batch)?.0.rows.iter().flat_map(|row| row.mask.iter().copied()).collect())
    }

    fn texts(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&batch)?.0.rows.iter().flat_map(|row| row.texts.iter().cloned()).collect())
    }

    fn token_logprobs(
        &mut self,
        batch: Resource<TokenBatch>,
        under: String,
    ) -> wasmtime::Result<Result<Vec<f32>, types::Error>> {
        let logprobs = self.table.get(&batch)?.0.logprobs.clone();
        Ok(self.serve(|| logprobs.token_logprobs(&under))?.map_err(|error| refusal(&error)))
    }

    fn columns(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&batch)?.table().columns())
    }

    fn column(&mut self, batch: Resource<TokenBatch>, name: String) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&batch)?.table().column(&name))
    }

    fn step(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.step)
    }

    fn drop(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<()> {
        self.table.delete(batch)?;
        Ok(())
    }
}

impl batches::HostBatch for CallState {
    fn rows(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.rows() as u32)
    }

    fn tokens(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Resource<Handle>> {
        self.sure_port(&batch, &Port::Tokens)
    }

    fn mask(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Resource<Handle>> {
        self.sure_port(&batch, &Port::Mask)
    }

    fn weights(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Resource<Handle>> {
        self.sure_port(&batch, &Port::Weights)
    }

    fn advantages(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Option<Resource<Handle>>> {
        self.optional_port(&batch, &Port::Advantages)
    }

    fn token_logprobs(
        &mut self,
        batch: Resource<Batch>,
        under: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.port(&batch, &Port::TokenLogprobs(under))
    }

    fn groups(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Resource<Handle>> {
        self.sure_port(&batch, &Port::Groups)
    }

    fn chosen(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Option<Resource<Handle>>> {
        self.optional_port(&batch, &Port::Chosen)
    }

    fn numbers(
        &mut self,
        batch: Resource<Batch>,
        column: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.port(&batch, &Port::Numbers(column))
    }

    fn parameter(
        &mut self,
        batch: Resource<Batch>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.port(&batch, &Port::Parameter(name))
    }

    fn total_weight(&mut self, batch: Resource<Batch>) -> wasmtime::Result<f64> {
        Ok(self.table.get(&batch)?.0.total_weight())
    }

    fn total_rows(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.total_rows() as u32)
    }

    fn micro_batches(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.micro_batches() as u32)
    }

    fn step(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.step())
    }

    fn drop(&mut self, batch: Resource<Batch>) -> wasmtime::Result<()> {
        self.table.delete(batch)?;
        Ok(())
    }
}

impl CallState {
    /// Asks the batch for a tensor: a forward pass of the host, as often as not.
    fn ask_port(
        &mut self,
        batch: &Resource<Batch>,
        port: &Port,
    ) -> wasmtime::Result<Result<Option<Resource<Handle>>, ServiceError>> {
        let batch = self.table.get(batch)?.0.clone();
        Ok(match self.serve(|| batch.port(port))? {
            Ok(id) => Ok(id.map(|id| self.hand_over(id)).transpose()?),
            Err(error) => Err(error),
        })
    }

    fn port(
        &mut self,
        batch: &Resource<Batch>,
        port: &Port,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        Ok(match self.ask_port(batch, port)? {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Err(refusal(&ServiceError::Unsupported(format!("this batch has no {port:?}")))),
            Err(error) => Err(refusal(&error)),
        })
    }

    /// A tensor that every batch has.
    fn sure_port(&mut self, batch: &Resource<Batch>, port: &Port) -> wasmtime::Result<Resource<Handle>> {
        let missing = |why: String| Cause::Host(format!("the batch has no {port:?}{why}"));
        match self.ask_port(batch, port)? {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Err(missing(String::new()).into()),
            Err(error) => Err(missing(format!(": {error}")).into()),
        }
    }

    fn optional_port(&mut self, batch: &Resource<Batch>, port: &Port) -> wasmtime::Result<Option<Resource<Handle>>> {
        let failed = |error: ServiceError| Cause::Host(format!("the batch cannot tell its {port:?}: {error}"));
        Ok(self.ask_port(batch, port)?.map_err(failed)?)
    }
}
