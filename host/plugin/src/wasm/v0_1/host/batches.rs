//! `batches`: a micro-batch as tokens, and as tensors.

use tunesmith_core::data::{RowText, Span};
use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::{self, Draws, Port};
use tunesmith_core::tensors::TensorId;
use wasmtime::component::Resource;

use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::{batches, types};
use crate::wasm::v0_1::call::{CallState, refusal};
use crate::wasm::v0_1::desk::{Handle, tensor_fault};
use crate::wasm::v0_1::size;
use crate::wasm::v0_1::views::{Batch, TokenBatch};

/// What a host function gives that may decline.
type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl batches::Host for CallState {}

impl batches::HostTokenBatch for CallState {
    fn len(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.rows.len() as u32)
    }

    fn ids(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&batch)?.table().ids())
    }

    fn roles(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&batch)?.0.rows.iter().map(|row| row.role.clone()).collect())
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

    fn messages(&mut self, batch: Resource<TokenBatch>) -> wasmtime::Result<Vec<String>> {
        self.table.get(&batch)?.table().messages()
    }

    fn row_texts(&mut self, batch: Resource<TokenBatch>) -> Answer<Vec<String>> {
        self.of_texts(&batch, |texts| texts.iter().map(|row| row.text.clone()).collect())
    }

    fn completion_starts(&mut self, batch: Resource<TokenBatch>) -> Answer<Vec<u32>> {
        self.of_texts(&batch, |texts| texts.iter().map(|row| row.completion_start).collect())
    }

    fn starts(&mut self, batch: Resource<TokenBatch>) -> Answer<Vec<u32>> {
        self.of_texts(&batch, |texts| spans(texts).map(|span| span.start).collect())
    }

    fn ends(&mut self, batch: Resource<TokenBatch>) -> Answer<Vec<u32>> {
        self.of_texts(&batch, |texts| spans(texts).map(|span| span.end).collect())
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

    fn token_logprobs_at(
        &mut self,
        batch: Resource<Batch>,
        under: String,
        temperature: f32,
    ) -> Answer<Resource<Handle>> {
        expect_temperature("token-logprobs-at", temperature)?;
        let batch = self.table.get(&batch)?.0.clone();
        self.made(|| batch.logprobs_at(&under, temperature))
    }

    fn token_entropies(&mut self, batch: Resource<Batch>, temperature: f32) -> Answer<Resource<Handle>> {
        expect_temperature("token-entropies", temperature)?;
        let batch = self.table.get(&batch)?.0.clone();
        self.made(|| batch.entropies(temperature))
    }

    fn token_collisions(&mut self, batch: Resource<Batch>) -> Answer<Resource<Handle>> {
        self.port(&batch, &Port::TokenCollisions)
    }

    fn token_numbers(&mut self, batch: Resource<Batch>, name: String) -> Answer<Resource<Handle>> {
        self.port(&batch, &Port::TokenNumbers(name))
    }

    fn hidden_states(&mut self, batch: Resource<Batch>) -> Answer<Resource<Handle>> {
        self.port(&batch, &Port::HiddenStates)
    }

    fn ids(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&batch)?.0.ids())
    }

    fn roles(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&batch)?.0.roles())
    }

    fn off_policy(&mut self, batch: Resource<Batch>) -> wasmtime::Result<Resource<Handle>> {
        self.sure_port(&batch, &Port::OffPolicy)
    }

    fn temperature(&mut self, batch: Resource<Batch>) -> wasmtime::Result<f32> {
        Ok(self.table.get(&batch)?.0.temperature())
    }

    fn vocabulary(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.vocabulary() as u32)
    }

    fn samples(&mut self, batch: Resource<Batch>, count: u32, temperature: f32) -> Answer<Resource<Handle>> {
        expect(0 < count, || "samples: 0 are none".into())?;
        expect_temperature("samples", temperature)?;
        let seed = self.stream("candidates", self.samplings);
        self.samplings += 1;
        let batch = self.table.get(&batch)?.0.clone();
        self.admit_candidates(batch.as_ref(), u64::from(count))?;
        let draws = Draws { count: count as usize, temperature, seed };
        self.made(|| batch.samples(&draws))
    }

    fn candidate_logprobs(
        &mut self,
        batch: Resource<Batch>,
        under: String,
        candidates: Resource<Handle>,
    ) -> Answer<Resource<Handle>> {
        let batch = self.table.get(&batch)?.0.clone();
        let candidates = self.id(&candidates)?;
        self.admit_like(candidates)?;
        self.made(|| batch.candidate_logprobs(&under, candidates))
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

    fn total_groups(&mut self, batch: Resource<Batch>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&batch)?.0.total_groups() as u32)
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

/// The spans of all tokens, flat.
fn spans(texts: &[RowText]) -> impl Iterator<Item = &Span> {
    texts.iter().flat_map(|row| &row.spans)
}

fn expect(is_fine: bool, what: impl FnOnce() -> String) -> wasmtime::Result<()> {
    if is_fine { Ok(()) } else { Err(Cause::Misuse(what()).into()) }
}

fn expect_temperature(what: &str, temperature: f32) -> wasmtime::Result<()> {
    expect(temperature.is_finite() && 0.0 < temperature, || {
        format!("{what}: a temperature of {temperature} is not above 0.0")
    })
}

impl CallState {
    /// Hands over a tensor that the host makes.
    fn made(&mut self, make: impl FnOnce() -> Result<TensorId, ServiceError>) -> Answer<Resource<Handle>> {
        Ok(match self.serve(make)? {
            Ok(id) => Ok(self.hand_over(id)?),
            Err(error) => Err(refusal(&error)),
        })
    }

    /// Asks for the texts of the rows, which the host works out at the first call.
    fn of_texts<T>(&mut self, batch: &Resource<TokenBatch>, pick: impl FnOnce(&[RowText]) -> T) -> Answer<T> {
        let texts = self.table.get(batch)?.0.row_texts.clone();
        Ok(self.serve(|| texts.row_texts())?.map(|texts| pick(&texts)).map_err(|error| refusal(&error)))
    }

    /// Refuses candidates that would be over a budget, before the host draws them.
    fn admit_candidates(&mut self, batch: &dyn stage::Batch, count: u64) -> wasmtime::Result<()> {
        let failed = |error: ServiceError| Cause::Host(format!("the batch cannot tell its tokens: {error}"));
        let engine = batch.tensors();
        let Some(tokens) = batch.port(&Port::Tokens).map_err(failed)? else {
            return Err(Cause::Host("the batch has no tokens".into()).into());
        };
        let shape = engine.shape(tokens);
        engine.release(tokens);
        self.admit_bytes(size::bytes(&shape.map_err(tensor_fault)?).saturating_mul(count))
    }

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
